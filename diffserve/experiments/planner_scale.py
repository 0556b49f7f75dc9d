"""How long planning takes, how large its programs are and how good: 16 to 10,000 workers."""

from __future__ import annotations

import itertools
import os
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from diffserve.core import Plan, RequestClass, WorkerInfo
from diffserve.errors import BackendError
from diffserve.experiments.comparison import bullets
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import AUTHORS_TABLES, catalog
from diffserve.planning.fleet_model import build_fleet_model
from diffserve.planning.fleet_solver import FleetSolution, Solve, solve_fleet, value_bound
from diffserve.planning.gather import observe_fleet
from diffserve.planning.joint import joint_problem
from diffserve.planning.observation import CascadeObservation, FleetObservation
from diffserve.planning.planner import PlannerParameters, make_plan
from diffserve.planning.solver import Solver, open_cbc
from diffserve.planning.staffing import grade_of, workers_needed
from diffserve.profiles.latency import LatencyProfile

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME = "planner_scale"
TITLE = "Planning at scale"
_ORIGIN = (
    "Everything on this page was **measured** on the live planner: it planned for fleets that "
    "are assumed, and nothing was served or simulated."
)
SIZES = (16, 64, 256, 1024, 4096, 10_000)
QUICK_SIZES = (16, 256, 10_000)
REPEATS, QUICK_REPEATS = 9, 3
PARAMETERS = PlannerParameters(utilisation_max=0.85)
SPEEDS = {"a": 1.0, "b": 1.35, "c": 2.6}
"""Assumed device types: how many times as fast as the catalog's."""
MIX = {"a": 0.5, "b": 0.3, "c": 0.2}
"""Their shares of the fleet."""
SLOS_S = (3.0, 6.0, 12.0)
QPS_PER_WORKER = 2.0
LOW_QPS_PER_WORKER = 0.25
"""A load at which quality is at its best with fewer workers."""
BETA = PARAMETERS.staffing_beta


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one problem.

    Attributes:
        case: Which one.
        workers: Size of the fleet.
        num_variables: Of the program; 0 where it was not looked at.
        num_rows: Of the program.
        median_s: Of planning, everything included.
        cpu_s: Mean time of all cores, the solver's process included.
        worst_s: Of planning.
        quality: Planned, by weight and demand.
        gap: To the program with workers that may be divided, as a share of its quality.
        regret: To the bound that no plan exceeds, in quality.
        headroom: Share of the needed workers that is kept free.
    """

    case: str
    workers: int
    num_variables: int
    num_rows: int
    median_s: float
    cpu_s: float
    worst_s: float
    quality: float
    gap: float
    regret: float
    headroom: float


def run(context: Context) -> Result:
    """Plan for fleets of all sizes.

    Raises:
        BackendError: CBC is not installed; other solvers' times may not be published.
    """
    solver = open_cbc()
    if solver is None:
        raise BackendError("planner_scale needs CBC: pip install 'diffserve[controller]'")
    sizes = QUICK_SIZES if context.quick else SIZES
    repeats = QUICK_REPEATS if context.quick else REPEATS
    cases = [(case, size) for size in sizes for case in CASES]
    load_average = os.getloadavg()[0]
    rows = []
    for done, (case, size) in enumerate(cases):
        context.on_progress(done, len(cases))
        rows.append(_row(case, size, solver, repeats))
    parked = [_parked(size, solver) for size in sizes]
    return Result(
        name=NAME,
        title=TITLE,
        question="How long does a plan take, how large is its program, and how far is it from the "
        "best, for one cascade (the paper's program), for one class of six cascades, and for six "
        "classes of six cascades on three device types? CBC through PuLP, one thread.",
        answer=_answer(rows, parked),
        inputs=(
            AUTHORS_TABLES.split(";", maxsplit=1)[0] + ". Used for the one cascade.",
            "HADIS's authors' (public artifact, MIT licence): latencies of four models and FID of "
            "six cascades by share bypassing and deferred. Used for the classes of six.",
            "Ours: device types 1, 1.35 and 2.6 times as fast as the tables' (50, 30 and 20 % of "
            "the fleet; assumed), SLOs of 3, 6 and 12 s, weights 1 and 2, "
            f"{QPS_PER_WORKER:g} queries per second and worker, the planner and its headroom.",
            f"Measured: times, on {os.cpu_count()} cores with a load average of "
            f"{load_average:.1f} at the start.",
        ),
        tables=[_table(rows), _headroom_table(), _parking_table(parked)],
        figures=[
            Figure(
                "time",
                "Planning time and distance to the bound",
                lambda canvas: _draw(canvas, rows),
                "Left: median of the time to plan, the building of the program and the placement "
                "included. Right: how much better a plan could be if workers could be divided at "
                "will and all had the headroom of the whole fleet.",
            )
        ],
        data={
            "rows": [asdict(row) for row in rows],
            "parked": [{"workers": n, "spare": spare} for n, spare in parked],
        },
        is_simulated=False,
        origin=_ORIGIN,
    )


def paper_fleet(num_workers: int) -> FleetObservation:
    """Return the paper's first cascade."""
    known = catalog("paper-sdturbo")
    return observe_fleet(
        known,
        _workers(num_workers, ("a",)),
        cascades=known.cascades.values(),
        profile=lambda variant, _: known.latency[variant],
        demand_qps={known.default_cascade: QPS_PER_WORKER * num_workers},
        queues={},
    )


