"""Errors <-> gRPC status: the one table, with rich error details for clients."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from diffserve.errors import (
    AlreadyExistsError,
    BackendError,
    ConfigError,
    DeadlineError,
    DiffServeError,
    InputError,
    NotFoundError,
    OverloadedError,
    StalePlanError,
    UnavailableError,
)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_CODES: tuple[tuple[type[DiffServeError], int], ...] = (
    (InputError, code_pb2.INVALID_ARGUMENT),
    (OverloadedError, code_pb2.RESOURCE_EXHAUSTED),
    (DeadlineError, code_pb2.DEADLINE_EXCEEDED),
    (UnavailableError, code_pb2.UNAVAILABLE),
    (AlreadyExistsError, code_pb2.ALREADY_EXISTS),
    (NotFoundError, code_pb2.NOT_FOUND),
    (StalePlanError, code_pb2.ABORTED),
    (ConfigError, code_pb2.FAILED_PRECONDITION),
    (BackendError, code_pb2.INTERNAL),
)
_REASONS = {
    code_pb2.INVALID_ARGUMENT: "FIELD_UNUSABLE",
    code_pb2.DEADLINE_EXCEEDED: "DEADLINE_PASSED",
    code_pb2.UNAVAILABLE: "NOT_TAKING_QUERIES",
    code_pb2.ALREADY_EXISTS: "ID_TAKEN",
    code_pb2.NOT_FOUND: "NOT_KNOWN",
    code_pb2.ABORTED: "PLAN_IS_STALE",
    code_pb2.FAILED_PRECONDITION: "NOT_CONFIGURED",
    code_pb2.INTERNAL: "BACKEND_FAILED",
}
"""Code -> reason for programs; that of a refusal says which limit was met."""
UNAVAILABLE_RETRY_S = 0.5
"""When to try again where a server drains or starts: another one may be reached at once."""


_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata with the whole status, where every language's client looks for it."""
TEXT_BYTES_MAX = 1200
"""Of a message: clients refuse trailers above 8 KiB, which hold it twice, once percent-encoded."""


def to_status(error: DiffServeError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error, details included; long texts are cut."""
    code = next((code for cls, code in _CODES if isinstance(error, cls)), code_pb2.UNKNOWN)
    status = status_pb2.Status(code=code, message=_clipped(str(error)))
    if isinstance(error, InputError):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=_clipped(error.problem)
        )
        _add_detail(status, error_details_pb2.BadRequest(field_violations=[violation]))
    info = error_details_pb2.ErrorInfo(domain="diffserve", reason=_REASONS.get(code, "UNKNOWN"))
    if isinstance(error, OverloadedError):
        _add_detail(status, _retry_info(error.retry_after_s))
        info.reason = error.cause
        info.metadata["predicted_wait_s"] = f"{error.predicted_wait_s:.3f}"
    elif isinstance(error, UnavailableError):
        _add_detail(status, _retry_info(UNAVAILABLE_RETRY_S))
    elif isinstance(error, InputError):
        info.metadata["field"] = error.field
    _add_detail(status, info)
    return status


def to_bytes(error: DiffServeError) -> bytes:
    """Return the serialized ``google.rpc.Status`` of an error, as streams carry it."""
    return bytes(to_status(error).SerializeToString())


def _clipped(text: str) -> str:
    data = text.encode(errors="replace")
    if len(data) <= TEXT_BYTES_MAX:
        return text
    return data[:TEXT_BYTES_MAX].decode(errors="ignore") + " …"


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(int(seconds * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def from_call(error: grpc.RpcError) -> DiffServeError:
    """Return the error behind a failed call, the inverse of ``to_status``.

    A status that DiffServe does not send becomes a plain ``DiffServeError``.
    """
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    message = error.details() or error.code().name
    return _error(error.code(), message, rpc_status.from_call(error))


def from_bytes(data: bytes) -> tuple[grpc.StatusCode, DiffServeError]:
    """Return the code and the error that ``to_bytes`` wrote."""
    status = status_pb2.Status.FromString(data)
    code = _GRPC_CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return code, _error(code, status.message or code.name, status)


def from_code(code: grpc.StatusCode, details: str) -> DiffServeError:
    """Return the error of a call that ended with no more than a code."""
    return _error(code, details or code.name, None)


def _error(code: grpc.StatusCode, message: str, status: status_pb2.Status | None) -> DiffServeError:
    details = _Details(status)
    if code is grpc.StatusCode.INVALID_ARGUMENT and details.violation is not None:
        return InputError(details.violation.field, details.violation.description)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(
            message,
            predicted_wait_s=details.predicted_wait_s,
            retry_after_s=details.retry_after_s,
            cause=details.reason,
        )
    for cls, number in _CODES:
        if code.value[0] == number and cls not in (InputError, OverloadedError):
            return cls(message)
    return DiffServeError(f"{code.name}: {message}")


class _Details:
    """The google.rpc details of a status that DiffServe sends."""

    def __init__(self, status: status_pb2.Status | None) -> None:
        self.violation: error_details_pb2.BadRequest.FieldViolation | None = None
        self.retry_after_s = 0.0
        self.predicted_wait_s = 0.0
        self.reason = ""
        for packed in status.details if status is not None else ():
            bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            info = error_details_pb2.ErrorInfo()
            if packed.Unpack(bad) and bad.field_violations:
                self.violation = bad.field_violations[0]
            elif packed.Unpack(retry):
                self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
            elif packed.Unpack(info):
                self.reason = info.reason
                self.predicted_wait_s = float(info.metadata.get("predicted_wait_s", 0.0))


def _add_detail(status: status_pb2.Status, message: Any) -> None:
    detail = any_pb2.Any()
    detail.Pack(message)
    status.details.append(detail)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: DiffServeError) -> NoReturn:
    """End the call with the status of ``error``."""
    status = to_status(error)
    details = ((DETAILS_KEY, bytes(status.SerializeToString())),)
    await context.abort(_GRPC_CODES[status.code], status.message, details)


def unary(
    method: Callable[[Any, RequestT, Any], Awaitable[ResponseT]],
) -> Callable[[Any, RequestT, Any], Awaitable[ResponseT]]:
    """Decorate a unary servicer method so that DiffServe's errors become statuses."""

    @functools.wraps(method)
    async def wrapped(self: Any, request: RequestT, context: Any) -> ResponseT:
        try:
            return await method(self, request, context)
        except DiffServeError as error:
            await abort(context, error)

    return wrapped


def streaming(
    method: Callable[[Any, RequestT, Any], AsyncIterator[ResponseT]],
) -> Callable[[Any, RequestT, Any], AsyncIterator[ResponseT]]:
    """Decorate a server-streaming servicer method in the same way."""

    @functools.wraps(method)
    async def wrapped(self: Any, request: RequestT, context: Any) -> AsyncIterator[ResponseT]:
        try:
            async for response in method(self, request, context):
                yield response
        except DiffServeError as error:
            await abort(context, error)

    return wrapped
