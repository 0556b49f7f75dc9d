"""The paper's allocation problem (§3.3) as a mixed-integer *linear* program.

====================  ===================================================================
symbol (paper)        here
====================  ===================================================================
D                     ``demand_qps``
S                     ``num_workers``, N below
SLO                   ``slo_s``
m in {light, heavy}   the stages
b                     a batch size; b1, b2 the ones chosen
e_m(b)                ``LatencyProfile.execution_s(b)``
T_m(b) = b / e_m(b)   ``LatencyProfile.throughput_qps(b)``
q1, q2                ``light_wait_s``, ``heavy_wait_s``
t_i, f(t_i)           ``DeferralPoint.threshold``, ``.fraction``
x1, x2                sum_b n_light(b), sum_b n_heavy(b)
rho (ours)            ``utilisation_max``
====================  ===================================================================

Variables: ``n_light(b)``, ``n_heavy(b)`` integer, workers of the pool (stage, batch size);
``z_light(b)``, ``z_heavy(b)`` binary, the batch size is chosen; ``y(i)`` binary, the deferral point
is chosen; ``w(b1,b2)`` in [0, 1], the pair is chosen. The paper's product x * b(one-hot) becomes
linear because a pool fixes its batch size.

Three things are exact here that a floating-point program leaves to tolerances:

* **Whole workers.** Beside the two throughput rows stand rows that say the same in whole workers
  (``ceil`` taken by us), so a solver cannot profit from its feasibility tolerance.
* **Deadlines.** Only pairs that meet the SLO have a ``w``; the latency row restates it.
* **Ties.** Deferral points and pairs enter the objective by rank: ``K * rank(point) - rank(pair)``
  with K pairs. Every plan that differs in point or pair differs by at least 1 in an objective of at
  most 256 * 272, so integrality tolerances (1e-6 and below) cannot swap two of them, and every
  solver returns the same plan in one solve. Worker counts follow from it (``spread_surplus``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffserve.planning.allocation import (
    BatchPair,
    DeferralPoint,
    PlanChoice,
    batch_pairs,
    deferral_grid,
    heavy_workers_needed,
    light_workers_needed,
    needs_heavy_stage,
)
from diffserve.planning.problem import CascadeProblem
from diffserve.planning.program import (
    LinearConstraint,
    MixedIntegerProgram,
    ProgramVariable,
    VariableKind,
)


@dataclass(frozen=True, slots=True)
class CascadeModel:
    """A program together with what its variables stand for.

    Attributes:
        problem: What is modelled.
        points: Efficient deferral points, ascending in fraction *and* value: y(i).
        pairs: Pairs that meet the SLO, in the order of preference: w(b1,b2).
        program: For a solver.
    """

    problem: CascadeProblem
    points: tuple[DeferralPoint, ...]
    pairs: tuple[BatchPair, ...]
    program: MixedIntegerProgram

    def choice(self, values: Mapping[str, float]) -> PlanChoice | None:
        """Read a solver's values; None when they are not a feasible plan after rounding."""
        points = [i for i in range(len(self.points)) if values.get(_y(i), 0.0) > 0.5]
        pairs = [pair for pair in self.pairs if values.get(_w(pair), 0.0) > 0.5]
        if len(points) != 1 or len(pairs) != 1:
            return None
        choice = PlanChoice(self.points[points[0]], pairs[0])
        return choice if _is_feasible(self.problem, choice) else None


def build_model(problem: CascadeProblem) -> CascadeModel | None:
    """Build the program; None when plainly infeasible: no worker, or no pair meets the SLO.

    Pure. Paper: §3.3.
    """
    points = _efficient(deferral_grid(problem))
    pairs = batch_pairs(problem)
    if not pairs or problem.num_workers == 0:
        return None
    lights = sorted({pair.light for pair in pairs})
    heavies = sorted({pair.heavy for pair in pairs if pair.heavy})
    program = MixedIntegerProgram(
        name="diffserve",
        variables=_variables(problem, points, pairs, lights, heavies),
        constraints=(
            *_choice_rows(problem, points, pairs, lights, heavies),
            *_light_rows(problem, lights),
            *_heavy_rows(problem, points, heavies),
            _fleet_row(problem, lights, heavies),
            _latency_row(problem, lights, heavies),
        ),
        objective=_objective(points, pairs),
    )
    return CascadeModel(problem, points, pairs, program)


def _efficient(grid: Sequence[DeferralPoint]) -> tuple[DeferralPoint, ...]:
    """Drop points that defer more than another without being better."""
    kept: list[DeferralPoint] = []
    for point in grid:
        if not kept or point.value > kept[-1].value:
            kept.append(point)
    return tuple(kept)


def _is_feasible(problem: CascadeProblem, choice: PlanChoice) -> bool:
    fraction = choice.point.fraction
    light = light_workers_needed(problem, choice.pair.light)
    heavy = heavy_workers_needed(problem, choice.pair.heavy, fraction)
    return light + heavy <= problem.num_workers and needs_heavy_stage(problem, fraction) == bool(
        choice.pair.heavy
    )


def _y(index: int) -> str:
    return f"y_{index}"


def _n(stage: str, batch_size: int) -> str:
    return f"n_{stage}_{batch_size}"


def _z(stage: str, batch_size: int) -> str:
    return f"z_{stage}_{batch_size}"


def _w(pair: BatchPair) -> str:
    return f"w_{pair.light}_{pair.heavy}"


