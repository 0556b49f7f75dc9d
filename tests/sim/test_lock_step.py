"""The simulator takes the balancer's decisions, not its own: two drivers, the same actions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffserve.catalog import load_catalog
from diffserve.core import Plan, WorkerInfo
from diffserve.policy.actions import Action, Finish, Launch
from diffserve.policy.balancer import Balancer
from diffserve.policy.parameters import BalancerParameters
from diffserve.sim.cluster import Cluster, Environment
from diffserve.sim.faults import Faults
from diffserve.sim.hardware import Device, HardwareParameters, ServiceTimes
from diffserve.sim.images import Confidences
from diffserve.sim.ours import balancer_telemetry
from diffserve.sim.system import System, Telemetry
from diffserve.sim.workload import Arrival
from tests.unit.policy import harness
from tests.unit.policy.harness import Harness, make_query

WORKERS = {"w0": "light", "w1": "heavy", "w2": "heavy"}
INSTANT = HardwareParameters(latency_cv=0.0, scoring_s=0.0, network_s=0.0)


class OnePlan:
    """A controller that plans once."""

    report_period_s = float("inf")
    planning_period_s = float("inf")

    def observe(self, telemetry: Telemetry) -> None:
        pass

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        return harness.plan(WORKERS, plan_id=plan_id)


class Recording(Balancer):
    """Remembers what it said, and when it was told what."""

    def __init__(self) -> None:
        super().__init__(
            {"c": harness.CASCADE},
            {"light": harness.LIGHT, "heavy": harness.HEAVY},
            BalancerParameters(),
            quality={"c": harness.QUALITY},
        )
        self.said: list[tuple[float, Action]] = []


def recorded(name: str) -> Callable[..., list[Action]]:
    def method(self: Recording, *args: object, **kwargs: object) -> list[Action]:
        actions: list[Action] = getattr(Balancer, name)(self, *args, **kwargs)
        now_s = args[-1]
        assert isinstance(now_s, float)
        self.said += [(round(now_s, 9), action) for action in actions]
        return actions

    return method


for _name in ("submit", "device_released", "light_ready", "heavy_ready", "batch_ended", "tick"):
    setattr(Recording, _name, recorded(_name))


def ranks(count: int) -> list[float]:
    return np.random.default_rng(7).random(count).tolist()


def arrivals(count: int) -> list[float]:
    return np.cumsum(np.random.default_rng(8).exponential(0.25, count)).tolist()


class FixedRanks(Confidences):
    """Hands out given percentiles."""

    def __init__(self, values: list[float]) -> None:
        self._values = iter(values)

    def draw(self, prompt_id: int) -> float:
        return next(self._values)

    def percentile(self, rank: float, now_s: float = 0.0) -> float:
        return rank


def by_harness(count: int) -> list[tuple[float, Action]]:
    balancer, percentiles = Recording(), ranks(count)
    driver = Harness(balancer, percentile=lambda query_id: percentiles[int(query_id[1:])])
    balancer.apply_plan(harness.plan(WORKERS), 0.0)
    for index, arrival_s in enumerate(arrivals(count)):
        driver.submit(make_query(f"q{index}", arrival_s))
    driver.run()
    return balancer.said


def by_simulator(count: int) -> list[tuple[float, Action]]:
    balancer = Recording()
    system = System(
        router=balancer,
        controller=OnePlan(),
        telemetry=lambda now_s: balancer_telemetry(balancer, ["c"], now_s),
    )
    environment = Environment(
        catalog=_catalog(),
        slo_s=harness.CASCADE.slo_s,
        hardware=INSTANT,
        service_times=ServiceTimes(
            {"light": harness.LIGHT, "heavy": harness.HEAVY}, INSTANT, np.random.default_rng(0)
        ),
        confidences=FixedRanks(ranks(count)),
        faults=Faults(),
        devices=tuple(Device(worker_id=w, resident=("light", "heavy")) for w in WORKERS),
    )
    cluster = Cluster(environment, system)
    cluster.run(iter([Arrival(when, 0) for when in arrivals(count)]), lambda now_s: None)
    return balancer.said


def _catalog():  # type: ignore[no-untyped-def]
    """Return the mock catalog with the harness's cascade in it."""
    from dataclasses import replace

    mock = load_catalog("mock")
    variants = {
        "light": mock.variants["mock-light"],
        "heavy": mock.variants["mock-heavy"],
    }
    return replace(
        mock,
        default_cascade="c",
        cascades={"c": harness.CASCADE},
        variants=variants,
        latency={"light": harness.LIGHT, "heavy": harness.HEAVY},
    )


def test_harness_and_simulator_hear_the_same_decisions() -> None:
    count = 400
    expected, found = by_harness(count), by_simulator(count)
    assert len([a for _, a in expected if isinstance(a, Finish)]) == count
    assert len([a for _, a in expected if isinstance(a, Launch)]) > count / 4
    assert found == expected


def test_simulated_system_is_the_live_code() -> None:
    from diffserve.planning.planner import make_plan
    from diffserve.policy.demand import DemandParameters
    from diffserve.sim import ours

    assert ours.make_plan is make_plan
    assert ours.DemandParameters is DemandParameters
    catalog = load_catalog("paper-sdturbo")
    system = ours.live_system(catalog, catalog.cascades[catalog.default_cascade], 4)
    assert type(system.router) is Balancer
