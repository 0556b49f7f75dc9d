"""The joint problem as a mixed-integer linear program, and its answer read back.

====================  ===================================================================
symbol                here
====================  ===================================================================
D_k, w_k              demand and weight of class k; W_k = w_k D_k / sum w D
y(r,i)                share of its class that takes route r at routing point i
x(r,a,b)              share of its class whose light (a = l) or heavy (a = h) work on route r
                      is done by pool b; left out where there is one pool only
u(k)                  share of class k that is shed
n(p)                  workers of place p, integer
s(b,g)                workers of device type g that load base b
R(p)                  work of place p, worker-seconds per second: sum of D_k work x
====================  ===================================================================

    maximise  sum_k W_k (sum q y - nu_k u_k) - kappa sum n - tau sum_{p shared} n - sigma sum s
    class     sum_r,i y(r,i) + u(k) = 1                                    each class
    light     sum_b x(r,l,b) = sum_i (1 - bypass) y(r,i)                   each route
    heavy     sum_b x(r,h,b) = sum_i (bypass + (1 - bypass) deferral) y(r,i)
    staff     slope R(p) + intercept <= n(p)                               each place, see staffing
    devices   sum_p n(p) <= N_g                                            each device type
    load      s(b,g) >= sum_{p holds b} n(p) - workers that hold b now     each base and type
    loading   sum_{p holds b} (slope R + intercept) <= sum n(p) - (T_load / T_plan) s

One class with one cascade and one device type is DiffServe's problem (paper: §3.3) with shares
that need not lie on a grid.

Ties are broken inside the model: kappa and sigma are worth a thousandth of the range of values for
the whole fleet, and each y costs a trifle of its own, so the plan uses no worker and no load
without need, and solvers agree. tau is what time-sharing must gain: a query for one variant waits
for the other's batches, and waits cost nothing else as long as deadlines are met.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from diffserve.planning.columns import Pool, Route, places, routes
from diffserve.planning.fleet_problem import FleetProblem, Place, worst_value
from diffserve.planning.program import (
    LinearConstraint,
    MixedIntegerProgram,
    ProgramVariable,
    VariableKind,
)
from diffserve.planning.staffing import Grade, grade_for_workers

SCALE = 1000.0
"""Objective per range of values: keeps the trifles far above solver tolerances."""
SHED_PENALTY = 100.0
"""Ranges of value that a shed query costs: quality goes first, queries last."""
IDLE_PENALTY = 0.1
"""Ranges of value that it costs to leave an idle class without workers: its first query waits for
the next plan, while in a small fleet the worker may be all that another's quality hangs on."""
FRUGALITY = 1e-3
"""Ranges of value that all workers together cost, and that loading all of them costs."""
SHARING = 0.02
"""Ranges of value that time-sharing all workers must gain over workers of one variant each."""
TRIFLE = 1e-6
"""Ranges of value that may decide between columns that are worth the same."""
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class FleetModel:
    """A program together with what its variables stand for.

    Attributes:
        problem: What is modelled.
        places: n(p), in order.
        routes: Of the columns, in order.
        grades: Of the places, in order.
        program: For a solver.
    """

    problem: FleetProblem
    places: tuple[Place, ...]
    routes: tuple[Route, ...]
    grades: tuple[Grade, ...]
    program: MixedIntegerProgram

    def value(self, solution: Mapping[str, float]) -> float:
        """Return the mean value of a solution, by weight and demand, shed queries at the worst."""
        shares = class_shares(self.problem)
        total = 0.0
        for index, group in enumerate(self.problem.classes):
            total += shares[index] * worst_value(group) * solution.get(_u(index), 0.0)
        for r, route in enumerate(self.routes):
            for i, point in enumerate(route.points):
                share = solution.get(_y(r, i), 0.0)
                total += shares[route.class_index] * share * point.value
        return total

    def shed(self, solution: Mapping[str, float]) -> float:
        """Return the share of all queries that a solution sheds, by demand and weight."""
        shares = class_shares(self.problem)
        return sum(s * solution.get(_u(k), 0.0) for k, s in enumerate(shares))

    def loads(self, solution: Mapping[str, float]) -> dict[Pool, float]:
        """Return the work of every pool in use, worker-seconds per second."""
        loads: dict[Pool, float] = {}
        for r, route in enumerate(self.routes):
            demand = self.problem.classes[route.class_index].demand_qps
            for pool, terms in _visits(r, route):
                visits = sum(c * solution.get(name, 0.0) for name, c in terms.items())
                if visits > 1e-9:
                    loads[pool] = loads.get(pool, 0.0) + demand * pool.work_s * visits
        return loads

    def place_loads(self, solution: Mapping[str, float]) -> dict[Place, float]:
        """Return the work of every place."""
        loads = dict.fromkeys(self.places, 0.0)
        for pool, load in self.loads(solution).items():
            loads[pool.place] += load
        return loads

    def workers(self, solution: Mapping[str, float]) -> dict[Place, float]:
        """Return n(p)."""
        return {p: solution.get(_n(i), 0.0) for i, p in enumerate(self.places)}

    def shares(self, solution: Mapping[str, float]) -> list[tuple[Route, int, float]]:
        """Return the columns in use: route, index of its point, share of the class."""
        return [
            (route, i, solution[_y(r, i)])
            for r, route in enumerate(self.routes)
            for i in range(len(route.points))
            if solution.get(_y(r, i), 0.0) > 1e-7
        ]

    def relaxed(self) -> MixedIntegerProgram:
        """Return the program with workers that may be divided."""
        return replace(
            self.program,
            variables=tuple(
                replace(v, kind=VariableKind.CONTINUOUS) for v in self.program.variables
            ),
        )

    def with_workers(self, workers: Mapping[Place, int]) -> FleetModel:
        """Return the linear model that is left when the workers of all places are given."""
        problem = self.problem
        counts = [workers.get(place, 0) for place in self.places]
        grades = [
            grade_for_workers(n, problem.utilisation_max, problem.staffing_beta) for n in counts
        ]
        model = build_fleet_model(problem, grades, self.routes)
        fixed = {_n(i): float(n) for i, n in enumerate(counts)}
        variables = tuple(
            ProgramVariable(v.name, VariableKind.CONTINUOUS, fixed[v.name], fixed[v.name])
            if v.name in fixed
            else v
            for v in model.program.variables
        )
        return replace(model, program=replace(model.program, variables=variables))

    def frugal(self, quality_min: float, gap: float = 0.0) -> MixedIntegerProgram:
        """Return the program of fewest workers whose objective reaches ``quality_min``."""
        goal = {name: c for name, c in self.program.objective.items() if name[0] in ("y", "u")}
        floor = LinearConstraint("quality", goal, lower=quality_min)
        trifles = {name: c * 1e-6 for name, c in self.program.objective.items()}
        count = {_n(i): -1.0 for i in range(len(self.places))}
        return replace(
            self.program,
            constraints=(*self.program.constraints, floor),
            objective={k: count.get(k, 0.0) + trifles.get(k, 0.0) for k in count | trifles},
            gap=gap,
        )

    def worth(self, solution: Mapping[str, float]) -> float:
        """Return the objective of a solution without what workers and loads cost as such."""
        cost = _sharing_cost(self.problem)
        shared = sum(n for place, n in self.workers(solution).items() if place.is_shared)
        return self.quality(solution) - cost * shared

    def quality(self, solution: Mapping[str, float]) -> float:
        """Return the part of the objective that is quality and shedding."""
        return sum(
            c * solution.get(name, 0.0)
            for name, c in self.program.objective.items()
            if name[0] in ("y", "u")
        )


