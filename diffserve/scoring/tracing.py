"""The part of scoring in the traces of queries, whichever service scores."""

from __future__ import annotations

from collections.abc import Sequence

from diffserve.observability.tracing import Tracing
from diffserve.scoring.populations import Score


def trace_scores(
    tracing: Tracing,
    parents: Sequence[str],
    discriminator: str,
    scores: Sequence[Score],
    times_s: tuple[float, float],
) -> None:
    """Record a span ``discriminate`` per image whose query is traced.

    Args:
        tracing: Of the service.
        parents: ``traceparent`` of each image's span; empty ones, or none at all, are not traced.
        discriminator: What scored.
        scores: One per image.
        times_s: Begin and end, monotonic seconds.
    """
    for parent, score in zip(parents, scores, strict=False):
        if parent:
            tracing.record(
                "discriminate",
                parent,
                *times_s,
                discriminator=discriminator,
                confidence=score.confidence,
                percentile=score.percentile,
                batch_size=len(scores),
            )
