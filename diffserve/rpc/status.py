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


def to_status(error: DiffServeError) -> status_pb2.Status:
    """Return the google.rpc.Status of an error, details included."""
    code = next((code for cls, code in _CODES if isinstance(error, cls)), code_pb2.UNKNOWN)
    status = status_pb2.Status(code=code, message=str(error))
    if isinstance(error, InputError):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.problem
        )
        _add_detail(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, OverloadedError):
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        _add_detail(status, error_details_pb2.RetryInfo(retry_delay=delay))
        _add_detail(
            status,
            error_details_pb2.ErrorInfo(
                reason="DEADLINE_CANNOT_BE_MET",
                domain="diffserve",
                metadata={"predicted_wait_s": f"{error.predicted_wait_s:.3f}"},
            ),
        )
    return status


def from_call(error: grpc.RpcError) -> DiffServeError:
    """Return the error behind a failed call, the inverse of ``to_status``.

    A status that DiffServe does not send becomes a plain ``DiffServeError``.
    """
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    code, message = error.code(), error.details() or error.code().name
    status = rpc_status.from_call(error)
    details = _Details(status)
    if code is grpc.StatusCode.INVALID_ARGUMENT and details.violation is not None:
        return InputError(details.violation.field, details.violation.description)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(
            message,
            predicted_wait_s=details.predicted_wait_s,
            retry_after_s=details.retry_after_s,
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
        for packed in status.details if status is not None else ():
            bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            info = error_details_pb2.ErrorInfo()
            if packed.Unpack(bad) and bad.field_violations:
                self.violation = bad.field_violations[0]
            elif packed.Unpack(retry):
                self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
            elif packed.Unpack(info):
                self.predicted_wait_s = float(info.metadata.get("predicted_wait_s", 0.0))


def _add_detail(status: status_pb2.Status, message: Any) -> None:
    detail = any_pb2.Any()
    detail.Pack(message)
    status.details.append(detail)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: DiffServeError) -> NoReturn:
    """End the call with the status of ``error``."""
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


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