def build_fleet_model(
    problem: FleetProblem,
    grades: Sequence[Grade] | None = None,
    columns: Sequence[Route] | None = None,
) -> FleetModel:
    """Build the program. Pure.

    Args:
        problem: What to plan; at least one class and one worker.
        grades: One per place; default: those of small pools.
        columns: From ``columns.routes``, where they are at hand.
    """
    where = places(problem)
    found = tuple(columns) if columns is not None else routes(problem)
    lines = tuple(grades or [Grade(1.0 / problem.utilisation_max, 0.0)] * len(where))
    loading = _loading(problem, where)
    program = MixedIntegerProgram(
        name="fleet",
        variables=_variables(problem, where, found, loading),
        constraints=(
            *_class_rows(problem, found),
            *_flow_rows(found),
            *_capacity_rows(problem, where, found, lines, loading),
        ),
        objective=_objective(problem, where, found, loading),
    )
    return FleetModel(problem, where, found, lines, program)


def _sharing_cost(problem: FleetProblem) -> float:
    """Return what one time-shared worker costs in the objective."""
    return SCALE * SHARING / problem.num_workers


def class_shares(problem: FleetProblem) -> list[float]:
    """Return W_k, summing to 1."""
    return _shares([group.weight * group.demand_qps for group in problem.classes])


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [w / total if total > 0.0 else 1.0 / len(weights) for w in weights]


