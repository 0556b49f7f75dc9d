"""The status page, from messages."""

from __future__ import annotations

import io

from diffserve.cli.output import console_on
from diffserve.cli.status import answered_share, deferred_share, status_page
from diffserve.rpc.v1 import admin_pb2, controller_pb2


def page(status: admin_pb2.Status) -> str:
    text = io.StringIO()
    console_on(text).print(status_page(status))
    return text.getvalue()


def full_status() -> admin_pb2.Status:
    plan = controller_pb2.Plan(
        plan_id=7, solver="cbc", status="optimal", solve_s=0.02, reason="because [so]"
    )
    plan.cascades.add(cascade_id="c", demand_qps=2.0, deferral_target=0.25)
    status = admin_pb2.Status(
        version="1.2.3", solver="cbc", plan=plan, redis_connected=True, planning_period_s=2.0
    )
    status.workers.add(worker_id="w-0", assigned="v", resident=["v", "u"], device="cpu")
    status.cascades.add(
        cascade_id="c",
        arrival_qps=1.5,
        slo_s=4.0,
        num_arrivals=10,
        heavy_queue_length=3,
        outcomes={"light": 6, "heavy": 2, "expired": 2},
    )
    return status


def test_page_shows_plan_workers_and_traffic() -> None:
    text = page(full_status())
    parts = ("plan 7", "cbc", "because [so]", "w-0", "1.50 / 2.00", "25 % / 25 %", "80 %", "4.0 s")
    for part in parts:
        assert part in text


def test_page_tells_what_a_worker_runs_by_turns() -> None:
    status = full_status()
    status.workers[0].coresident.append("u")
    (row,) = (line for line in page(status).splitlines() if "w-0" in line)
    assert "v, u" in row


def test_page_says_which_worker_could_not_load_its_variant() -> None:
    status = full_status()
    status.workers[0].problem = "variant.v.source: nothing at 'models/v'" + 40 * " and more"
    text = " ".join(page(status).split())
    assert "cannot hold v:" in text
    assert "variant.v.source:" in text
    assert len(text) < len(" ".join(page(full_status()).split())) + 200


def test_page_tells_what_was_learnt_in_words() -> None:
    status = full_status()
    calibration = status.cascades[0].calibration
    calibration.drift.psi, calibration.drift.is_alarm = 0.31, True
    gains = calibration.gains["c"]
    gains.qualities.extend([0.5, 0.625, 0.6])
    gains.num_pairs, gains.num_shadows, gains.num_bad_accepts = 40, 20, 1
    gains.bad_accept_share_max = 0.22
    text = " ".join(page(status).split())
    for part in ("PSI 0.31", "share deferred is held", "40 pairs", "50 % deferred", "1 of 20"):
        assert part in text
    assert "PSI" not in page(full_status())


def test_page_without_plan_or_redis_says_so() -> None:
    text = page(admin_pb2.Status(version="1.2.3", planning_paused=True))
    for part in ("no plan yet", "Redis gone", "PAUSED"):
        assert part in text


def test_shares_count_what_they_should() -> None:
    outcomes = {"light": 5, "heavy": 2, "light_fallback": 1, "expired": 2, "cancelled": 9}
    assert answered_share(outcomes) == 0.8
    assert deferred_share(outcomes) == 0.375
    assert answered_share({}) is None
    assert deferred_share({"expired": 1}) is None
