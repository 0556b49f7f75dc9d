"""``diffserve plan`` and ``diffserve planning``."""

from __future__ import annotations

from rich.table import Table

from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import (
    duration,
    emit_json,
    joined,
    percent,
    stdout,
    table,
    to_document,
)
from diffserve.rpc.v1 import admin_pb2, controller_pb2

REASON_LENGTH_MAX = 240
"""Of a plan's reason in a line; several cascades have a sentence each."""


def show_plan(plan_id: int, address: str, *, as_json: bool) -> None:
    """Print the plan in force, or a remembered one."""
    with admin(address) as stub:
        plan = stub.GetPlan(admin_pb2.GetPlanRequest(plan_id=plan_id), timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(plan))
        return
    console = stdout()
    console.print(plan_line(plan))
    console.print("", placement_table(plan), "", cascades_table(plan), sep="\n")


def set_planning(address: str, *, paused: bool, as_json: bool) -> None:
    """Pause or resume re-planning."""
    request = admin_pb2.SetPlanningRequest(paused=paused)
    with admin(address) as stub:
        answer = stub.SetPlanning(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    text = "paused: the plan in force stays" if answer.paused else "planning every period"
    stdout().print(text)


def plan_line(plan: controller_pb2.Plan) -> str:
    """Return a plan's origin and reason in one sentence; of a long reason the beginning."""
    reason = plan.reason
    if len(reason) > REASON_LENGTH_MAX:
        begun = reason[:REASON_LENGTH_MAX].rpartition(";")[0] or reason[:REASON_LENGTH_MAX]
        reason = f"{begun}; and more, see `diffserve plan why`"
    return (
        f"plan {plan.plan_id}, {duration(plan.age_s)} old: {plan.solver}, {plan.status}, "
        f"solved in {duration(plan.solve_s)}. {reason}"
    )


def placement_table(plan: controller_pb2.Plan) -> Table:
    """Return one row per variant: its workers, also those that share their time, and its batch."""
    rows = table("variant", ">workers", ">batch", "placed on")
    batches = {variant.variant_id: variant.batch_size_max for variant in plan.variants}
    placed = {placement.variant_id for placement in plan.placements}
    for variant_id in sorted(placed | set(batches)):
        names = [p.worker_id for p in plan.placements if p.variant_id == variant_id]
        shared = [p.worker_id for p in plan.placements if variant_id in p.coresident]
        counts = [str(len(names))] if names or not shared else []
        counts += [f"{len(shared)} shared"] if shared else []
        batch = str(batches.get(variant_id, "-"))
        rows.add_row(variant_id, " + ".join(counts), batch, joined(names + shared))
    return rows


def cascades_table(plan: controller_pb2.Plan) -> Table:
    """Return one row per cascade: what the plan expects of it."""
    rows = table("cascade", ">demand", ">deferred", ">aims at", ">threshold", ">quality", ">SLO")
    for cascade in plan.cascades:
        rows.add_row(
            cascade.cascade_id,
            f"{cascade.demand_qps:.2f} qps",
            percent(cascade.deferral_fraction),
            percent(cascade.deferral_target) + (" pinned" if cascade.pinned else ""),
            f"{cascade.confidence_threshold:.3f}",
            f"{cascade.expected_quality:.4g}",
            duration(cascade.slo_s) if cascade.slo_s else "-",
        )
    return rows
