"""HADIS's table, plans and data path are what its paper and artifact say."""

from __future__ import annotations

import pytest

from diffserve.catalog import load_catalog
from diffserve.core import CascadeStage, Outcome, Query, WorkerInfo
from diffserve.planning.observation import QueueState
from diffserve.policy.actions import Bypass, Defer, Finish, Launch
from diffserve.sim.baselines.hadis import HadisController, ewma
from diffserve.sim.baselines.hadis_router import HadisRouter
from diffserve.sim.baselines.hybrid_table import Load, best_fit, pareto_front, table_rows
from diffserve.sim.system import Telemetry

CATALOG = load_catalog("hadis")
PAIRS = CATALOG.classes["hadis"].cascade_ids
ROWS = table_rows(CATALOG, PAIRS)
FRONT = pareto_front(ROWS, CATALOG.latency)
TURBO, MEDIUM, LARGE = "sd3-5-large-turbo", "sd3-5-medium", "sd3-5-large"


def load(demand_qps: float, *, saves: bool = False, wait_s: float = 0.0) -> Load:
    return Load(
        num_workers=16,
        demand_qps=demand_qps,
        slo_s=6.0,
        latency=CATALOG.latency,
        wait_s={TURBO: wait_s},
        bypass_saves_light=saves,
    )


def workers(count: int = 16) -> tuple[WorkerInfo, ...]:
    return tuple(WorkerInfo(worker_id=f"w{i:02d}", address="", device="sim") for i in range(count))


def seen(
    now_s: float, in_flight: int, *, waiting: int = 0, sent: int = 0, variant: str = TURBO
) -> Telemetry:
    return Telemetry(
        reported_s=now_s,
        num_arrivals=0,
        num_in_progress=in_flight,
        queues={v: QueueState(length=waiting if v == variant else 0) for v in CATALOG.latency},
        num_sent={v: sent if v == variant else 0 for v in CATALOG.latency},
    )


def controller() -> HadisController:
    return HadisController(CATALOG, PAIRS, 6.0)


# -- the table -----------------------------------------------------------------------------


def test_table_holds_every_profiled_row() -> None:
    # 11 x 11 of each pair; with r = 1 nothing is left to defer, and the row without router has it.
    assert len(ROWS) == 6 * (11 * 11 - 11)
    row = next(
        r
        for r in ROWS
        if r.cascade.cascade_id == "hadis-turbo-medium"
        and (r.bypass_fraction, r.deferral_fraction) == (0.2, 0.2)
    )
    assert row.heavy_share == pytest.approx(0.36)
    assert row.quality == -22.03


def test_front_is_of_neighbouring_pairs() -> None:
    assert len(FRONT) == 47
    assert {row.cascade.cascade_id for row in FRONT} == {
        "hadis-lightning-turbo",
        "hadis-turbo-medium",
        "hadis-medium-large",
    }
    assert FRONT[0].quality == -29.75
    assert FRONT[-1].quality == -19.29


@pytest.mark.parametrize(
    ("demand_qps", "fid"), [(12.0, 20.50), (30.0, 22.37), (50.0, 23.85), (80.0, 24.88)]
)
def test_best_rows_are_those_of_its_milp(demand_qps: float, fid: float) -> None:
    fit = best_fit(FRONT, load(demand_qps))
    assert fit is not None
    assert fit.row.quality == -fid
    assert fit.light_workers + fit.heavy_workers <= 16


def test_light_capacity_for_queries_that_skip_light_costs_quality() -> None:
    fit = best_fit(FRONT, load(30.0, saves=True))
    assert fit is not None
    assert fit.row.quality == -22.03


def test_nothing_fits_when_waits_use_up_the_slo() -> None:
    # Its MILP charges the light model's wait to every pair that has it.
    fit = best_fit(FRONT, load(30.0, wait_s=5.9))
    assert fit is None or TURBO not in (fit.row.cascade.light, fit.row.cascade.heavy)


# -- plans ---------------------------------------------------------------------------------


def test_mean_halves_in_three_samples() -> None:
    assert ewma([8.0, 0.0, 0.0, 0.0]) == pytest.approx(4.0)
    assert ewma([]) == 0.0


def test_starts_with_everybody_on_the_lightest_model() -> None:
    plan = controller().plan(workers(), 1)
    assert set(plan.placement.values()) == {"sdxl-lightning"}
    assert plan.solver == "fallback"
    assert plan.batch_size_max["sdxl-lightning"] == 1


def test_plans_for_queries_in_flight() -> None:
    hadis = controller()
    hadis.plan(workers(), 1)
    for now_s in range(1, 6):
        hadis.observe(seen(float(now_s), 20))
    cascade = next(iter(hadis.plan(workers(), 2).cascades.values()))
    assert cascade.demand_qps == pytest.approx(21.0)
    fit = best_fit(FRONT, load(21.0))
    assert fit is not None
    assert cascade.expected_quality == fit.row.quality