def _y(route: int, point: int) -> str:
    return f"y_{route}_{point}"


def _x(route: int, part: str, pool: int) -> str:
    return f"x_{route}_{part}_{pool}"


def _u(group: int) -> str:
    return f"u_{group}"


def _n(place: int) -> str:
    return f"n_{place}"


def _s(load: int) -> str:
    return f"s_{load}"


def _visits(r: int, route: Route) -> list[tuple[Pool, dict[str, float]]]:
    """Return each pool of a route with its visits per query of the class, as terms."""
    found: list[tuple[Pool, dict[str, float]]] = []
    for part, pools in (("l", route.lights), ("h", route.heavies)):
        if len(pools) == 1:
            found.append((pools[0], _stage_terms(r, route, part)))
        else:
            found += [(pool, {_x(r, part, b): 1.0}) for b, pool in enumerate(pools)]
    return found


def _stage_terms(r: int, route: Route, part: str) -> dict[str, float]:
    visits = [p.light_visits if part == "l" else p.heavy_visits for p in route.points]
    return {_y(r, i): v for i, v in enumerate(visits) if v > 0.0}


def _loading(problem: FleetProblem, where: Sequence[Place]) -> list[tuple[str, str]]:
    """Return the (base, device type) whose loads are counted: none before anything is loaded."""
    if not problem.residency:
        return []
    return sorted({(base, place.device) for place in where for base in place.bases})


def _variables(
    problem: FleetProblem,
    where: Sequence[Place],
    found: Sequence[Route],
    loading: Sequence[tuple[str, str]],
) -> tuple[ProgramVariable, ...]:
    def share(name: str) -> ProgramVariable:
        return ProgramVariable(name, VariableKind.CONTINUOUS, 0.0, 1.0)

    flows = []
    for r, route in enumerate(found):
        for part, pools in (("l", route.lights), ("h", route.heavies)):
            if len(pools) > 1:
                flows += [share(_x(r, part, b)) for b in range(len(pools))]
    return (
        *(
            ProgramVariable(_n(i), VariableKind.INTEGER, 0.0, float(problem.devices[p.device]))
            for i, p in enumerate(where)
        ),
        *(share(_y(r, i)) for r, route in enumerate(found) for i in range(len(route.points))),
        *flows,
        *(share(_u(k)) for k in range(len(problem.classes))),
        *(
            ProgramVariable(_s(i), VariableKind.CONTINUOUS, 0.0, float(problem.devices[device]))
            for i, (_, device) in enumerate(loading)
        ),
    )


def _class_rows(problem: FleetProblem, found: Sequence[Route]) -> list[LinearConstraint]:
    terms: list[dict[str, float]] = [{_u(k): 1.0} for k in range(len(problem.classes))]
    for r, route in enumerate(found):
        terms[route.class_index] |= {_y(r, i): 1.0 for i in range(len(route.points))}
    return [LinearConstraint(f"class_{k}", t, 1.0, 1.0) for k, t in enumerate(terms)]


