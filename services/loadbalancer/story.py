"""What happened to one query, in order; for operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from diffserve.core import Batch
from diffserve.rpc.v1 import generation_pb2, worker_pb2


class Step(NamedTuple):
    """One thing that happened; see ``QueryStep`` of the protocol."""

    name: str
    at_s: float
    plan_id: int
    batch: Batch | None
    detail: str


class Story:
    """Steps as they come; messages are made only when somebody asks."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[Step] = []

    def add(
        self, name: str, at_s: float, plan_id: int, batch: Batch | None = None, detail: str = ""
    ) -> None:
        """Take down what happened at ``at_s``, monotonic clock."""
        self._steps.append(Step(name, at_s, plan_id, batch, detail))

    def messages(self, arrival_s: float) -> Iterator[generation_pb2.QueryStep]:
        """Yield the steps, with seconds since ``arrival_s``."""
        for step in self._steps:
            batch = step.batch
            yield generation_pb2.QueryStep(
                name=step.name,
                at_s=max(0.0, step.at_s - arrival_s),
                plan_id=step.plan_id,
                variant_id=batch.variant_id if batch else "",
                worker_id=batch.worker_id if batch else "",
                batch_size=len(batch.query_ids) if batch else 0,
                detail=step.detail,
            )


def score_text(result: worker_pb2.QueryResult) -> str:
    """Return what the discriminator said of an image, as one sentence."""
    if result.scoring_error:
        return f"not scored: {result.scoring_error}"
    if not result.HasField("confidence"):
        return "not scored"
    return f"confidence {result.confidence:.3f} ranks at {100 * result.percentile:.0f} %"