def test_decides_every_five_seconds_and_keeps_to_it_in_between() -> None:
    hadis = controller()
    plans = [hadis.plan(workers(), 1)]
    for now_s in range(1, 11):
        hadis.observe(seen(float(now_s), 5 if now_s < 6 else 60))
        plans.append(hadis.plan(workers(), now_s + 1))
    cascades = [next(iter(plan.cascades)) for plan in plans]
    assert len(set(cascades[1:5])) == len(set(cascades[5:10])) == 1
    assert cascades[4] != cascades[5] != cascades[10]


def test_waits_are_queue_by_arrivals_and_short_queues_are_none() -> None:
    def fid(waiting: int) -> float:
        hadis = controller()
        for now_s in range(6):
            hadis.observe(
                seen(float(now_s), 30, waiting=waiting, sent=10 * (now_s + 1), variant=MEDIUM)
            )
        return -next(iter(hadis.plan(workers(), 1).cascades.values())).expected_quality

    # 40 waiting at 10 a second, times 1.2: with 4.8 s of 6 gone, no batch of two fits on MEDIUM.
    assert fid(40) > fid(0)


def test_workers_are_assigned_in_the_order_of_registration() -> None:
    hadis = controller()
    for now_s in range(6):
        hadis.observe(seen(float(now_s), 30))
    placed = list(hadis.plan(workers(), 1).placement.values())
    light = placed.index(MEDIUM)
    assert placed == [TURBO] * light + [MEDIUM] * (16 - light)


# -- the data path -------------------------------------------------------------------------


def query(query_id: str, difficulty: float) -> Query:
    return Query(
        query_id=query_id,
        cascade_id="hadis-turbo-medium",
        arrival_s=0.0,
        deadline_s=6.0,
        difficulty=difficulty,
    )


def router(in_flight: int = 30) -> tuple[HadisRouter, HadisController]:
    hadis = controller()
    for now_s in range(6):
        hadis.observe(seen(float(now_s), in_flight))
    routed = HadisRouter({c: CATALOG.cascades[c] for c in PAIRS}, CATALOG.latency, 0)
    routed.apply_plan(hadis.plan(workers(), 1), 0.0)
    return routed, hadis


def test_hard_prompts_skip_the_light_model() -> None:
    routed, _ = router(27)
    assert routed.route("hadis") == "hadis-turbo-medium"
    hard = routed.submit(query("hard", 0.99), 0.0)
    assert isinstance(hard[0], Bypass)
    assert isinstance(hard[1], Launch)
    assert hard[1].batch.stage is CascadeStage.HEAVY
    easy = routed.submit(query("easy", 0.01), 0.0)
    assert isinstance(easy[0], Launch)
    assert easy[0].batch.stage is CascadeStage.LIGHT
    sent = routed.telemetry(0.0).num_sent
    assert (sent[TURBO], sent[MEDIUM]) == (2, 1)


def test_low_confidence_is_deferred() -> None:
    routed, _ = router()
    (launch,) = routed.submit(query("q", 0.01), 0.0)
    assert isinstance(launch, Launch)
    actions = routed.light_ready(launch.batch.batch_id, "q", 0.0, 0.2)
    assert isinstance(actions[0], Defer)


def test_images_of_workers_with_another_role_are_answers() -> None:
    routed, hadis = router(64)
    launches = [
        action
        for number in range(40)
        for action in routed.submit(query(f"q{number}", 0.01), 0.0)
        if isinstance(action, Launch)
    ]
    for now_s in range(6, 20):
        hadis.observe(seen(float(now_s), 75))
    plan = hadis.plan(workers(), 2)
    assert next(iter(plan.cascades)) == "hadis-lightning-turbo"
    routed.apply_plan(plan, 0.1)
    for launch in launches:
        batch = launch.batch
        actions = routed.light_ready(batch.batch_id, batch.query_ids[0], 0.0, 0.2)
        if plan.placement[batch.worker_id] == TURBO:
            (finish,) = actions
            assert isinstance(finish, Finish)
            assert finish.outcome is Outcome.LIGHT
        else:
            assert isinstance(actions[0], Defer)
    assert TURBO in {plan.placement[launch.batch.worker_id] for launch in launches}


def test_dropped_queries_count_as_in_flight_for_two_slos() -> None:
    routed, _ = router()
    routed.submit(query("q", 0.01), 0.0)
    routed.worker_lost(next(w for w, v in routed._workers.items() if v.running), 1.0)
    assert routed.telemetry(11.9).num_in_progress == 1
    assert routed.telemetry(12.1).num_in_progress == 0
