"""The gRPC face of the discriminator service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from diffserve.errors import DiffServeError, UnavailableError
from diffserve.observability.tracing import Tracing
from diffserve.rpc import status
from diffserve.rpc.streams import Outbox, answer_many
from diffserve.rpc.v1 import discriminator_pb2, discriminator_pb2_grpc
from diffserve.scoring.populations import NUM_RANKS
from diffserve.scoring.tracing import trace_scores
from services.discriminator.images import read_images
from services.discriminator.reports import take_in
from services.discriminator.scoring import Scoring

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
        return await self._scored(request)

    async def ScoreMany(  # type: ignore[override]  # grpc takes coroutines that write, too
        self, request_iterator: AsyncIterator[discriminator_pb2.ScoreRequest], context: Context
    ) -> None:
        """Answer every request of an open stream; see the protocol."""
        await answer_many(context, self._answer)

    async def _answer(
        self,
        request: discriminator_pb2.ScoreRequest,
        outbox: Outbox[discriminator_pb2.ScoreResponse],
    ) -> None:
        try:
            async with asyncio.timeout(request.budget_s or None):
                response = await self._scored(request)
        except TimeoutError:
            return  # nobody waits for it any more
        except DiffServeError as error:
            why = status.to_bytes(error)
            response = discriminator_pb2.ScoreResponse(status=why)
        response.request_id = request.request_id
        outbox.send(response)

    async def _scored(
        self, request: discriminator_pb2.ScoreRequest
    ) -> discriminator_pb2.ScoreResponse:
        population = self._scoring.populations.checked(request.discriminator, request.variant_id)
        if self.unavailable:
            raise UnavailableError(self.unavailable)
        started_s = time.monotonic()
        images = read_images(request.images)
        prompts = [image.prompt for image in request.images]
        if all(image.HasField("light") for image in request.images):
            scores = await self._scoring.score_heavy(
                request.discriminator, images, prompts, [image.light for image in request.images]
            )
        else:
            scores = await self._scoring.score(
                population,
                images,
                prompts,
                exclude_from_sketch=request.exclude_from_sketch,
            )
        if self._tracing is not None:
            parents = [image.traceparent for image in request.images]
            times_s = (started_s, time.monotonic())
            trace_scores(self._tracing, parents, request.discriminator, scores, times_s)
        return discriminator_pb2.ScoreResponse(
            scores=[
                discriminator_pb2.ImageScore(confidence=s.confidence, percentile=s.percentile)
                for s in scores
            ]
        )

    @status.unary
    async def Observe(
        self, request: discriminator_pb2.ObserveRequest, context: Context
    ) -> discriminator_pb2.ObserveResponse:
        """Take in what workers scored; tell them what to rank among."""
        if self.unavailable:
            # Before its sketches are restored: they would take the place of what is told now.
            raise UnavailableError(self.unavailable)
        populations = take_in(request, self._scoring)
        sketches = [self._scoring.populations.sketch(population) for population in populations]
        return discriminator_pb2.ObserveResponse(
            sketches=[
                discriminator_pb2.Quantiles(confidences=sketch.quantiles(NUM_RANKS))
                for sketch in sketches
            ]
        )

    @status.unary
    async def DescribeSketch(
        self, request: discriminator_pb2.DescribeSketchRequest, context: Context
    ) -> discriminator_pb2.DescribeSketchResponse:
        """Tell the current confidence quantiles."""
        populations = self._scoring.populations
        sketch = populations.sketch(populations.checked(request.discriminator, request.variant_id))
        fractions = [index / (NUM_FRACTIONS - 1) for index in range(NUM_FRACTIONS)]
        return discriminator_pb2.DescribeSketchResponse(
            num_scores=len(sketch),
            fractions=fractions,
            thresholds=[sketch.threshold(fraction) for fraction in fractions],
        )
