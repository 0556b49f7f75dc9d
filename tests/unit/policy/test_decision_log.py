"""One line per decision, in a format that tools and people rely on."""

from __future__ import annotations

import io

from diffserve.core import Batch, CascadePlan, CascadeStage, Outcome, Plan, Query
from diffserve.policy.actions import Abort, Bypass, Defer, Finish, Launch
from diffserve.policy.decision_log import DecisionLog


def test_every_kind_of_line() -> None:
    stream = io.StringIO()
    log = DecisionLog(stream)
    log.arrival(Query(query_id="q", cascade_id="c", arrival_s=0.0, deadline_s=2.0), 1.0)
    batch = Batch(
        batch_id=7,
        worker_id="w",
        variant_id="light",
        stage=CascadeStage.LIGHT,
        query_ids=("q", "r"),
        started_s=1.0,
    )
    for action in (
        Launch(batch),
        Defer("q", "because"),
        Bypass("r", "hard"),
        Abort(7, "w", "r"),
        Finish("q", Outcome.HEAVY, "done"),
    ):
        log.action(action, 1.5)
    assert stream.getvalue().splitlines() == [
        "1.000000 arrive q deadline=2.000000",
        "1.500000 launch batch=7 light on w: q,r",
        "1.500000 defer q",
        "1.500000 bypass r",
        "1.500000 abort r batch=7 on w",
        "1.500000 finish q heavy",
    ]


def test_a_plan_is_one_line_without_what_people_read_only() -> None:
    stream = io.StringIO()
    cascade = CascadePlan(
        cascade_id="c",
        demand_qps=3.0,
        deferral_fraction=0.5,
        deferral_target=0.6,
        confidence_threshold=0.4,
        expected_quality=0.9,
    )
    plan = Plan(
        plan_id=3,
        placement={"a": "light", "b": "light", "c": "heavy"},
        batch_size_max={"light": 4, "heavy": 2},
        cascades={"c": cascade},
        reason="for people",
    )
    DecisionLog(stream).plan(plan, 0.25)
    line = "0.250000 plan 3 heavy=1x2 light=2x4 defer=0.6000 demand=3.0000 (optimal)\n"
    assert stream.getvalue() == line
