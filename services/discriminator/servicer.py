"""The gRPC face of the discriminator service."""

from __future__ import annotations

import time
from typing import Any

import grpc

from diffserve.observability.propagation import Metadata, batch_parents
from diffserve.observability.tracing import Tracing
from diffserve.rpc import status
from diffserve.rpc.v1 import discriminator_pb2, discriminator_pb2_grpc
from services.discriminator.images import read_images
from services.discriminator.scoring import Score, Scoring

Context = grpc.aio.ServicerContext[Any, Any]

NUM_FRACTIONS = 21
"""Deferral fractions 0, 0.05, ..., 1."""


class DiscriminatorServicer(discriminator_pb2_grpc.DiscriminatorServicer):
    """Translates between messages and ``Scoring``.

    Attributes:
        unavailable: Why nothing is scored at the moment; empty when it is.
    """

    def __init__(self, scoring: Scoring, tracing: Tracing | None = None) -> None:
        self._scoring = scoring
        self._tracing = tracing
        self.unavailable = "warming up"

    @status.unary
    async def Score(
        self, request: discriminator_pb2.ScoreRequest, context: Context
    ) -> discriminator_pb2.ScoreResponse:
        """Score a batch of images with their prompts."""
        await self._check_name(request.discriminator, context)
        if self.unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, self.unavailable)
        started_s = time.monotonic()
        images = read_images(request.images)
        prompts = [image.prompt for image in request.images]
        if all(image.HasField("light") for image in request.images):
            scores = await self._scoring.score_heavy(
                request.discriminator, images, prompts, [image.light for image in request.images]
            )
        else:
            scores = await self._scoring.score(
                request.discriminator,
                images,
                prompts,
                exclude_from_sketch=request.exclude_from_sketch,
            )
        if self._tracing is not None:
            metadata = context.invocation_metadata()
            _trace(self._tracing, metadata, started_s, request.discriminator, scores)
        return discriminator_pb2.ScoreResponse(
            scores=[
                discriminator_pb2.ImageScore(confidence=s.confidence, percentile=s.percentile)
                for s in scores
            ]
        )

    @status.unary
    async def DescribeSketch(
        self, request: discriminator_pb2.DescribeSketchRequest, context: Context
    ) -> discriminator_pb2.DescribeSketchResponse:
        """Tell the current confidence quantiles."""
        await self._check_name(request.discriminator, context)
        sketch = self._scoring.sketches[request.discriminator]
        fractions = [index / (NUM_FRACTIONS - 1) for index in range(NUM_FRACTIONS)]
        return discriminator_pb2.DescribeSketchResponse(
            num_scores=len(sketch),
            fractions=fractions,
            thresholds=[sketch.threshold(fraction) for fraction in fractions],
        )

    async def _check_name(self, name: str, context: Context) -> None:
        if name not in self._scoring.sketches:
            known = ", ".join(self._scoring.sketches)
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"discriminator: no {name!r}; there are: {known}"
            )


def _trace(
    tracing: Tracing,
    metadata: Metadata | None,
    started_s: float,
    name: str,
    scores: list[Score],
) -> None:
    """Record one span per image whose query is traced."""
    ended_s = time.monotonic()
    for parent, score in zip(batch_parents(metadata, len(scores)), scores, strict=True):
        if parent:
            tracing.record(
                "discriminate",
                parent,
                started_s,
                ended_s,
                discriminator=name,
                confidence=score.confidence,
                percentile=score.percentile,
                batch_size=len(scores),
            )
