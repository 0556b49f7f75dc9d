"""What plans promise on HADIS's tables: quality against demand, with nothing simulated."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from diffserve.catalog import Catalog
from diffserve.core import WorkerInfo
from diffserve.experiments.loads import NUM_WORKERS, catalog
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.gather import observe_fleet
from diffserve.planning.planner import PlannerParameters, make_plan
from diffserve.planning.waits import WaitModel
from diffserve.sim.baselines.hybrid_table import Load, Row, best_fit, pareto_front, table_rows

COMPRESSION = 10.0
"""HADIS's experiment, and so the catalog, passes this many times as fast as reality."""
LOW_QPS, HIGH_QPS = 0.8, 6.4
"""Least and peak demand of HADIS's trace, in real time."""
EVEN = tuple(round(0.4 * step, 1) for step in range(2, 17))
"""From the least to the peak demand in equal steps: 15 demands, most of them high."""
OCTAVES = tuple(LOW_QPS * 2.0 ** (step / 16.0) for step in range(49))
"""The same range in steps of a sixteenth of an octave: low demands as often as high ones.

In quarter octaves a mean still depends on where the steps fall: planned quality jumps where the
pair in use changes."""
GRIDS: Mapping[str, tuple[float, ...]] = {"equal steps": EVEN, "octaves": OCTAVES}
PROBES = (1.2, 3.0, 5.0, 8.0)
THRESHOLDS = tuple(step / 200.0 for step in range(201))
"""DiffServe's grid of thresholds; with f(t) = t these are shares deferred."""

PINNED, BEST_PAIR = "hadis-turbo-large", "hadis-turbo-medium"
HADIS = "HADIS"
OURS = "DiffServe, traffic mixed (ours)"

Planned = Callable[[float], float]
"""Real demand, queries per second -> planned quality as the table has it (FID)."""


@dataclass(frozen=True, slots=True)
class Study:
    """Planned quality of every system.

    Attributes:
        probes: By system, at each of ``PROBES``.
        means: By system and grid.
        curve: By system, on ``EVEN``; for the figure.
    """

    probes: Mapping[str, Sequence[float]]
    means: Mapping[str, Mapping[str, float]]
    curve: Mapping[str, Sequence[float]]


def study(grids: Mapping[str, Sequence[float]]) -> Study:
    """Return the planned quality of every system on some grids of demand."""
    systems = planners()
    curves = {
        name: {grid: [plan(qps) for qps in demands] for grid, demands in grids.items()}
        for name, plan in systems.items()
    }
    return Study(
        probes={name: [plan(qps) for qps in PROBES] for name, plan in systems.items()},
        means={
            name: {grid: statistics.fmean(values) for grid, values in by_grid.items()}
            for name, by_grid in curves.items()
        },
        curve={name: next(iter(by_grid.values())) for name, by_grid in curves.items()},
    )


def planners() -> dict[str, Planned]:
    """Return the systems of the table, in its order."""
    known = catalog("hadis")
    pairs = known.classes["hadis"].cascade_ids
    rows = table_rows(known, pairs)
    front = pareto_front(rows, known.latency)
    gated = [row for row in rows if row.bypass_fraction == 0.0]
    turbo_large = [row for row in rows if row.cascade.cascade_id == PINNED]
    return {
        "DiffServe, turbo and large": functools.partial(_best, _of(gated, PINNED)),
        "DiffServe, turbo and medium": functools.partial(_best, _of(gated, BEST_PAIR)),
        "adaptive pair, discriminator only": functools.partial(_best, gated),
        "turbo and large, with HADIS's router": functools.partial(_best, turbo_large),
        HADIS: functools.partial(_best, front),
        "HADIS, light capacity corrected": functools.partial(_best, front, saves=True),
        "DiffServe, turbo and large, 201 thresholds": functools.partial(
            _best, _fine(known, PINNED)
        ),
        "DiffServe, turbo and medium, 201 thresholds": functools.partial(
            _best, _fine(known, BEST_PAIR)
        ),
        OURS: _mixed,
    }


def _of(rows: Iterable[Row], cascade_id: str) -> list[Row]:
    return [row for row in rows if row.cascade.cascade_id == cascade_id]


def _fine(known: Catalog, cascade_id: str) -> list[Row]:
    """Return rows between the profiled ones, interpolated linearly."""
    cascade, curve = known.cascades[cascade_id], known.quality[cascade_id]
    return [Row(cascade, 0.0, share, curve.quality_at(share)) for share in THRESHOLDS]


def _best(rows: Sequence[Row], demand_qps: float, *, saves: bool = False) -> float:
    """Return the FID of the best row that 16 workers carry; of the fastest, if none is."""
    known = catalog("hadis")
    fit = best_fit(
        rows,
        Load(
            num_workers=NUM_WORKERS,
            demand_qps=COMPRESSION * demand_qps,
            slo_s=known.cascades[PINNED].slo_s,
            latency=known.latency,
            bypass_saves_light=saves,
        ),
    )
    return -(fit.row if fit else min(rows, key=lambda row: row.heavy_share)).quality


@functools.cache
def _mixed(demand_qps: float) -> float:
    """Return the FID of the plan of our own planner, under the same conditions as the others.

    That is without what it usually keeps in reserve: full use of workers, no allowance for waits.
    The quality of a mixture is taken as the mean of its parts, which is conservative for an FID.
    """
    known = catalog("hadis")
    workers = tuple(
        WorkerInfo(worker_id=f"w{index:02d}", address="", device="sim")
        for index in range(NUM_WORKERS)
    )
    observation = observe_fleet(
        known,
        workers,
        cascades=[known.cascades[c] for c in known.classes["hadis"].cascade_ids],
        profile=lambda variant_id, _: known.latency[variant_id],
        demand_qps={"hadis": COMPRESSION * demand_qps},
        queues={},
        ranks_prompts=True,
    )
    parameters = PlannerParameters(
        utilisation_max=1.0, staffing_beta=0.0, wait_model=WaitModel.LITTLE
    )
    plan = make_plan(observation, None, parameters, EnumerationSolver(), plan_id=1)
    return -sum(c.class_share * c.expected_quality for c in plan.cascades.values())
