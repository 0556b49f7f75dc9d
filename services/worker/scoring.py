"""Asks the discriminator for the confidences of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import numpy as np
from numpy.typing import NDArray

from diffserve.errors import BackendError
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import common_pb2, discriminator_pb2, discriminator_pb2_grpc
from services.worker.tracing import ScoringMetadata

RAW_MEDIA_TYPE = "image/x-rgb8"


class ScoringClient:
    """A connection to one discriminator service."""

    def __init__(self, address: str, timeout_s: float) -> None:
        """Connect lazily; no call takes longer than ``timeout_s``."""
        self._address = address
        self._timeout_s = timeout_s
        self._channel = open_channel(address)
        self._stub = discriminator_pb2_grpc.DiscriminatorStub(self._channel)

    async def score(
        self,
        discriminator: str,
        prompts: Sequence[str],
        images: Sequence[NDArray[np.uint8]],
        budget_s: float,
        metadata: ScoringMetadata | None = None,
    ) -> list[discriminator_pb2.ImageScore]:
        """Return one score per image, in order; ``metadata`` goes with the call.

        Raises:
            BackendError: there is none within the budget; says why.
        """
        request = discriminator_pb2.ScoreRequest(
            discriminator=discriminator,
            images=[
                discriminator_pb2.ScoredImage(prompt=prompt, image=_raw(image))
                for prompt, image in zip(prompts, images, strict=True)
            ],
        )
        return await self._ask(request, budget_s, metadata)

    async def pair(
        self, light: common_pb2.LightScore, prompt: str, image: NDArray[np.uint8]
    ) -> None:
        """Let the discriminator compare a heavy image with what it said of the light one.

        Raises:
            BackendError: it did not; says why.
        """
        scored = discriminator_pb2.ScoredImage(prompt=prompt, image=_raw(image), light=light)
        request = discriminator_pb2.ScoreRequest(
            discriminator=light.discriminator, images=[scored], exclude_from_sketch=True
        )
        await self._ask(request, self._timeout_s)

    async def _ask(
        self,
        request: discriminator_pb2.ScoreRequest,
        budget_s: float,
        metadata: ScoringMetadata | None = None,
    ) -> list[discriminator_pb2.ImageScore]:
        if budget_s <= 0.0:
            raise BackendError("no time left for scoring")
        try:
            timeout_s = min(self._timeout_s, budget_s)
            response = await self._stub.Score(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise BackendError(
                f"discriminator at {self._address}: {error.code().name}: {error.details()}"
            ) from None
        if len(response.scores) != len(request.images):
            raise BackendError(f"{len(response.scores)} scores for {len(request.images)} images")
        return list(response.scores)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _raw(image: NDArray[np.uint8]) -> common_pb2.Image:
    height, width, _ = image.shape
    return common_pb2.Image(
        data=image.tobytes(), media_type=RAW_MEDIA_TYPE, width=width, height=height
    )
