"""The systems that are called: DiffServe's door, its Python client, and the baseline."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common.closed_loop import Call
from diffserve.client import AsyncClient
from diffserve.replay.deployment import DeploymentParameters, deployed
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import common_pb2, generation_pb2
from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationStub

if TYPE_CHECKING:
    from diffserve.cli.fleet import Fleet
    from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationAsyncStub

CALL_TIMEOUT_S = 30.0
HERE = Path(__file__).resolve().parent

ENVIRONMENT = {"DIFFSERVE_CONTROLLER_SOLVER": "cbc"}
"""Settings of the services: nothing that a licence decides."""


def request_of(number: int) -> generation_pb2.GenerateRequest:
    """Return the request of a call."""
    parameters = common_pb2.GenerationParameters(prompt="a red ball", seed=number)
    return generation_pb2.GenerateRequest(parameters=parameters)


@contextlib.asynccontextmanager
async def by_stub(address: str) -> AsyncIterator[ImageGenerationAsyncStub]:
    """Yield the stub of a door, DiffServe's or the baseline's."""
    async with open_channel(address) as channel:
        await channel.channel_ready()
        yield ImageGenerationStub(channel)


def unary(stub: ImageGenerationAsyncStub) -> Call:
    """Return the plain call, by the generated stub."""

    async def call(number: int) -> None:
        await stub.Generate(request_of(number), timeout=CALL_TIMEOUT_S)

    return call


def by_client(client: AsyncClient) -> Call:
    """Return the same through the Python client."""

    async def call(number: int) -> None:
        await client.generate("a red ball", seed=number, deadline_s=CALL_TIMEOUT_S)

    return call


@contextlib.asynccontextmanager
async def deployment(catalog: str) -> AsyncIterator[Fleet]:
    """Run Redis, controller, load balancer, discriminator and one worker; yield the addresses.

    Args:
        catalog: Name of a file beside this one.
    """
    with tempfile.TemporaryDirectory(prefix="overhead-") as directory:
        parameters = DeploymentParameters(
            catalog=str(HERE / f"{catalog}.toml"),
            num_workers=1,
            environment=ENVIRONMENT,
            directory=Path(directory),
        )
        async with deployed(parameters, lambda line: None) as fleet:
            yield fleet
