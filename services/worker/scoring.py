"""Who tells the confidences of a batch: what is asked of them, and the discriminator service."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from diffserve.core import Population
from diffserve.errors import BackendError
from diffserve.rpc.channel import open_channel
from diffserve.rpc.status import from_bytes
from diffserve.rpc.streams import OpenStream
from diffserve.rpc.v1 import common_pb2, discriminator_pb2, discriminator_pb2_grpc

_Stream = OpenStream[discriminator_pb2.ScoreRequest, discriminator_pb2.ScoreResponse]

RAW_MEDIA_TYPE = "image/x-rgb8"


class ImageScoring(Protocol):
    """Scores images; ``ScoringClient`` and ``LocalScoring`` do."""

    async def start(self, device: str, num_threads: int) -> None:
        """Load what is needed, before images come.

        Args:
            device: Where models run.
            num_threads: CPU threads of theirs.
        """

    async def score(
        self,
        population: Population,
        prompts: Sequence[str],
        images: Sequence[NDArray[np.uint8]],
        budget_s: float,
        parents: Sequence[str] = (),
    ) -> list[discriminator_pb2.ImageScore]:
        """Return one score per image, in order.

        Args:
            population: Name of the scoring model, and which variant drew the images.
            prompts: One per image.
            images: (height, width, 3) each.
            budget_s: Seconds until nobody waits any more.
            parents: ``traceparent`` of each image's span; none when nothing is traced.

        Raises:
            BackendError: there is none within the budget; says why.
        """

    async def pair(
        self, light: common_pb2.LightScore, prompt: str, image: NDArray[np.uint8]
    ) -> None:
        """Have a heavy image compared with what was said of the light one.

        Raises:
            BackendError: it was not; says why.
        """

    async def close(self) -> None:
        """Release everything."""


class ScoringClient:
    """A connection to one discriminator service: one stream, opened anew when it broke."""

    def __init__(self, address: str, timeout_s: float) -> None:
        """Connect lazily; no request waits longer than ``timeout_s``."""
        self._address = address
        self._timeout_s = timeout_s
        self._channel = open_channel(address)
        self._stub = discriminator_pb2_grpc.DiscriminatorStub(self._channel)
        self._stream: _Stream | None = None
        self._waiting: dict[int, asyncio.Future[discriminator_pb2.ScoreResponse]] = {}
        self._ids = itertools.count(1)

    async def start(self, device: str, num_threads: int) -> None:
        """Do nothing: the service has the models."""

    async def score(
        self,
        population: Population,
        prompts: Sequence[str],
        images: Sequence[NDArray[np.uint8]],
        budget_s: float,
        parents: Sequence[str] = (),
    ) -> list[discriminator_pb2.ImageScore]:
        """Ask the service; see ``ImageScoring``."""
        request = discriminator_pb2.ScoreRequest(
            discriminator=population.discriminator,
            variant_id=population.variant_id,
            images=[
                discriminator_pb2.ScoredImage(prompt=prompt, image=_raw(image), traceparent=parent)
                for prompt, image, parent in zip(
                    prompts, images, parents or [""] * len(images), strict=True
                )
            ],
        )
        return await self._ask(request, budget_s)

    async def pair(
        self, light: common_pb2.LightScore, prompt: str, image: NDArray[np.uint8]
    ) -> None:
        """Ask the service; see ``ImageScoring``."""
        scored = discriminator_pb2.ScoredImage(prompt=prompt, image=_raw(image), light=light)
        request = discriminator_pb2.ScoreRequest(
            discriminator=light.discriminator, images=[scored], exclude_from_sketch=True
        )
        await self._ask(request, self._timeout_s)

    async def close(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            await self._stream.close()
        await self._channel.close()

    async def _ask(
        self, request: discriminator_pb2.ScoreRequest, budget_s: float
    ) -> list[discriminator_pb2.ImageScore]:
        if budget_s <= 0.0:
            raise BackendError("no time left for scoring")
        request.budget_s = min(self._timeout_s, budget_s)
        request.request_id = next(self._ids)
        future: asyncio.Future[discriminator_pb2.ScoreResponse]
        future = asyncio.get_running_loop().create_future()
        self._waiting[request.request_id] = future
        self._open().send(request)
        try:
            async with asyncio.timeout(request.budget_s):
                response = await future
        except TimeoutError:
            raise self._failure("DEADLINE_EXCEEDED", f"{request.budget_s:.3g} s") from None
        finally:
            self._waiting.pop(request.request_id, None)
        if response.status:
            code, error = from_bytes(response.status)
            raise self._failure(code.name, str(error))
        if len(response.scores) != len(request.images):
            raise BackendError(f"{len(response.scores)} scores for {len(request.images)} images")
        return list(response.scores)

    def _open(self) -> _Stream:
        if self._stream is None or not self._stream.is_open:
            self._stream = OpenStream(self._stub.ScoreMany, self._answered, self._broken)
        return self._stream

    def _answered(self, response: discriminator_pb2.ScoreResponse) -> None:
        future = self._waiting.pop(response.request_id, None)
        if future is not None and not future.done():
            future.set_result(response)

    def _broken(self, _: _Stream, code: grpc.StatusCode, details: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._failure(code.name, details))

    def _failure(self, code: str, details: str) -> BackendError:
        return BackendError(f"discriminator at {self._address}: {code}: {details}")


def _raw(image: NDArray[np.uint8]) -> common_pb2.Image:
    height, width, _ = image.shape
    return common_pb2.Image(
        data=image.tobytes(), media_type=RAW_MEDIA_TYPE, width=width, height=height
    )
