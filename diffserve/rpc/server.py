"""Runs a service: health, reflection, warm-up, SIGTERM, drain. The same for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from diffserve.config import SharedSettings
from diffserve.errors import ConfigError
from diffserve.observability.server import metrics_server
from diffserve.rpc.channel import channel_options
from diffserve.rpc.listening import host_problem

logger = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health state of one process, for ``grpc.health.v1``."""

    def __init__(self, service_names: Sequence[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._names = ("", *service_names)
        self.is_serving = False

    async def set(self, *, serving: bool) -> None:
        """Report SERVING or NOT_SERVING for the process and each of its services."""
        self.is_serving = serving
        for name in self._names:
            await self.servicer.set(name, SERVING if serving else NOT_SERVING)


class Application(Protocol):
    """What a service brings to ``serve``."""

    async def start(self, health: Health, port: int) -> None:
        """Warm up; the port answers already, with health NOT_SERVING. Raises to stop start-up."""

    async def drain(self) -> None:
        """Refuse new work; return when accepted work has finished."""

    async def stop(self) -> None:
        """Release everything."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A servicer and how to add it to a server.

    Attributes:
        add: The generated ``add_XServicer_to_server``.
        servicer: The implementation.
        name: Full protobuf name of the service.
    """

    add: Callable[[Any, grpc.aio.Server], None]
    servicer: Any
    name: str


async def serve(
    application: Application,
    endpoints: Sequence[Endpoint],
    settings: SharedSettings,
    port: int,
    exposition: Callable[[], bytes] | None = None,
) -> None:
    """Run a service until SIGTERM or SIGINT, then drain within ``settings.grace_s``.

    Args:
        application: What to run.
        endpoints: Its gRPC services.
        settings: Address, limits, and the port of ``/metrics``.
        port: Of gRPC.
        exposition: Returns the metrics in Prometheus's text format.

    Raises:
        ConfigError: the host is not this machine's, or a port is taken.
    """
    names = [endpoint.name for endpoint in endpoints]
    state = Health(names)
    # Without so_reuseport=0 two servers may share a port, each getting some of the calls.
    options = [*channel_options(settings.message_bytes_max), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options)
    for endpoint in endpoints:
        endpoint.add(endpoint.servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(state.servicer, server)
    reflection.enable_server_reflection(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    # gRPC does not tell a wrong host from a port that is taken.
    if problem := host_problem(settings.host):
        raise ConfigError(
            f"host: cannot listen on {settings.host} ({problem}); give an address of this machine, "
            "0.0.0.0 for all of them"
        )
    try:
        bound = server.add_insecure_port(f"{settings.host}:{port}")
    except RuntimeError:
        raise ConfigError(f"port: {settings.host}:{port} is taken or not allowed") from None
    stop = _stop_event()
    await state.set(serving=False)
    await server.start()
    try:
        async with metrics_server(settings.host, settings.metrics_port, exposition):
            if not await _started_before(application.start(state, bound), stop):
                return
            _keep_out_of_collections()
            await state.set(serving=True)
            logger.info("serving on %s:%d", settings.host, bound)
            await stop.wait()
            logger.info("draining, at most %.0f s", settings.grace_s)
            await state.set(serving=False)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.grace_s):
                    await application.drain()
    finally:
        await server.stop(1.0)
        await application.stop()


async def _started_before(start: Coroutine[None, None, None], stop: asyncio.Event) -> bool:
    """Await ``start`` unless ``stop`` is set first; return whether it finished."""
    starting = asyncio.create_task(start)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False
    starting.result()
    return True


def _keep_out_of_collections() -> None:
    """Take what start-up made out of garbage collections.

    Modules, catalog and models stay until the end. A full collection walks through all of them
    with everything stopped: 45 ms were measured in a load balancer, as long as its answer margin.
    """
    gc.collect()
    gc.freeze()


def _stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


def run(main: Callable[[], Any]) -> int:
    """Run an async ``main`` on uvloop; return what it returns, or else 0.

    A configuration error becomes one line and status 2.
    """
    try:
        status = uvloop.run(main())
    except ConfigError as error:
        logger.error("%s", error)
        return 2
    return status if isinstance(status, int) else 0
