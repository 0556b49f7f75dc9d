"""What workers report of images that they scored themselves."""

from __future__ import annotations

from collections.abc import Sequence

from diffserve.core import Population
from diffserve.errors import InputError
from diffserve.rpc.v1 import discriminator_pb2
from services.discriminator.scoring import Scoring

NUM_CONFIDENCES_MAX = 4096
"""Of a report: a worker that could not report for long keeps no more either."""


def take_in(request: discriminator_pb2.ObserveRequest, scoring: Scoring) -> list[Population]:
    """Learn from a report, all of it or nothing; return the populations of its light images.

    Raises:
        InputError: a field is out of bounds.
        NotFoundError: there is no such discriminator.
    """
    populations = [
        scoring.populations.checked(group.discriminator, group.variant_id)
        for group in request.light
    ]
    for index, group in enumerate(request.light):
        _check(f"light.{index}.confidences", group.confidences)
    _check("heavy", [item.confidence for item in request.heavy])
    for item in request.heavy:
        scoring.populations.checked(item.light.discriminator, "")
    for population, group in zip(populations, request.light, strict=True):
        if group.confidences:
            scoring.join(population, group.confidences)
            count = len(group.confidences)
            scoring.metrics.scored(group.discriminator, count, group.scoring_s, is_heavy=False)
    for item in request.heavy:
        scoring.learnt.pair(item.light, item.confidence)
        scoring.metrics.scored(item.light.discriminator, 1, [item.scoring_s], is_heavy=True)
    return populations


def _check(where: str, confidences: Sequence[float]) -> None:
    if len(confidences) > NUM_CONFIDENCES_MAX:
        raise InputError(where, f"holds {len(confidences)}, more than {NUM_CONFIDENCES_MAX}")
    for index, value in enumerate(confidences):
        # Written so that NaN, which compares false with everything, is refused too.
        if not 0.0 <= value <= 1.0:
            raise InputError(f"{where}.{index}", f"{value} is outside 0..1")
