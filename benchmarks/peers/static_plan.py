"""The plan that a peer keeps for the whole run: from our solver, or by trying all on the trace."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from diffserve.core import Outcome
from diffserve.planning.allocation import allocate
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.problem import CascadeProblem
from diffserve.profiles.curves import DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.quality import QualityTable
from diffserve.sim.report import Recorder

SHARES = tuple(step / 40 for step in range(41))
"""Deferred shares that the oracle tries."""
LIGHT_BATCHES = (1, 2, 4, 8, 16)
HEAVY_BATCHES = (1, 2, 4)
"""Larger ones take longer than the SLO of the cascade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticPlan:
    """Roles that nobody changes.

    Attributes:
        light_workers: How many draw light.
        light_batch: Queries together, at most.
        heavy_workers: How many draw heavy.
        heavy_batch: Queries together, at most.
        share: Deferred share; the threshold is its quantile of the confidences.
    """

    light_workers: int
    light_batch: int
    heavy_workers: int
    heavy_batch: int
    share: float

    def text(self) -> str:
        """Return it in words."""
        return (
            f"{self.light_workers} light in batches of {self.light_batch}, "
            f"{self.heavy_workers} heavy in batches of {self.heavy_batch}, "
            f"{100 * self.share:.0f} % deferred"
        )

    def document(self) -> dict[str, float]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a static plan is tried on.

    Attributes:
        arrivals_s: Ascending.
        ranks: One per arrival: share of all images that score lower.
        light: Execution times.
        heavy: Execution times.
        deferral: Of the cascade.
        quality: Of the cascade.
        slo_s: Of every query.
        num_workers: Devices.
        window_s: Of the report.
    """

    arrivals_s: Sequence[float]
    ranks: Sequence[float]
    light: LatencyProfile
    heavy: LatencyProfile
    deferral: DeferralProfile
    quality: QualityCurve
    slo_s: float
    num_workers: int
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a plan came to on the trace, in a model without any overhead.

    Attributes:
        plan: The plan.
        violation_ratio: Share of the queries not answered in time.
        quality: Windowed, in the sign of the metric.
        heavy_share: Of the answers in time.
    """

    plan: StaticPlan
    violation_ratio: float
    quality: float
    heavy_share: float


def plan_for_rate(scene: Scene, demand_qps: float) -> StaticPlan | None:
    """Return the plan of DiffServe's own solver for a known rate; None: it cannot be carried."""
    problem = CascadeProblem(
        num_workers=scene.num_workers,
        demand_qps=demand_qps,
        slo_s=scene.slo_s,
        light=scene.light,
        heavy=scene.heavy,
        deferral=scene.deferral,
        quality=scene.quality,
        utilisation_max=PlannerParameters().utilisation_max,
    )
    choice = EnumerationSolver().best_choice(problem)
    if choice is None:
        return None
    allocation = allocate(problem, choice)
    # Workers that the solver has no need of would idle: heavy is where they are short.
    spare = scene.num_workers - allocation.light_workers - allocation.heavy_workers
    return StaticPlan(
        light_workers=allocation.light_workers,
        light_batch=allocation.light_batch_size,
        heavy_workers=allocation.heavy_workers + spare,
        heavy_batch=allocation.heavy_batch_size,
        share=allocation.deferral_fraction,
    )


def best_on_trace(scene: Scene, violation_ratio_max: float) -> tuple[Trial, list[Trial]]:
    """Return the plan an oracle would choose, and all that no other plan beats in both figures.

    Every plan is tried on the very arrivals and confidences that will come. The best has the best
    quality among those with at most so many violations; without any such, the fewest violations.
    """
    sign = -1.0 if QualityTable(scene.quality).is_lower_better else 1.0
    trials = sorted(
        (tried(scene, plan) for plan in _candidates(scene.num_workers)),
        key=lambda trial: (trial.violation_ratio, -sign * trial.quality),
    )
    front: list[Trial] = []
    for trial in trials:
        if not front or sign * trial.quality > sign * front[-1].quality:
            front.append(trial)
    bearable = [trial for trial in front if trial.violation_ratio <= violation_ratio_max]
    return (bearable[-1] if bearable else front[0]), front


def _candidates(num_workers: int) -> Iterator[StaticPlan]:
    roles = itertools.product(range(1, num_workers), LIGHT_BATCHES, HEAVY_BATCHES, SHARES)
    for light_workers, light_batch, heavy_batch, share in roles:
        yield StaticPlan(
            light_workers=light_workers,
            light_batch=light_batch,
            heavy_workers=num_workers - light_workers,
            heavy_batch=heavy_batch,
            share=share,
        )


def slowed(scene: Scene, factor: float) -> Scene:
    """Return a scene whose executions all take longer."""

    def slower(profile: LatencyProfile) -> LatencyProfile:
        return LatencyProfile({b: factor * s for b, s in profile.seconds_by_batch.items()})

    return replace(scene, light=slower(scene.light), heavy=slower(scene.heavy))


def tried(scene: Scene, plan: StaticPlan) -> Trial:
    """Return what a plan comes to with one queue per stage, first come first served."""
    light_end_s = served(scene.arrivals_s, plan.light_workers, plan.light_batch, scene.light)
    deferred = sorted(
        (end_s, index) for index, end_s in enumerate(light_end_s) if scene.ranks[index] < plan.share
    )
    ready_s = [end_s for end_s, _ in deferred]
    heavy_end_s = served(ready_s, plan.heavy_workers, plan.heavy_batch, scene.heavy)
    ends_s = dict(zip((index for _, index in deferred), heavy_end_s, strict=True))
    recorder = Recorder(scene.window_s)
    for index, arrival_s in enumerate(scene.arrivals_s):
        recorder.arrived(arrival_s)
        outcome = Outcome.HEAVY if index in ends_s else Outcome.LIGHT
        end_s = ends_s.get(index, light_end_s[index])
        recorder.finished(arrival_s, arrival_s + scene.slo_s, outcome, end_s)
    return Trial(
        plan=plan,
        violation_ratio=recorder.num_violations / max(1, recorder.num_queries),
        quality=recorder.quality_windowed(QualityTable(scene.quality)),
        heavy_share=recorder.heavy_share,
    )


def served(
    ready_s: Sequence[float], num_workers: int, batch_max: int, profile: LatencyProfile
) -> list[float]:
    """Return when each query of an ascending list leaves a pool; nobody waits for company."""
    free_s = [0.0] * num_workers
    waiting = deque(range(len(ready_s)))
    ends_s = [0.0] * len(ready_s)
    while waiting:
        start_s = max(heapq.heappop(free_s), ready_s[waiting[0]])
        batch: list[int] = []
        while waiting and len(batch) < batch_max and ready_s[waiting[0]] <= start_s:
            batch.append(waiting.popleft())
        end_s = start_s + profile.execution_s(len(batch))
        for index in batch:
            ends_s[index] = end_s
        heapq.heappush(free_s, end_s)
    return ends_s
