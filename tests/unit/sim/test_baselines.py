"""The comparison systems do what their papers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffserve.catalog import load_catalog
from diffserve.core import Outcome, Plan, Query, WorkerInfo
from diffserve.errors import ConfigError
from diffserve.planning.observation import QueueState
from diffserve.policy.actions import Defer, Finish, Launch
from diffserve.sim.baselines.fifo_router import FifoRouter
from diffserve.sim.baselines.fixed import FixedController, clipper_roles, static_roles
from diffserve.sim.baselines.proteus import ProteusController
from diffserve.sim.baselines.published import PublishedController, Roles, plan_of
from diffserve.sim.policies import make_system
from diffserve.sim.system import Telemetry

CATALOG = load_catalog("paper-sdturbo")
CASCADE = CATALOG.cascades["paper-sdturbo"]
LIGHT, HEAVY = CASCADE.light, CASCADE.heavy


def workers(count: int) -> tuple[WorkerInfo, ...]:
    return tuple(
        WorkerInfo(worker_id=f"w{i:02d}", address="", device="", resident=(LIGHT, HEAVY))
        for i in range(count)
    )


def roles(light: int, heavy: int, fraction: float = 0.5) -> Roles:
    return Roles(
        light_workers=light,
        light_batch_size=4,
        heavy_workers=heavy,
        heavy_batch_size=2,
        deferral_fraction=fraction,
    )


def plan(light: int, heavy: int, fraction: float = 0.5, plan_id: int = 1) -> Plan:
    fleet = workers(light + heavy)
    return plan_of(roles(light, heavy, fraction), CATALOG, CASCADE, fleet, {}, plan_id)


def query(query_id: str, arrival_s: float = 0.0) -> Query:
    return Query(
        query_id=query_id,
        cascade_id=CASCADE.cascade_id,
        arrival_s=arrival_s,
        deadline_s=arrival_s + CASCADE.slo_s,
    )


def router(**options: float) -> FifoRouter:
    return FifoRouter(CASCADE, CATALOG.latency, 0, **options)  # type: ignore[arg-type]


def telemetry(now_s: float, in_flight: int, waiting: int = 0, num_arrivals: int = 0) -> Telemetry:
    return Telemetry(
        reported_s=now_s,
        num_arrivals=num_arrivals,
        num_in_progress=in_flight,
        queues={LIGHT: QueueState(length=waiting), HEAVY: QueueState()},
        num_in_stage={LIGHT: in_flight, HEAVY: 0},
    )


def test_query_waits_at_its_worker_and_batches_take_what_is_there() -> None:
    subject = router()
    subject.apply_plan(plan(1, 1), 0.0)
    first = subject.submit(query("a"), 0.0)
    assert isinstance(first[0], Launch)
    assert not subject.submit(query("b"), 0.01)
    assert not subject.submit(query("c"), 0.02)
    assert subject.telemetry(0.02).queues[LIGHT].length == 2
    (launch,) = subject.device_released(first[0].batch.batch_id, 0.1, 0.1)
    assert isinstance(launch, Launch)
    assert launch.batch.query_ids == ("b", "c")


def test_low_confidence_is_deferred_high_is_answered() -> None:
    subject = router()
    subject.apply_plan(plan(1, 1), 0.0)
    (launch,) = subject.submit(query("a"), 0.0)
    assert isinstance(launch, Launch)
    batch_id = launch.batch.batch_id
    defer, heavy = subject.light_ready(batch_id, "a", 0.4, 0.1)
    assert isinstance(defer, Defer)
    assert isinstance(heavy, Launch)
    assert heavy.batch.variant_id == HEAVY
    (finish,) = subject.heavy_ready(heavy.batch.batch_id, "a", 2.0)
    assert isinstance(finish, Finish)
    assert finish.outcome is Outcome.HEAVY


def test_late_query_is_dropped_when_it_is_about_to_run() -> None:
    subject = router()
    subject.apply_plan(plan(1, 1), 0.0)
    (launch,) = subject.submit(query("a"), 0.0)
    subject.submit(query("b"), 0.0)
    assert isinstance(launch, Launch)
    (drop,) = subject.device_released(launch.batch.batch_id, 0.1, 1.5 * CASCADE.slo_s)
    assert isinstance(drop, Finish)
    assert drop.outcome is Outcome.EXPIRED


def test_worker_that_changes_its_role_keeps_its_queue() -> None:
    subject = router()
    subject.apply_plan(plan(2, 0), 0.0)
    launched = [subject.submit(query(f"q{i}"), 0.0) for i in range(8)]
    waiting = subject.telemetry(0.0).queues[LIGHT].length
    assert waiting == 8 - sum(bool(actions) for actions in launched)
    subject.apply_plan(plan(1, 1, plan_id=2), 1.0)
    queues = subject.telemetry(1.0).queues
    assert queues[LIGHT].length + queues[HEAVY].length == waiting
    assert queues[HEAVY].length > 0


def test_lost_worker_takes_its_queries_with_it() -> None:
    subject = router()
    subject.apply_plan(plan(1, 0), 0.0)
    subject.submit(query("a"), 0.0)
    subject.submit(query("b"), 0.0)
    lost = subject.worker_lost("w00", 1.0)
    assert [a.outcome for a in lost if isinstance(a, Finish)] == [Outcome.EXPIRED] * 2
    (refused,) = subject.submit(query("c"), 1.0)
    assert isinstance(refused, Finish)


def test_demand_is_queries_in_flight_times_1_2() -> None:
    controller = PublishedController(CATALOG, CASCADE)
    first = controller.plan(workers(16), 1)
    assert first.cascades[CASCADE.cascade_id].deferral_fraction == 1.0
    assert len(first.workers_on(LIGHT)) == 9
    for second in range(30):
        controller.observe(telemetry(float(second), in_flight=20))
    plan = controller.plan(workers(16), 2)
    # The reference answer of the artifact for a demand of 24.
    assert plan.cascades[CASCADE.cascade_id].demand_qps == pytest.approx(24.0)
    assert plan.cascades[CASCADE.cascade_id].deferral_fraction == pytest.approx(0.630)


def test_loaded_variant_is_no_reason_to_decide_anew() -> None:
    controller = PublishedController(CATALOG, CASCADE)
    controller.observe(telemetry(5.0, in_flight=20))
    decided = controller.plan(workers(16), 1)
    controller.observe(telemetry(6.0, in_flight=200))
    loading = (replace(workers(16)[0], resident=()), *workers(16)[1:])
    assert controller.plan(loading, 2).cascades == decided.cascades
    controller.observe(telemetry(10.0, in_flight=200))
    assert controller.plan(workers(16), 3).cascades != decided.cascades


def test_infeasible_demand_gets_the_light_fallback() -> None:
    controller = PublishedController(CATALOG, CASCADE)
    controller.observe(telemetry(0.0, in_flight=5000))
    plan = controller.plan(workers(16), 1)
    assert plan.solver == "fallback"
    assert len(plan.workers_on(LIGHT)) == 16


def test_wait_divides_by_a_count_and_stays_below_a_second() -> None:
    controller = PublishedController(CATALOG, CASCADE)
    controller.observe(telemetry(0.0, in_flight=40, waiting=39))
    assert controller._wait_s(LIGHT) == pytest.approx(39 / 40)


def test_workers_are_walked_in_order_whatever_they_run() -> None:
    fleet = workers(4)
    current = {"w00": HEAVY, "w01": HEAVY, "w02": LIGHT, "w03": LIGHT}
    placed = plan_of(roles(1, 2), CATALOG, CASCADE, fleet, current, 1).placement
    assert placed == {"w00": LIGHT, "w01": HEAVY, "w02": HEAVY, "w03": LIGHT}


def test_clipper_takes_the_largest_batch_within_the_slo() -> None:
    heavy = clipper_roles(CATALOG, CASCADE, 16, heavy=True)
    assert (heavy.heavy_workers, heavy.heavy_batch_size) == (16, 4)
    light = clipper_roles(CATALOG, CASCADE, 16, heavy=False)
    assert (light.light_workers, light.light_batch_size) == (16, 32)


def test_static_plan_is_published_for_16_workers_and_solved_elsewhere() -> None:
    published = static_roles(CATALOG, CASCADE, 16, 32.0)
    assert (published.light_workers, published.heavy_workers) == (4, 12)
    assert published.deferral_fraction == pytest.approx(0.26)
    solved = static_roles(CATALOG, CASCADE, 8, 16.0)
    assert solved.light_workers + solved.heavy_workers == 8
    assert 0.3 < solved.deferral_fraction < 0.6
    assert static_roles(CATALOG, CASCADE, 2, 500.0).heavy_workers == 0


def test_fixed_roles_survive_the_loss_of_workers() -> None:
    controller = FixedController(CATALOG, CASCADE, roles(2, 2))
    before = controller.plan(workers(4), 1).placement
    after = controller.plan(workers(4)[1:], 2).placement
    assert all(before[worker_id] == variant for worker_id, variant in after.items())


def test_proteus_gives_heavy_what_the_fleet_can_carry() -> None:
    controller = ProteusController(CATALOG, CASCADE)
    idle = controller.plan(workers(16), 1)
    assert idle.cascades[CASCADE.cascade_id].deferral_fraction == 1.0
    for second in range(30):
        controller.observe(telemetry(float(second), 0, num_arrivals=32 * second))
    busy = controller.plan(workers(16), 2)
    share = busy.cascades[CASCADE.cascade_id].deferral_fraction
    # 40 qps planned; at batch 2 a heavy worker carries 0.926 qps and a few light ones the rest.
    assert share == pytest.approx(13 * 2 / 2.16 / 40.0, abs=0.03)


def test_unknown_policy_is_named() -> None:
    with pytest.raises(ConfigError, match="clipper-heavy"):
        make_system(
            "best",
            CATALOG,
            CASCADE,
            num_workers=1,
            peak_qps=1.0,
            generator=np.random.default_rng(0),
        )