def _flow_rows(found: Sequence[Route]) -> list[LinearConstraint]:
    rows = []
    for r, route in enumerate(found):
        for part, pools in (("l", route.lights), ("h", route.heavies)):
            if len(pools) > 1:
                terms = {_x(r, part, b): 1.0 for b in range(len(pools))}
                terms |= {name: -v for name, v in _stage_terms(r, route, part).items()}
                rows.append(LinearConstraint(f"flow_{r}_{part}", terms, 0.0, 0.0))
    return rows


def _capacity_rows(
    problem: FleetProblem,
    where: Sequence[Place],
    found: Sequence[Route],
    grades: Sequence[Grade],
    loading: Sequence[tuple[str, str]],
) -> list[LinearConstraint]:
    index = {place: i for i, place in enumerate(where)}
    work: list[dict[str, float]] = [{} for _ in where]
    for r, route in enumerate(found):
        demand = problem.classes[route.class_index].demand_qps
        for pool, visits in _visits(r, route):
            p = index[pool.place]
            for name, share in visits.items():
                load = grades[p].slope * demand * pool.work_s * share
                work[p][name] = work[p].get(name, 0.0) + load
    rows = [
        LinearConstraint(f"staff_{p}", work[p] | {_n(p): -1.0}, upper=-grades[p].intercept)
        for p in range(len(where))
    ]
    for g, device in enumerate(sorted(problem.devices)):
        terms = {_n(i): 1.0 for i, p in enumerate(where) if p.device == device}
        if terms:
            rows.append(
                LinearConstraint(f"devices_{g}", terms, upper=float(problem.devices[device]))
            )
    for i, (base, device) in enumerate(loading):
        holders = [p for p, w in enumerate(where) if w.device == device and base in w.bases]
        held = float(problem.residency.get((base, device), 0))
        terms = {_n(p): 1.0 for p in holders} | {_s(i): -1.0}
        rows.append(LinearConstraint(f"load_{i}", terms, upper=held))
        away = min(1.0, problem.load_s(base) / problem.horizon_s)
        if away > 0.0:
            lost: dict[str, float] = {_n(p): -1.0 for p in holders} | {_s(i): away}
            for p in holders:
                for name, load in work[p].items():
                    lost[name] = lost.get(name, 0.0) + load
            limit = -sum(grades[p].intercept for p in holders)
            rows.append(LinearConstraint(f"loading_{i}", lost, upper=limit))
    return rows


def _objective(
    problem: FleetProblem,
    where: Sequence[Place],
    found: Sequence[Route],
    loading: Sequence[tuple[str, str]],
) -> dict[str, float]:
    """Values enter as weight * (q - the class's worst) over the widest range of them."""
    span = problem.value_range() or 1.0
    shares = _shares([group.demand_qps for group in problem.classes])
    worst = [worst_value(group) for group in problem.classes]
    terms: dict[str, float] = {}
    for r, route in enumerate(found):
        group, least = problem.classes[route.class_index], worst[route.class_index]
        for i, point in enumerate(route.points):
            gain = group.weight * (point.value - least) / span
            # Of the square: multiples themselves are as far apart at one place as at another, so
            # an exchange between two pairs of neighbours would cost nothing and not be decided.
            trifle = TRIFLE * math.fmod(_GOLDEN * len(terms) ** 2, 1.0)
            terms[_y(r, i)] = SCALE * (shares[route.class_index] * gain - trifle)
    for k, (group, share) in enumerate(zip(problem.classes, shares, strict=True)):
        terms[_u(k)] = -SCALE * (IDLE_PENALTY if group.is_idle else SHED_PENALTY * share)
    cost = SCALE * FRUGALITY / problem.num_workers
    shared = cost + _sharing_cost(problem)
    terms |= {_n(i): -(shared if place.is_shared else cost) for i, place in enumerate(where)}
    return terms | {_s(i): -cost for i in range(len(loading))}