def class_fleet(
    num_workers: int, qps_per_worker: float = QPS_PER_WORKER, num_classes: int = 1
) -> FleetObservation:
    """Return classes of six cascades each, with equal demand; several have three device types."""
    known = catalog("hadis")
    types = tuple(SPEEDS) if num_classes > 1 else ("a",)
    cascades: dict[str, CascadeObservation] = {}
    classes = []
    for k in range(num_classes):
        names = []
        demand_qps = qps_per_worker * num_workers / num_classes
        for cascade_id, cascade in known.cascades.items():
            slo_s = SLOS_S[k % len(SLOS_S)] if num_classes > 1 else cascade.slo_s
            name = f"{cascade_id}-{k}"
            names.append(name)
            cascades[name] = CascadeObservation(
                cascade=replace(cascade, cascade_id=name, slo_s=slo_s),
                light=known.latency[cascade.light],
                heavy=known.latency[cascade.heavy],
                deferral=known.deferral[cascade_id],
                quality=known.quality[cascade_id],
                bypass=known.bypass[cascade_id],
                demand_qps=demand_qps if len(names) == 1 else 0.0,
            )
        classes.append(
            RequestClass(class_id=f"class-{k}", cascade_ids=tuple(names), weight=1.0 + k % 2)
        )
    by_device = {
        variant: {
            kind: LatencyProfile(
                {size: s / SPEEDS[kind] for size, s in profile.seconds_by_batch.items()}
            )
            for kind in types
        }
        for variant, profile in known.latency.items()
    }
    return FleetObservation(
        workers=_workers(num_workers, types),
        cascades=cascades,
        classes=tuple(classes),
        latency_by_device=by_device if len(types) > 1 else {},
    )


def mixed_fleet(num_workers: int) -> FleetObservation:
    """Return six classes on three device types."""
    return class_fleet(num_workers, num_classes=6)


CASES = {
    "one cascade": paper_fleet,
    "one class, six cascades": class_fleet,
    "six classes, three device types": mixed_fleet,
}


def _workers(num_workers: int, types: Sequence[str]) -> tuple[WorkerInfo, ...]:
    kinds = [kind for kind in types for _ in range(round(MIX[kind] * num_workers))]
    kinds = kinds if len(types) > 1 else []
    kinds += [types[0]] * (num_workers - len(kinds))
    return tuple(
        WorkerInfo(worker_id=f"worker-{i:05d}", address="", device="sim", device_type=kind)
        for i, kind in enumerate(kinds[:num_workers])
    )


