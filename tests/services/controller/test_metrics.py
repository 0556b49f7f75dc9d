"""What a controller's metrics say is what its admin interface says, after a restart too."""

from __future__ import annotations

from collections import Counter

from tests.metrics import parsed
from tests.services.controller.deployment import (
    Client,
    renewed,
    running_controller,
    running_loadbalancer,
)

FOUR = ("w-0", "w-1", "w-2", "w-3")


def scraped(client: Client) -> dict[str, float]:
    return parsed(client.state.metrics.instruments.exposition().decode())


async def check(client: Client) -> None:
    """Compare a scrape with the plan in force."""
    await client.next_plan()
    await client.plan_where(lambda plan: len(plan.placement) == 4)
    plan = client.state.board.in_force
    found = scraped(client)
    assert plan is not None
    assert found["diffserve_controller_plan_id"] == plan.plan_id
    for variant_id, count in Counter(plan.placement.values()).items():
        assert found[f"diffserve_controller_workers{{variant={variant_id}}}"] == count
    planned = plan.cascades["mock"]
    name = "diffserve_controller_planned_deferral_ratio{cascade=mock}"
    assert found[name] == planned.deferral_fraction
    assert found["diffserve_controller_planned_qps{cascade=mock}"] == planned.demand_qps
    assert found["diffserve_controller_registered_workers{state=ready}"] == 4
    assert found["diffserve_controller_redis_connected"] == 1
    assert found["diffserve_controller_telemetry_age_seconds"] < 5
    assert found["diffserve_controller_planning_paused"] == 0
    solves = {k: v for k, v in found.items() if "controller_solve_seconds_count" in k}
    assert sum(solves.values()) >= found["diffserve_controller_plans_total"] > 0
    assert sum(v for k, v in found.items() if "swaps_ordered_total{" in k) >= 4


async def test_metrics_are_those_of_the_plan_and_survive_a_restart(redis_url: str) -> None:
    async with running_loadbalancer(redis_url, qps=40.0):
        async with running_controller(redis_url) as client, renewed(client, *FOUR):
            await check(client)
            before = scraped(client)["diffserve_controller_plan_id"]
        async with running_controller(redis_url) as client, renewed(client, *FOUR):
            await check(client)
            assert scraped(client)["diffserve_controller_plan_id"] > before
