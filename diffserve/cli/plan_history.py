"""``diffserve plan why|diff|history``: how the plan came about."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import (
    CliError,
    duration,
    emit_json,
    joined,
    percent,
    stdout,
    table,
    to_document,
)
from diffserve.cli.plan import cascades_table
from diffserve.cli.plan_diff import Change, differences, sentence
from diffserve.rpc.v1 import admin_pb2, controller_pb2
from diffserve.rpc.v1.admin_pb2_grpc import AdminStub

REASON_WIDTH_MIN = 24
"""Characters: in a narrower column a reason is a tower of single words."""


def show_why(plan_id: int, address: str, *, as_json: bool) -> None:
    """Print why a plan is what it is, and what it changed."""
    with admin(address) as stub:
        plan = _plan(stub, plan_id)
        before = _decision_before(stub, plan.plan_id)
    changes = differences(before, plan) if before else []
    if as_json:
        emit_json(
            {
                "plan": to_document(plan),
                "because": reasons(plan),
                "before": before.plan_id if before else None,
                "changes": [dataclasses.asdict(change) for change in changes],
            }
        )
        return
    console = stdout()
    console.print(
        f"plan {plan.plan_id}, made {duration(plan.age_s)} ago by {plan.solver} "
        f"({plan.status}, solved in {duration(plan.solve_s)}), because"
    )
    for reason in reasons(plan):
        console.print(f"  {reason}")
    console.print("", cascades_table(plan), sep="\n")
    if before is not None:
        console.print(f"\nsince plan {before.plan_id}")
        _print_changes(changes)


def show_diff(first: int, second: int, address: str, *, as_json: bool) -> None:
    """Print what the second plan says otherwise than the first."""
    with admin(address) as stub:
        after = _plan(stub, second)
        if first == 0:
            before = _decision_before(stub, after.plan_id)
            if before is None:
                raise CliError(f"no plan before {after.plan_id} is remembered")
        else:
            before = _plan(stub, first)
    changes = differences(before, after)
    if as_json:
        emit_json(
            {
                "before": before.plan_id,
                "after": after.plan_id,
                "changes": [dataclasses.asdict(change) for change in changes],
            }
        )
        return
    stdout().print(f"plan {before.plan_id} -> plan {after.plan_id}")
    _print_changes(changes)


def show_history(limit: int, address: str, *, as_json: bool) -> None:
    """Print the newest decisions, newest first."""
    with admin(address) as stub:
        request = admin_pb2.ListPlansRequest(limit=limit)
        answer = stub.ListPlans(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    rows = table(
        *("plans", ">made", ">held", "workers", "demand", "deferred", ">solved in", "because"),
        spare=("solved in", "demand", "held"),
    )
    rows.columns[-1].min_width = REASON_WIDTH_MIN
    for row in answer.plans:
        ids = str(row.plan_id)
        if row.last_plan_id > row.plan_id:
            ids += f"-{row.last_plan_id}"
        rows.add_row(
            ids,
            f"{duration(row.age_s)} ago",
            duration(row.held_s),
            joined(f"{v} {n}" for v, n in sorted(row.workers.items())),
            joined(f"{c.demand_qps:.1f}" for c in row.cascades),
            joined(percent(c.deferral_fraction) for c in row.cascades),
            duration(row.solve_s),
            row.reason,
        )
    stdout().print(rows if answer.plans else "no plan yet")


def reasons(plan: controller_pb2.Plan) -> list[str]:
    """Return a plan's reason in parts."""
    return [part for part in plan.reason.split("; ") if part]


def _plan(stub: AdminStub, plan_id: int) -> controller_pb2.Plan:
    return stub.GetPlan(admin_pb2.GetPlanRequest(plan_id=plan_id), timeout=CALL_TIMEOUT_S)


def _decision_before(stub: AdminStub, plan_id: int) -> controller_pb2.Plan | None:
    """Return the last plan of the decision before the one that a plan belongs to."""
    rows = stub.ListPlans(admin_pb2.ListPlansRequest(), timeout=CALL_TIMEOUT_S).plans
    earlier = [row for row in rows if row.last_plan_id < plan_id]
    own = [row for row in rows if row.plan_id <= plan_id <= row.last_plan_id]
    if not own or not earlier:
        return None
    return _plan(stub, earlier[0].last_plan_id)


def _print_changes(changes: Sequence[Change]) -> None:
    for change in changes:
        stdout().print(f"  {sentence(change)}")
    if not changes:
        stdout().print("  nothing differs")