def _row(case: str, num_workers: int, solver: Solver, repeats: int) -> Row:
    observation = CASES[case](num_workers)
    plan, seconds, cpu_s = _timed(observation, solver, repeats)
    problem = joint_problem(observation, None, PARAMETERS)
    solution = _solved(observation, solver.solve)
    program, quality = solution.model.program, _quality(observation, plan)
    relaxed = _relaxed_value(solution, solver.solve)
    bound = value_bound(problem, solver.solve)
    value = solution.model.value(solution.final.values)
    if case == "one cascade":
        # The paper's program is another one, and exact.
        relaxed, value = quality, quality
    loads = solution.model.place_loads(solution.final.values).values()
    needed = [workers_needed(r, PARAMETERS.utilisation_max, BETA) for r in loads]
    return Row(
        case=case,
        workers=num_workers,
        num_variables=len(program.variables),
        num_rows=len(program.constraints),
        median_s=statistics.median(seconds),
        cpu_s=cpu_s,
        worst_s=max(seconds),
        quality=quality,
        gap=max(0.0, (relaxed - value) / abs(relaxed)),
        regret=max(0.0, (bound if bound is not None else value) - value),
        headroom=1.0 - sum(loads) / sum(needed),
    )


def _timed(
    observation: FleetObservation, solver: Solver, repeats: int
) -> tuple[Plan, list[float], float]:
    """Return the plan, the seconds of each repetition, and the mean CPU seconds."""
    # The first time reads libraries from disk.
    plan = make_plan(observation, None, PARAMETERS, solver, plan_id=1)
    seconds, spent_s = [], _cpu_s()
    for _ in range(repeats):
        began_s = time.perf_counter()
        plan = make_plan(observation, None, PARAMETERS, solver, plan_id=1)
        seconds.append(time.perf_counter() - began_s)
    return plan, seconds, (_cpu_s() - spent_s) / repeats


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _solved(observation: FleetObservation, solve: Solve) -> FleetSolution:
    solution = solve_fleet(joint_problem(observation, None, PARAMETERS), solve)
    if solution is None:
        raise BackendError("planner_scale: CBC found no plan")
    return solution


def _relaxed_value(solution: FleetSolution, solve: Solve) -> float:
    """Return the value of the same program without whole workers."""
    model, loads = solution.model, solution.model.place_loads(solution.final.values)
    grades = [grade_of(r, PARAMETERS.utilisation_max, BETA) for r in loads.values()]
    graded = build_fleet_model(model.problem, grades, model.routes)
    return graded.value(solve(graded.relaxed()).values)


def _quality(observation: FleetObservation, plan: Plan) -> float:
    total, weights = 0.0, 0.0
    for group in observation.groups:
        for share in (plan.cascades[c] for c in group.cascade_ids):
            total += group.weight * share.demand_qps * share.expected_quality
            weights += group.weight * share.demand_qps
    return total / weights


def _parked(num_workers: int, solver: Solver) -> tuple[int, int]:
    """Return the workers that a calm fleet could do without."""
    observation = class_fleet(num_workers, LOW_QPS_PER_WORKER)
    plan = make_plan(observation, None, replace(PARAMETERS, parks_spare=True), solver, plan_id=1)
    return num_workers, num_workers - len(plan.placement)


