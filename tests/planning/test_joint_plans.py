"""The joint program against enumeration, against the exact program, and between backends."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.core import Plan, RequestClass
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.fleet_model import SCALE, FleetModel, build_fleet_model
from diffserve.planning.fleet_problem import Candidate, FleetProblem, Place, RoutingPoint
from diffserve.planning.fleet_solver import Solve, solve_fleet, value_bound
from diffserve.planning.observation import FleetObservation, VariantFacts
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.planner import make_plan
from diffserve.planning.problem import Objective
from diffserve.planning.solver import open_cbc, open_gurobi, plan_cascade
from diffserve.profiles.latency import LatencyProfile
from tests.paper.cascades import paper_problem
from tests.unit.planning.fleets import (
    CURVES,
    PROFILES,
    candidate,
    fleet,
    group,
    observed,
    seen,
    solve_with_cbc,
    workers,
)

WORK_S = {"fast": 0.25 / 4, "medium": 0.7 / 2, "slow": 1.8 / 2}
"""Worker-seconds per query in the most productive batches; they fit an SLO of 5 s."""
STEP = 0.05


@pytest.fixture(scope="module")
def solve() -> Solve:
    return solve_with_cbc()


def best_of_grid(demand_qps: float, counts: dict[str, int]) -> float:
    """The best quality of mixing all three cascades, by trying shares and fractions in steps."""
    grid = [i * STEP for i in range(round(1 / STEP) + 1)]
    best = -1.0
    for a, b in itertools.product(grid, grid):
        if a + b > 1.0 + 1e-9:
            continue
        shares = dict(zip(CURVES, (a, b, max(0.0, 1.0 - a - b)), strict=True))
        for fractions in itertools.product((0.0, 0.5, 1.0), repeat=3):
            work = dict.fromkeys(counts, 0.0)
            value = 0.0
            for (light, heavy), f in zip(CURVES, fractions, strict=True):
                share = shares[light, heavy]
                work[light] += demand_qps * share * WORK_S[light]
                work[heavy] += demand_qps * share * f * WORK_S[heavy]
                value += share * CURVES[light, heavy][round(2 * f)]
            if value > best and all(work[v] <= counts[v] + 1e-9 for v in counts):
                best = value
    return best


@pytest.mark.parametrize("demand_qps", [2.0, 4.0, 9.0])
def test_no_division_of_the_workers_is_better(solve, demand_qps):
    candidates = [candidate(light, heavy) for light, heavy in CURVES]
    problem = fleet(group("main", *candidates, demand_qps=demand_qps), devices={"gpu": 4})
    solution = solve_fleet(problem, solve)
    assert solution is not None
    value = solution.model.value(solution.final.values)
    grid = [
        best_of_grid(demand_qps, {"fast": x, "medium": y, "slow": 4 - x - y})
        for x in range(5)
        for y in range(5 - x)
    ]
    assert max(grid) - 1e-4 <= value <= max(grid) + 6.5 * STEP


@pytest.mark.parametrize("demand_qps", [2.0, 5.0, 11.0, 30.0])
def test_every_division_solved_as_a_linear_program(solve, demand_qps):
    problem = fleet(
        group("a", candidate("fast", "slow"), candidate("medium", "slow"), demand_qps=demand_qps),
        group("b", candidate("fast", "medium"), demand_qps=3.0, slo_s=1.5, weight=2.0),
        devices={"gpu": 3, "quick": 1},
        residency={("fast", "gpu"): 2, ("slow", "gpu"): 1},
    )
    model = build_fleet_model(problem)
    decided = solve(model.program)
    objectives = []
    for counts in divisions(model):
        fixed = model.with_workers(counts)
        values = solve(fixed.program).values
        objectives.append(objective(fixed, values))
    assert objective(model, decided.values) == pytest.approx(max(objectives), abs=1e-4 * SCALE)
    assert objective(model, decided.values) >= max(objectives) - 1e-3


def divisions(model: FleetModel) -> list[dict[Place, int]]:
    limits = model.problem.devices
    found = []
    for counts in itertools.product(*(range(limits[p.device] + 1) for p in model.places)):
        placed = dict(zip(model.places, counts, strict=True))
        sums = Counter[str]()
        for place, count in placed.items():
            sums[place.device] += count
        if all(sums[d] == limits[d] for d in limits):
            found.append(placed)
    return found


def objective(model: FleetModel, values) -> float:
    """Without the cost of workers, which the enumeration uses all."""
    return sum(c * values[name] for name, c in model.program.objective.items() if name[0] != "n")


def paper_fleet(demand_qps: float, num_workers: int) -> FleetProblem:
    problem = paper_problem(objective=Objective.QUALITY)
    curve = problem.quality
    points = tuple(
        RoutingPoint(0.0, f, q) for f, q in zip(curve.fractions, curve.qualities, strict=True)
    )
    paper = Candidate(cascade_id="paper", light="light", heavy="heavy", points=points)
    return FleetProblem(
        classes=(group("paper", paper, demand_qps=demand_qps, slo_s=problem.slo_s),),
        devices={"gpu": num_workers},
        latency={("light", "gpu"): problem.light, ("heavy", "gpu"): problem.heavy},
    )


@pytest.mark.parametrize("num_workers", [2, 5, 16])
@pytest.mark.parametrize("load_qps", [0.2, 0.8, 1.4, 2.0, 2.6])
def test_one_cascade_agrees_with_the_exact_program(solve, num_workers, load_qps):
    demand_qps = num_workers * load_qps
    exact = plan_cascade(
        paper_problem(num_workers=num_workers, demand_qps=demand_qps, objective=Objective.QUALITY),
        EnumerationSolver(),
    )
    joint = solve_fleet(paper_fleet(demand_qps, num_workers), solve)
    assert joint is not None
    value = joint.model.value(joint.final.values)
    # The exact program has a grid of shares 0.02 apart; the curve rises by at most 2.5 per 0.1.
    assert exact.allocation.value - 1e-6 <= value <= exact.allocation.value + 0.5


@pytest.mark.parametrize("num_workers", [3, 5, 7, 10, 16])
@pytest.mark.parametrize("demand_qps", [1.0, 2.5, 4.0, 6.0, 9.0, 14.0, 18.0])
def test_backends_make_the_same_plan(demand_qps, num_workers):
    """The round numbers of these curves make many plans worth the same."""
    backends = [b for b in (open_gurobi(), open_cbc()) if b is not None]
    if len(backends) < 2:
        pytest.skip("needs Gurobi and CBC")
    observation = observed(
        seen("fast", "slow", demand_qps),
        seen("medium", "slow", 0.0),
        seen("fast", "medium", 2.0),
        classes=(RequestClass(class_id="x", cascade_ids=("fast-slow", "medium-slow")),),
        num_workers=num_workers,
    )
    plans = [
        make_plan(observation, None, PlannerParameters(), backend, plan_id=1)
        for backend in backends
    ]
    assert plans[0].placement == plans[1].placement
    assert plans[0].batch_size_max == plans[1].batch_size_max
    for name, share in plans[0].cascades.items():
        other = plans[1].cascades[name]
        assert share.class_share == pytest.approx(other.class_share, abs=1e-4)
        assert share.deferral_fraction == pytest.approx(other.deferral_fraction, abs=1e-4)
        assert share.expected_quality == pytest.approx(other.expected_quality, abs=1e-4)


def test_size_stays_within_the_free_licence():
    """Six classes of six cascades on three device types: realistic, and large."""
    backend = open_gurobi() or pytest.skip("no usable Gurobi")
    latency = {
        (f"v{i}", device): LatencyProfile({b: 0.1 * 3**i * s / speed for b, s in batches.items()})
        for i, batches in enumerate([{1: 1.0, 2: 1.5, 4: 2.5, 8: 4.5}] * 4)
        for device, speed in (("a", 1.0), ("b", 1.4), ("c", 2.6))
    }
    points = tuple(RoutingPoint(0.0, f / 10, f**0.5) for f in range(11))
    classes = [
        group(
            f"k{k}",
            *(
                Candidate(cascade_id=f"{i}-{j}-{k}", light=f"v{i}", heavy=f"v{j}", points=points)
                for i, j in itertools.combinations(range(4), 2)
            ),
            demand_qps=100.0,
            slo_s=slo_s,
        )
        for k, slo_s in enumerate((2.0, 4.0, 6.0, 8.0, 12.0, 20.0))
    ]
    problem = fleet(*classes, devices={"a": 500, "b": 300, "c": 200}, latency=latency)
    program = build_fleet_model(problem).program
    assert len(program.variables) <= 2000 and len(program.constraints) <= 2000
    assert solve_fleet(problem, backend.solve) is not None


names = st.sampled_from(sorted(CURVES))


@st.composite
def observations(draw: st.DrawFn) -> FleetObservation:
    pairs = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    cascades = [
        seen(light, heavy, draw(st.floats(0.0, 30.0)), slo_s=draw(st.sampled_from([0.3, 1.5, 5.0])))
        for light, heavy in pairs
    ]
    slos = {c.cascade.slo_s for c in cascades}
    is_class = len(slos) == 1 and len(cascades) > 1 and draw(st.booleans())
    kinds = ("gpu", "quick") if draw(st.booleans()) else ("gpu",)
    resident = draw(st.sampled_from([(), ("fast", "slow"), ("fast", "medium", "slow")]))
    fleet_of = [w for k in kinds for w in workers(draw(st.integers(0, 4)), k, resident=resident)]
    by_device = {
        v: {"quick": LatencyProfile({b: s / 2 for b, s in p.seconds_by_batch.items()}), "gpu": p}
        for v, p in PROFILES.items()
    }
    ids = tuple(c.cascade.cascade_id for c in cascades)
    return observed(
        *cascades,
        workers=tuple(fleet_of),
        classes=(RequestClass(class_id="main", cascade_ids=ids),) if is_class else (),
        latency_by_device=by_device if len(kinds) > 1 else {},
        variants={v: VariantFacts(base=v, memory_bytes=10) for v in PROFILES},
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(observation=observations(), parks=st.booleans())
def test_plans_are_feasible(observation, parks):
    backend = open_cbc() or pytest.skip("no CBC executable")
    parameters = PlannerParameters(utilisation_max=0.9, parks_spare=parks)
    plan = make_plan(observation, None, parameters, backend, plan_id=1)
    again = make_plan(observation, plan, parameters, backend, plan_id=2)
    for made in (plan, again):
        assert_feasible(observation, made)


def assert_feasible(observation: FleetObservation, plan: Plan) -> None:
    alive = {w.worker_id: w for w in observation.workers}
    assert set(plan.placement) <= set(alive)
    for worker_id, others in plan.coresident.items():
        # Memory: only what every device of the type holds already may be shared.
        assert set(plan.variants_of(worker_id)) <= set(alive[worker_id].resident)
        assert others
    for group_ in observation.groups:
        shares = [plan.cascades[c].class_share for c in group_.cascade_ids]
        assert sum(shares) == pytest.approx(1.0)
    assert all(size >= 1 for size in plan.batch_size_max.values())
    if not alive or "exceed" in plan.reason or plan.status != "optimal":
        return
    needed = Counter[str]()
    for cascade_id, share in plan.cascades.items():
        cascade = observation.cascades[cascade_id].cascade
        light = share.demand_qps * (1.0 - share.bypass_fraction)
        needed[cascade.light] += light
        needed[cascade.heavy] += share.demand_qps - light + light * share.deferral_fraction
    for variant, rate_qps in needed.items():
        hosts = [w for w in plan.placement if variant in plan.variants_of(w)]
        if rate_qps > 1e-6:
            assert hosts, (variant, plan)
        most = sum(throughput_qps(variant, alive[w].kind) for w in hosts)
        assert rate_qps <= 0.9 * most + 1e-4
        if share_is_deferring(plan, observation, variant):
            fastest = min(fastest_s(variant, alive[w].kind) for w in hosts)
            assert fastest <= slo_s(observation, variant)


def throughput_qps(variant: str, kind: str) -> float:
    profile = PROFILES[variant]
    speed = 2.0 if kind == "quick" else 1.0
    return speed * max(profile.throughput_qps(b) for b in profile.batch_sizes)


def fastest_s(variant: str, kind: str) -> float:
    return PROFILES[variant].execution_s(1) / (2.0 if kind == "quick" else 1.0)


def share_is_deferring(plan: Plan, observation: FleetObservation, variant: str) -> bool:
    return any(
        plan.cascades[c].deferral_fraction > 0.0 and seen_.cascade.heavy == variant
        for c, seen_ in observation.cascades.items()
    )


def slo_s(observation: FleetObservation, variant: str) -> float:
    return max(c.cascade.slo_s for c in observation.cascades.values() if c.cascade.heavy == variant)


def test_quality_rises_with_the_fleet(solve):
    values, bounds = [], []
    for num_workers in (2, 4, 8, 16, 32):
        problem = fleet(
            group("a", candidate("fast", "slow"), candidate("medium", "slow"), demand_qps=9.0),
            group("b", candidate("fast", "medium"), demand_qps=5.0),
            devices={"gpu": num_workers},
            utilisation_max=0.85,
        )
        solution, bound = solve_fleet(problem, solve), value_bound(problem, solve)
        assert solution is not None and bound is not None
        values.append(solution.model.value(solution.final.values))
        bounds.append(bound)
        assert values[-1] <= bound + 1e-6
    assert values == sorted(values)
    assert values[-1] == pytest.approx(bounds[-1], abs=0.05)
