"""HADIS's data path: the published one, with pairs that change and prompts that skip light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from diffserve.core import Cascade, Outcome, Plan, Query
from diffserve.planning.observation import QueueState
from diffserve.policy.actions import Action, Bypass, Finish
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.baselines.fifo_router import FifoRouter
from diffserve.sim.system import Telemetry

FORGOTTEN_AFTER = 2.0
"""Artifact: the controller takes a dropped query for in progress until this many SLOs are over."""


class HadisRouter(FifoRouter):
    """A ``FifoRouter`` that serves the pair of the plan in force.

    The router of prompts runs in the light workers, as in the artifact, and takes no time here. A
    light image whose worker has another role by now is the answer.
    """

    def __init__(
        self,
        cascades: Mapping[str, Cascade],
        profiles: Mapping[str, LatencyProfile],
        seed: int,
    ) -> None:
        """Start without plan.

        Args:
            cascades: The pairs by ``cascade_id``, all with the SLO to meet.
            profiles: Latency by variant.
            seed: Of the random dispatch.
        """
        super().__init__(next(iter(cascades.values())), profiles, seed)
        self._cascades = cascades
        self._variants = sorted({v for c in cascades.values() for v in (c.light, c.heavy)})
        self._num_sent: Counter[str] = Counter()
        self._unreported: list[float] = []

    def apply_plan(self, plan: Plan, now_s: float) -> list[Action]:
        """Change pair and roles at once; queues stay where they are."""
        if plan.plan_id > self.plan_id:
            self._cascade = self._cascades[next(iter(plan.cascades))]
        return super().apply_plan(plan, now_s)

    def submit(self, query: Query, now_s: float) -> list[Action]:
        """Queue a query at a random light worker, or at a heavy one if its prompt is hard."""
        light, heavy = self._cascade.light, self._cascade.heavy
        if not self._is_hard(query) or not self._hosts(heavy):
            return super().submit(query, now_s)
        self._num_arrivals += 1
        self._queries[query.query_id] = query
        self._num_sent[light] += 1  # it came through a light worker
        reason = "its prompt is hard"
        return [Bypass(query.query_id, reason), *self._enqueue(query.query_id, heavy, now_s)]

    def light_ready(
        self, batch_id: int, query_id: str, percentile: float | None, now_s: float
    ) -> list[Action]:
        """Accept a light image at or above the threshold; else forward the prompt."""
        batch = self._batches.get(batch_id)
        if batch is not None and self._workers[batch.worker_id].variant_id != self._cascade.light:
            return [self._finish(query_id, Outcome.LIGHT, "its worker has another role")]
        return super().light_ready(batch_id, query_id, percentile, now_s)

    def telemetry(self, now_s: float) -> Telemetry:
        """Return what workers report, of all models."""
        waiting = dict.fromkeys(self._variants, 0)
        for worker in self._workers.values():
            if worker.variant_id:
                waiting[worker.variant_id] += len(worker.queue)
        self._unreported = [until_s for until_s in self._unreported if until_s > now_s]
        return Telemetry(
            reported_s=now_s,
            num_arrivals=self._num_arrivals,
            num_in_progress=len(self._queries) + len(self._unreported),
            queues={variant: QueueState(length=count) for variant, count in waiting.items()},
            num_sent={variant: self._num_sent[variant] for variant in self._variants},
        )

    # -- inside ----------------------------------------------------------------------------

    def _is_hard(self, query: Query) -> bool:
        plan = self._plan.cascades[self._cascade.cascade_id] if self._plan else None
        share = plan.bypass_fraction if plan else 0.0
        return share > 0.0 and query.difficulty is not None and query.difficulty >= 1.0 - share

    def _enqueue(self, query_id: str, variant_id: str, now_s: float) -> list[Action]:
        self._num_sent[variant_id] += 1
        return super()._enqueue(query_id, variant_id, now_s)

    def _drop(self, query_id: str, reason: str) -> Finish:
        query = self._queries[query_id]
        self._unreported.append(query.arrival_s + FORGOTTEN_AFTER * self._cascade.slo_s)
        return super()._drop(query_id, reason)