def _answer(rows: Sequence[Row], parked: Sequence[tuple[int, int]]) -> str:
    largest = max(row.workers for row in rows)
    lines = []
    for case in CASES:
        first, last = (
            next(r for r in rows if (r.case, r.workers) == (case, size))
            for size in (SIZES[0], largest)
        )
        lines.append(
            f"{case[0].upper()}{case[1:]}: {1000 * first.median_s:.0f} ms at {first.workers} "
            f"workers, {1000 * last.median_s:.0f} ms at {last.workers:,}; "
            f"{last.num_variables} variables and {last.num_rows} rows"
            + ("." if case == "one cascade" else f", a gap of {100 * last.gap:.3f} %.")
        )
    size, spare = parked[-1]
    return (
        "The size of the program does not depend on the number of workers, because workers of a "
        "kind are counted, not named."
        + bullets(lines)
        + f" With {LOW_QPS_PER_WORKER:g} queries per second and worker, {spare:,} of {size:,} "
        "workers could be parked without loss; by default they stay and serve bursts."
    )


def _table(rows: Sequence[Row]) -> Table:
    return Table(
        "Plans",
        (
            "problem",
            "workers",
            "variables",
            "rows",
            "median, ms",
            "CPU, ms",
            "longest, ms",
            "FID, planned",
            "gap, %",
            "regret, FID",
            "headroom, %",
        ),
        [
            (
                row.case,
                f"{row.workers:,}",
                str(row.num_variables),
                str(row.num_rows),
                f"{1000 * row.median_s:.0f}",
                f"{1000 * row.cpu_s:.0f}",
                f"{1000 * row.worst_s:.0f}",
                f"{-row.quality:.3f}",
                f"{100 * row.gap:.3f}",
                f"{row.regret:.3f}",
                f"{100 * row.headroom:.1f}",
            )
            for row in rows
        ],
        "Median and longest: of planning, from what is observed to who runs what, by the clock; "
        "CPU: of all cores, the mean, which depends less on what else runs. Gap: to the same "
        "program with workers that may be divided, as a share of its FID. Regret: to a bound that "
        "also gives every pool the small headroom of the whole fleet; it cannot be reached. One "
        "cascade is planned by the paper's exact program; variables, rows, regret and headroom in "
        "its lines are those of the joint program for the same question.",
    )


def _headroom_table() -> Table:
    loads = (16.0, 64.0, 256.0, 1000.0, 10_000.0)
    return Table(
        "Headroom by the size of a pool",
        ("load, workers kept busy", "workers planned", "headroom, %", "of the fixed rule, %"),
        [
            (
                f"{load:,.0f}",
                f"{workers_needed(load, PARAMETERS.utilisation_max, BETA):,.1f}",
                f"{100 * (workers_needed(load, PARAMETERS.utilisation_max, BETA) / load - 1):.1f}",
                f"{100 * (1 / PARAMETERS.utilisation_max - 1):.1f}",
            )
            for load in loads
        ],
        f"The smaller of {BETA:g} square roots of the load and what a utilisation of "
        f"{100 * PARAMETERS.utilisation_max:.0f} % leaves.",
    )


def _parking_table(parked: Sequence[tuple[int, int]]) -> Table:
    return Table(
        f"Workers without which quality is as good, {LOW_QPS_PER_WORKER:g} qps per worker",
        ("workers", "could be parked", "share, %"),
        [(f"{n:,}", f"{spare:,}", f"{100 * spare / n:.0f}") for n, spare in parked],
        "One class of six cascades; quality within a thousandth of its range.",
    )


def _draw(canvas: Canvas, rows: Sequence[Row]) -> None:
    left, right = canvas.subplots(1, 2)
    for case, marker, color in zip(CASES, "osD", ("#0072B2", "#D55E00", "#009E73"), strict=True):
        mine = [row for row in rows if row.case == case]
        sizes = [row.workers for row in mine]
        left.plot(sizes, [row.median_s for row in mine], marker=marker, color=color, label=case)
        right.plot(
            sizes, [max(row.regret, 1e-4) for row in mine], marker=marker, color=color, label=case
        )
    for axes, label in itertools.zip_longest((left, right), ("planning time, s", "regret, FID")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("workers")
        axes.set_ylabel(label)
    left.legend()
