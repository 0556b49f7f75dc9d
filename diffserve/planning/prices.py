"""What one more second of a worker's time is worth: the duals behind a plan."""

from __future__ import annotations

from collections.abc import Mapping

from diffserve.planning.fleet_model import SCALE, FleetModel
from diffserve.planning.problem import Allocation, CascadeProblem, Objective
from diffserve.planning.program import ProgramSolution


def fleet_prices(model: FleetModel, solution: ProgramSolution) -> dict[str, float]:
    """Return ``variant_id`` -> weighted value per worker-second, from the staffing rows' duals.

    A variant in several places has the price of the dearest one that it uses: there its next query
    would have to go.

    Args:
        model: The linear model in which all workers have their places.
        solution: Its solution, with duals.
    """
    problem = model.problem
    demand_qps = sum(group.demand_qps for group in problem.classes)
    unit = (problem.value_range() or 1.0) * demand_qps / SCALE
    used = model.loads(solution.values)
    prices: dict[str, float] = {}
    for p, place in enumerate(model.places):
        price = max(0.0, solution.duals.get(f"staff_{p}", 0.0)) * unit
        for pool in used:
            if pool.place == place:
                prices[pool.variant_id] = max(prices.get(pool.variant_id, 0.0), price)
    return {variant: price if price > 1e-9 else 0.0 for variant, price in sorted(prices.items())}


def cascade_prices(
    problem: CascadeProblem, allocation: Allocation, light: str, heavy: str
) -> Mapping[str, float]:
    """Return the prices of a cascade that is planned alone, in closed form.

    The exact program has no duals. With its workers given, one more heavy worker-second carries
    rho T(b) more deferrals, each of which gains the slope of the quality curve; light workers have
    time to spare, or there would be no plan.
    """
    if problem.objective is Objective.THRESHOLD or allocation.heavy_workers == 0:
        return {light: 0.0, heavy: 0.0}
    curve, fraction = problem.quality, allocation.deferral_fraction
    slope = max(
        (
            (q - curve.quality_at(fraction)) / (f - fraction)
            for f, q in zip(curve.fractions, curve.qualities, strict=True)
            if f > fraction + 1e-9
        ),
        default=0.0,
    )
    rate_qps = problem.utilisation_max * problem.heavy.throughput_qps(allocation.heavy_batch_size)
    return {light: 0.0, heavy: max(0.0, slope) * rate_qps}
