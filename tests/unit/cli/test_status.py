"""The status page, from messages."""

from __future__ import annotations

import io
from typing import Any

import pytest

from diffserve.cli.output import console_on
from diffserve.cli.status import (
    aim_text,
    answered_share,
    deferred_share,
    silence_lines,
    slo_text,
    status_page,
)
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


@pytest.mark.parametrize(
    ("planned", "ordered", "shown"),
    [
        ({"slo_s": 4.0}, {"slo_s": 4.0}, "4.0 s"),
        ({"slo_s": 4.0}, {"slo_s": 4.0, "slo_is_set": True}, "4.0 s set"),
        ({"slo_s": 2.0}, {"slo_s": 4.0, "slo_is_set": True}, "2.0 s, 4.0 s ordered"),
        ({}, {"slo_s": 4.0}, "4.0 s"),
    ],
)
def test_the_slo_is_the_one_of_the_plan_in_force(
    planned: dict[str, Any], ordered: dict[str, Any], shown: str
) -> None:
    plan = controller_pb2.CascadePlan(cascade_id="c", **planned)
    assert slo_text(admin_pb2.CascadeStatus(cascade_id="c", **ordered), plan) == shown


@pytest.mark.parametrize(
    ("planned", "ordered", "shown"),
    [
        ({"deferral_target": 0.7}, {}, "70 %"),
        ({"deferral_target": 0.3, "pinned": True}, {"pinned_share": 0.3}, "30 % pinned"),
        ({"deferral_target": 0.7}, {"pinned_share": 0.3}, "70 %, 30 % ordered"),
        (
            {"deferral_target": 0.5, "pinned": True},
            {"pinned_share": 0.3},
            "50 % pinned, 30 % ordered",
        ),
        ({"deferral_target": 0.5, "pinned": True}, {}, "50 % pinned, unpinning ordered"),
    ],
)
def test_the_share_deferred_is_the_one_of_the_plan_in_force(
    planned: dict[str, Any], ordered: dict[str, Any], shown: str
) -> None:
    plan = controller_pb2.CascadePlan(cascade_id="c", **planned)
    assert aim_text(admin_pb2.CascadeStatus(cascade_id="c", **ordered), plan) == shown


def test_without_a_plan_there_are_only_orders() -> None:
    status = admin_pb2.CascadeStatus(cascade_id="c", slo_s=4.0, slo_is_set=True, pinned_share=0.3)
    assert slo_text(status, None) == "4.0 s ordered"
    assert aim_text(status, None) == "30 % ordered"
    assert slo_text(admin_pb2.CascadeStatus(slo_s=4.0), None) == "4.0 s"
    assert aim_text(admin_pb2.CascadeStatus(), None) == "-"


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


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ["no load balancer reports"]),
        ([("lb-0", 0.2)], []),
        (
            [("lb-0", 8.0), ("lb-1", 0.2)],
            ["load balancer lb-0 has been silent for 8.0 s; its figures are as old"],
        ),
    ],
)
def test_load_balancers_that_are_silent_are_named(
    rows: list[tuple[str, float]], expected: list[str]
) -> None:
    status = admin_pb2.Status(redis_connected=True)
    for name, age_s in rows:
        status.loadbalancers.add(loadbalancer_id=name, report_age_s=age_s)
    assert [line.plain for line in silence_lines(status)] == expected
    status.redis_connected = False
    assert silence_lines(status) == []


def test_cascades_on_which_no_discriminator_reports_are_named() -> None:
    status = full_status()
    status.loadbalancers.add(loadbalancer_id="lb-0", report_age_s=0.2)
    status.cascades.add(cascade_id="known").calibration.num_scores = 0
    (line,) = silence_lines(status)
    assert line.plain.startswith("no discriminator reports on c; images are ranked by what workers")
    status.cascades[0].calibration.num_scores = 300
    assert silence_lines(status) == []
