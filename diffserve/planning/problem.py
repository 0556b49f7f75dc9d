"""What the planner is asked and what it answers: plain values, no solver in sight."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from diffserve.profiles.curves import DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile


class Objective(enum.StrEnum):
    """What a plan maximises."""

    QUALITY = "quality"
    """Measured quality of the answers, q(f)."""
    THRESHOLD = "threshold"
    """The confidence threshold t, as published. Paper: §3.3."""


class SolveStatus(enum.StrEnum):
    """How a solve ended; infeasible and late are values, not exceptions."""

    OPTIMAL = "optimal"
    TIME_LIMIT = "time_limit"
    INFEASIBLE = "infeasible"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeProblem:
    """One planning problem: a cascade, a fleet, a demand. Paper: §3.3.

    Attributes:
        num_workers: Identical workers to divide between the two stages.
        demand_qps: Arrival rate to plan for, headroom included.
        slo_s: Allowed duration.
        light: Latency profile of the light variant, scoring included.
        heavy: Latency profile of the heavy variant.
        deferral: Threshold -> deferral fraction; its points are the planner's grid.
        quality: Deferral fraction -> quality.
        light_wait_s: Expected wait in the light queue.
        heavy_wait_s: Expected wait in the heavy queue.
        utilisation_max: Share of a pool's throughput that a plan may use, (0, 1].
        deferral_fraction_max: Never defer more than this share, 0..1.
        objective: What to maximise.
    """

    num_workers: int
    demand_qps: float
    slo_s: float
    light: LatencyProfile
    heavy: LatencyProfile
    deferral: DeferralProfile
    quality: QualityCurve
    light_wait_s: float = 0.0
    heavy_wait_s: float = 0.0
    utilisation_max: float = 1.0
    deferral_fraction_max: float = 1.0
    objective: Objective = Objective.QUALITY

    def __post_init__(self) -> None:
        assert self.num_workers >= 0
        assert math.isfinite(self.demand_qps) and self.demand_qps >= 0.0
        assert self.light_wait_s >= 0.0 and self.heavy_wait_s >= 0.0
        assert 0.0 < self.utilisation_max <= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """How many workers run which stage, at which batch size, and how much is deferred.

    Attributes:
        light_workers: x1.
        light_batch_size: b1.
        heavy_workers: x2; 0 when nothing is deferred.
        heavy_batch_size: b2; 1 when there is no heavy stage.
        deferral_fraction: f.
        confidence_threshold: t, the point of the deferral profile.
        value: Objective at f.
    """

    light_workers: int
    light_batch_size: int
    heavy_workers: int
    heavy_batch_size: int
    deferral_fraction: float
    confidence_threshold: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveResult:
    """An allocation and how it came about.

    Attributes:
        allocation: The answer; for an infeasible problem the fallback (quality is shed, not load:
            all workers light, nothing deferred).
        status: How the solve ended.
        solver: ``gurobi``, ``cbc``, ``enumeration`` or ``fallback``.
        solve_s: Wall time, model build included; 0 where no clock is allowed.
    """

    allocation: Allocation
    status: SolveStatus
    solver: str
    solve_s: float = 0.0
