"""How the planner decides: its settings."""

from __future__ import annotations

from dataclasses import dataclass

from diffserve.errors import ConfigError
from diffserve.planning.problem import Objective
from diffserve.planning.waits import WaitModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerParameters:
    """How the planner decides.

    Attributes:
        objective: What a plan maximises.
        utilisation_max: Share of a pool's throughput that a plan may use, (0, 1].
        headroom: Factor on the estimated demand, at least 1. The estimate already has headroom for
            its dispersion; the paper's fixed factor is 1.05, its artifact's 1.2.
        deferral_cap_at_best: With the threshold objective, do not defer beyond the best point of
            the quality curve; false is the paper.
        wait_model: How queue waits are predicted.
        wait_share_max: Share of the SLO left by batches of 1 that waits may claim, [0, 1).
        drains_backlog: Plan for light queries that wait already, to be served in time.
        gain_min: Smallest gain that is worth switching workers, as a share of the quality curve's
            range (of 1 for the threshold objective). Threshold and batch sizes, which cost nothing
            to change, are always the best for the placement at hand.
        staffing_beta: Headroom of large pools in the joint program, in square roots of their load,
            where that is less than ``utilisation_max`` leaves; see ``staffing``.
        load_horizon_s: Period over which loading weights must pay off, in the joint program.
        parks_spare: Leave workers out of the placement that quality does not need. By default they
            stay and widen the pools in use: they cost their owner nothing more, and serve bursts
            that come before the next plan.
    """

    objective: Objective = Objective.QUALITY
    utilisation_max: float = 0.9
    headroom: float = 1.0
    deferral_cap_at_best: bool = True
    wait_model: WaitModel = WaitModel.QUEUEING
    wait_share_max: float = 0.5
    drains_backlog: bool = True
    gain_min: float = 0.01
    staffing_beta: float = 1.5
    load_horizon_s: float = 60.0
    parks_spare: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.utilisation_max <= 1.0:
            raise ConfigError("planner utilisation_max: must be in (0, 1]")
        if self.headroom < 1.0:
            raise ConfigError("planner headroom: must be at least 1")
        if not 0.0 <= self.wait_share_max < 1.0:
            raise ConfigError("planner wait_share_max: must be in [0, 1)")
        if self.gain_min < 0.0:
            raise ConfigError("planner gain_min: must not be negative")
        if self.staffing_beta < 0.0:
            raise ConfigError("planner staffing_beta: must not be negative")
        if self.load_horizon_s <= 0.0:
            raise ConfigError("planner load_horizon_s: must be above 0")
