"""Every error of DiffServe has a gRPC status that a client can act on."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from diffserve import errors
from diffserve.rpc.status import from_bytes, to_bytes, to_status


def test_input_error_names_the_field() -> None:
    status = to_status(errors.InputError("parameters.width", "too large"))
    detail = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(detail)
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert detail.field_violations[0].field == "parameters.width"


def test_overload_says_when_to_retry() -> None:
    error = errors.OverloadedError("busy", predicted_wait_s=3.0, retry_after_s=1.5)
    status = to_status(error)
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(retry)
    assert status.details[1].Unpack(info)
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert info.metadata["predicted_wait_s"] == "3.000"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DeadlineError("late"), code_pb2.DEADLINE_EXCEEDED),
        (errors.UnavailableError("draining"), code_pb2.UNAVAILABLE),
        (errors.AlreadyExistsError("taken"), code_pb2.ALREADY_EXISTS),
        (errors.NotFoundError("gone"), code_pb2.NOT_FOUND),
        (errors.StalePlanError("old"), code_pb2.ABORTED),
        (errors.ConfigError("wrong"), code_pb2.FAILED_PRECONDITION),
        (errors.ProfileError("wrong"), code_pb2.FAILED_PRECONDITION),
        (errors.BackendError("broke"), code_pb2.INTERNAL),
        (errors.DiffServeError("?"), code_pb2.UNKNOWN),
    ],
)
def test_codes(error: errors.DiffServeError, code: int) -> None:
    assert to_status(error).code == code


@pytest.mark.parametrize("text", ["x" * 100_000, "\U0001f989" * 100_000, "é" * 1201])
def test_a_long_text_fits_into_metadata(text: str) -> None:
    """gRPC lets clients refuse trailers above 8 KiB, and then they see another error."""
    status = to_status(errors.InputError("cascade_id", f"no cascade {text}"))
    percent_encoded = 3 * len(status.message.encode())
    assert percent_encoded + status.ByteSize() * 4 / 3 < 8000
    assert status.message.startswith("cascade_id: no cascade ")
    assert status.message.endswith(" …")
    assert to_status(errors.BackendError("short")).message == "short"


def test_a_status_in_bytes_is_the_same_error() -> None:
    error = errors.OverloadedError(
        "busy", predicted_wait_s=0.5, retry_after_s=0.25, cause=errors.WORKER_BUSY
    )
    code, again = from_bytes(to_bytes(error))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(again, errors.OverloadedError)
    assert again.cause == errors.WORKER_BUSY
    assert (again.retry_after_s, again.predicted_wait_s) == (0.25, 0.5)
