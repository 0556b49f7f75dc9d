"""Where commands connect to, and gRPC errors told as sentences."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from diffserve.cli.output import CliError
from diffserve.config import ControllerSettings, LoadBalancerSettings, UpSettings, load_settings
from diffserve.errors import (
    DeadlineError,
    DiffServeError,
    InputError,
    OverloadedError,
    UnavailableError,
)
from diffserve.rpc.channel import open_sync_channel
from diffserve.rpc.v1.admin_pb2_grpc import AdminStub

_SERVICES = {
    "Admin": "controller",
    "ImageGeneration": "load balancer",
    "Worker": "worker",
    "Discriminator": "discriminator",
}
"""Service of the protocol -> who serves it."""
CALL_TIMEOUT_S = 10.0
"""Deadline of calls that only ask or tell the controller something."""


def loadbalancer_address(given: str) -> str:
    """Return the address of the clients' door: as given, else by the settings."""
    up = load_settings(UpSettings, environ=os.environ)
    own = load_settings(LoadBalancerSettings, environ=os.environ)
    is_set = "loadbalancer_port" in up.model_fields_set
    return given or f"127.0.0.1:{up.loadbalancer_port if is_set else own.port}"


def controller_address(given: str) -> str:
    """Return the address of the controller: as given, else by the settings."""
    up = load_settings(UpSettings, environ=os.environ)
    own = load_settings(ControllerSettings, environ=os.environ)
    if given or "controller_address" in up.model_fields_set:
        return given or up.controller_address
    is_set = "controller_port" in up.model_fields_set
    return f"127.0.0.1:{up.controller_port if is_set else own.port}"


@contextlib.contextmanager
def connected(address: str, service: str) -> Iterator[grpc.Channel]:
    """Open a channel; any gRPC error inside becomes a ``CliError`` that names the service."""
    with open_sync_channel(address) as channel:
        try:
            yield channel
        except grpc.RpcError as error:
            raise explain(error, address, service) from None


@contextlib.contextmanager
def admin(address: str) -> Iterator[AdminStub]:
    """Open the controller's Admin service; ``address`` empty means by the settings."""
    with connected(controller_address(address), "controller") as channel:
        yield AdminStub(channel)


def explain(error: grpc.RpcError, address: str, service: str) -> CliError:
    """Return a gRPC error as one sentence with what to do about it."""
    assert isinstance(error, grpc.Call)
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return CliError(_violations(error) or details, exit_code=2)
    if code is grpc.StatusCode.UNAVAILABLE and (gone := _gone(details, address, service)):
        return gone
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        # gRPC's own text when the client's clock ran out is no sentence for people.
        said = "" if details == "Deadline Exceeded" else f": {details}"
        return CliError(f"no answer in time from the {service} at {address}{said}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return _elsewhere(address, service)
    if code is grpc.StatusCode.CANCELLED:
        return CliError("cancelled")
    hint = _retry_hint(error)
    return CliError(f"{details or code.name.lower()}{hint}")


def explain_error(error: DiffServeError, address: str, service: str) -> CliError:
    """Return an error of the client library as one sentence with what to do about it."""
    said = str(error)
    if isinstance(error, InputError):
        return CliError(said, exit_code=2)
    if isinstance(error, UnavailableError) and (gone := _gone(said, address, service)):
        return gone
    if said.startswith(grpc.StatusCode.UNIMPLEMENTED.name):
        return _elsewhere(address, service)
    if isinstance(error, DeadlineError):
        is_known = said.startswith(("Deadline Exceeded", "no answer within"))
        said = "" if is_known else f": {said}"
        return CliError(f"no answer in time from the {service} at {address}{said}")
    if isinstance(error, OverloadedError):
        said += f" (try again in {error.retry_after_s:.1f} s)"
    return CliError(said)


def _gone(details: str, address: str, service: str) -> CliError | None:
    """Tell a connection that failed by gRPC's own texts; others were said by the service."""
    if details.startswith(("failed to connect", "DNS resolution failed")):
        return CliError(f"no {service} answers at {address}; start one with `make serve`")
    if "Socket closed" in details or "Connection reset" in details:
        return CliError(f"the {service} at {address} went away during the call; try again")
    return None


def _elsewhere(address: str, service: str) -> CliError:
    """Tell who answers at an address that knows no such call, and where the service should be."""
    found = _who_answers(address)
    if found == service:
        return CliError(f"the {service} at {address} does not know this call: another version?")
    who = f"a {found} answers at {address}, not a" if found else f"what answers at {address} is no"
    right = (controller_address if service == "controller" else loadbalancer_address)("")
    return CliError(
        f"{who} {service}; by the settings that is at {right}, see --address", exit_code=2
    )


def _who_answers(address: str) -> str:
    """Return which service is at an address, by the health that it tells; empty: none of ours."""
    with open_sync_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service, label in _SERVICES.items():
            request = health_pb2.HealthCheckRequest(service=f"diffserve.rpc.v1.{service}")
            try:
                stub.Check(request, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError:
                continue
            return label
    return ""


def _details(error: grpc.Call) -> list[Message]:
    """Return the google.rpc details of an error that we know how to tell."""
    status = rpc_status.from_call(error)
    found: list[Message] = []
    for packed in status.details if status is not None else ():
        for kind in (error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if packed.Unpack(message):
                found.append(message)
    return found


def _violations(error: grpc.Call) -> str:
    return "; ".join(
        f"{violation.field}: {violation.description}"
        for detail in _details(error)
        if isinstance(detail, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    )


def _retry_hint(error: grpc.Call) -> str:
    for detail in _details(error):
        if isinstance(detail, error_details_pb2.RetryInfo):
            return f" (try again in {detail.retry_delay.ToTimedelta().total_seconds():.1f} s)"
    return ""