def _variables(
    problem: CascadeProblem,
    points: Sequence[DeferralPoint],
    pairs: Sequence[BatchPair],
    lights: Sequence[int],
    heavies: Sequence[int],
) -> tuple[ProgramVariable, ...]:
    pools = [("light", b) for b in lights] + [("heavy", b) for b in heavies]
    n_max = float(problem.num_workers)
    return (
        *(ProgramVariable(_n(*pool), VariableKind.INTEGER, 0.0, n_max) for pool in pools),
        *(ProgramVariable(_z(*pool), VariableKind.BINARY, 0.0, 1.0) for pool in pools),
        *(ProgramVariable(_y(i), VariableKind.BINARY, 0.0, 1.0) for i in range(len(points))),
        *(ProgramVariable(_w(pair), VariableKind.CONTINUOUS, 0.0, 1.0) for pair in pairs),
    )


def _choice_rows(
    problem: CascadeProblem,
    points: Sequence[DeferralPoint],
    pairs: Sequence[BatchPair],
    lights: Sequence[int],
    heavies: Sequence[int],
) -> list[LinearConstraint]:
    """One deferral point; one batch size per stage; the pair they make.

    A plan has a heavy batch size exactly when its point needs a heavy stage. Because each ``w``
    belongs to one light and at most one heavy batch, the pair is determined by the ``z``.
    """
    needs_heavy = {
        _y(i): 1.0 for i, p in enumerate(points) if needs_heavy_stage(problem, p.fraction)
    }
    rows = [
        LinearConstraint("one_deferral_point", {_y(i): 1.0 for i in range(len(points))}, 1.0, 1.0),
        LinearConstraint("one_light_batch", {_z("light", b): 1.0 for b in lights}, 1.0, 1.0),
    ]
    heavy_terms = {_z("heavy", b): -1.0 for b in heavies} | needs_heavy
    if heavy_terms:
        rows.append(LinearConstraint("heavy_batch_if_needed", heavy_terms, 0.0, 0.0))
    for stage, sizes in (("light", lights), ("heavy", heavies)):
        for b in sizes:
            members = {_w(p): 1.0 for p in pairs if b == (p.light if stage == "light" else p.heavy)}
            terms = members | {_z(stage, b): -1.0}
            rows.append(LinearConstraint(f"pair_of_{stage}_{b}", terms, 0.0, 0.0))
    return rows


def _light_rows(problem: CascadeProblem, lights: Sequence[int]) -> list[LinearConstraint]:
    """Pools of unchosen batch sizes are empty; rho sum_b T_light(b) n_light(b) >= D."""
    rows = []
    too_many = _too_many(problem)
    for b in lights:
        n, z = _n("light", b), _z("light", b)
        rows.append(_empty_unless_chosen(problem, "light", b))
        needed = min(float(light_workers_needed(problem, b)), too_many)
        rows.append(LinearConstraint(f"light_whole_workers_{b}", {n: 1.0, z: -needed}, lower=0.0))
    capacity = {
        _n("light", b): problem.utilisation_max * problem.light.throughput_qps(b) for b in lights
    }
    rows.append(LinearConstraint("light_throughput", capacity, lower=problem.demand_qps))
    return rows


def _heavy_rows(
    problem: CascadeProblem, points: Sequence[DeferralPoint], heavies: Sequence[int]
) -> list[LinearConstraint]:
    """The same for the heavy stage: rho sum_b T_heavy(b) n_heavy(b) >= D sum_i f(t_i) y(i)."""
    rows = []
    too_many = _too_many(problem)
    for b in heavies:
        rows.append(_empty_unless_chosen(problem, "heavy", b))
        terms = {_n("heavy", b): 1.0, _z("heavy", b): -too_many}
        for i, point in enumerate(points):
            needed = float(heavy_workers_needed(problem, b, point.fraction))
            terms[_y(i)] = -min(needed, too_many)
        rows.append(LinearConstraint(f"heavy_whole_workers_{b}", terms, lower=-too_many))
    terms = {
        _n("heavy", b): problem.utilisation_max * problem.heavy.throughput_qps(b) for b in heavies
    }
    terms |= {_y(i): -problem.demand_qps * p.fraction for i, p in enumerate(points)}
    rows.append(LinearConstraint("heavy_throughput", terms, lower=0.0))
    return rows


def _too_many(problem: CascadeProblem) -> float:
    """More workers than the fleet has; stands for any larger need and keeps coefficients small."""
    return float(problem.num_workers + 1)


def _empty_unless_chosen(problem: CascadeProblem, stage: str, batch_size: int) -> LinearConstraint:
    terms = {_n(stage, batch_size): 1.0, _z(stage, batch_size): -float(problem.num_workers)}
    return LinearConstraint(f"{stage}_pool_{batch_size}", terms, upper=0.0)


def _fleet_row(
    problem: CascadeProblem, lights: Sequence[int], heavies: Sequence[int]
) -> LinearConstraint:
    """x1 + x2 <= N."""
    terms = {_n("light", b): 1.0 for b in lights} | {_n("heavy", b): 1.0 for b in heavies}
    return LinearConstraint("workers", terms, upper=float(problem.num_workers))


def _latency_row(
    problem: CascadeProblem, lights: Sequence[int], heavies: Sequence[int]
) -> LinearConstraint:
    """e_light(b1) + q1 + e_heavy(b2) + q2 <= SLO, the heavy part where there is a heavy stage."""
    terms = {_z("light", b): problem.light.execution_s(b) + problem.light_wait_s for b in lights}
    for b in heavies:
        terms[_z("heavy", b)] = problem.heavy.execution_s(b) + problem.heavy_wait_s
    return LinearConstraint("latency", terms, upper=problem.slo_s)


def _objective(points: Sequence[DeferralPoint], pairs: Sequence[BatchPair]) -> dict[str, float]:
    """Best point first, then the fastest pair: ranks, because ranks are exact."""
    weight = float(len(pairs))
    terms = {_y(i): weight * i for i in range(len(points))}
    return terms | {_w(pair): -float(rank) for rank, pair in enumerate(pairs)}
