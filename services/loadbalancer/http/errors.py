"""Errors <-> HTTP: the one table, with bodies in OpenAI's form."""

from __future__ import annotations

import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from diffserve.errors import (
    AlreadyExistsError,
    DeadlineError,
    DiffServeError,
    InputError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from services.loadbalancer.http.schema import ErrorAnswer, ErrorBody

_STATUS: tuple[tuple[type[DiffServeError], int, str, str], ...] = (
    (InputError, 400, "invalid_request_error", "invalid_value"),
    (OverloadedError, 429, "rate_limit_error", "overloaded"),
    (DeadlineError, 504, "timeout_error", "deadline_exceeded"),
    (UnavailableError, 503, "server_error", "unavailable"),
    (AlreadyExistsError, 409, "invalid_request_error", "already_exists"),
    (NotFoundError, 404, "invalid_request_error", "not_found"),
)
_PARAMETERS = {
    "cascade_id": "model",
    "parameters.width": "size",
    "parameters.height": "size",
    "parameters.prompt": "prompt",
    "preference": "quality",
    "query_id": "Idempotency-Key",
}
"""Fields of the gRPC message that have another name here; others lose their first part."""
_SIDES = {"parameters.width": "the width ", "parameters.height": "the height "}
"""Which part of `size` a field is."""
UNAVAILABLE_RETRY_S = 1


def install(app: FastAPI) -> None:
    """Answer every error of the application in one form."""
    app.add_exception_handler(DiffServeError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


def to_response(error: DiffServeError) -> JSONResponse:
    """Return an error as a response."""
    status, kind, code = next(
        (entry[1:] for entry in _STATUS if isinstance(error, entry[0])),
        (500, "server_error", "internal"),
    )
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        headers["X-Predicted-Wait"] = f"{error.predicted_wait_s:.3f}"
    elif isinstance(error, UnavailableError):
        headers["Retry-After"] = str(UNAVAILABLE_RETRY_S)
    param, message = None, str(error)
    if isinstance(error, InputError):
        param = parameter_of(error.field)
        message = f"{param}: {_SIDES.get(error.field, '')}{error.problem}"
        if param == "model":  # there is no such one, in OpenAI's words
            status, code = 404, "model_not_found"
    elif isinstance(error, AlreadyExistsError):
        param = _PARAMETERS["query_id"]
        message = f"{param}: {_conflict(error)}"
    return _response(status, message, kind, code=code, param=param, headers=headers)


def _conflict(error: AlreadyExistsError) -> str:
    """Return why a key is refused, without the id that was made of it."""
    if error.field:
        return f"belongs to a request with another {parameter_of(error.field)}"
    return "was answered before and its images are not kept; use another"


def parameter_of(field: str) -> str:
    """Return what a field of the gRPC message is called in the HTTP API."""
    return _PARAMETERS.get(field, field.removeprefix("parameters."))


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DiffServeError)
    return to_response(error)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    """Answer in the same form; the framework raises the error again, so that it is logged."""
    return to_response(DiffServeError("the service failed; its log says why"))


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Name the first field at fault; one that there is not is called unsupported."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if isinstance(error.body, bytes):  # the framework reads no other type
        return to_response(InputError("Content-Type", "must be application/json"))
    if first["type"] == "json_invalid":
        return _no_json()
    where = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, str))
    if first["type"] == "extra_forbidden":
        message, code = f"{where}: this parameter is not supported", "unsupported_parameter"
    else:
        problem = first["ctx"]["error"] if first["type"] == "value_error" else first["msg"]
        message, code = f"{where or 'body'}: {problem}", "invalid_value"
    return _response(400, message, "invalid_request_error", code=code, param=where or None)


def _no_json() -> JSONResponse:
    message = "the body is not valid JSON"
    return _response(400, message, "invalid_request_error", code="invalid_json")


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        # The framework's only one: bytes, digits or depth that its JSON reader cannot take.
        return _no_json()
    headers = dict(error.headers or {})
    return _response(error.status_code, error.detail, "invalid_request_error", headers=headers)


def _response(
    status: int,
    message: str,
    kind: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    body = ErrorAnswer(error=ErrorBody(message=message, type=kind, param=param, code=code))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)
