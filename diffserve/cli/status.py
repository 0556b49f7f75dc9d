"""``diffserve status``: the deployment on one page."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

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
from diffserve.cli.plan import plan_line
from diffserve.cli.workers import workers_table
from diffserve.core import Outcome
from diffserve.profiles.drift import drift_sentence
from diffserve.rpc.v1 import admin_pb2, common_pb2, controller_pb2
from diffserve.rpc.v1.admin_pb2_grpc import AdminStub

REFRESH_S = 1.0
SILENT_S = 2.0
"""Load balancers report several times a second."""


def show_status(address: str, *, as_json: bool) -> None:
    """Print the status once."""
    with admin(address) as stub:
        status = _ask(stub)
    if as_json:
        emit_json(to_document(status))
    else:
        stdout().print(status_page(status))


def watch_status(address: str) -> None:
    """Refresh the page until Ctrl-C; a controller that restarts is waited for."""
    console = stdout()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        page: RenderableType = Text("connecting")
        while True:
            try:
                with admin(address) as stub:
                    while True:
                        page = status_page(_ask(stub))
                        live.update(page, refresh=True)
                        time.sleep(REFRESH_S)
            except CliError as error:
                live.update(Group(Text(str(error), style="red"), page), refresh=True)
                time.sleep(REFRESH_S)
            except KeyboardInterrupt:
                return


def _ask(stub: AdminStub) -> admin_pb2.Status:
    return stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S)


def status_page(status: admin_pb2.Status) -> Group:
    """Return plan, workers and cascades as one page."""
    plan = Text("no plan yet", style="yellow")
    if status.HasField("plan"):
        plan = Text(plan_line(status.plan))
        if status.plan.status != "optimal":
            plan.stylize("yellow")
    return Group(
        headline(status),
        *silence_lines(status),
        plan,
        *(Text(""), workers_table(status.workers)),
        *(Text(""), traffic_table(status)),
        *(Text(""), outcomes_table(status)),
        *calibration_lines(status),
    )


def headline(status: admin_pb2.Status) -> Text:
    """Return version, age and health in one line."""
    line = Text(f"DiffServe {status.version}, up {duration(status.uptime_s)}", style="bold")
    redis = "connected" if status.redis_connected else "gone, serving by the last plan"
    style = "not bold" if status.redis_connected else "bold red"
    line.append(f"   Redis {redis}", style=style)
    line.append(f"   telemetry {duration(status.telemetry_age_s)} old", style="not bold")
    line.append(f"   solver {status.solver}", style="not bold")
    if status.planning_paused:
        line.append("   planning PAUSED", style="bold yellow")
    else:
        line.append(f"   plans every {duration(status.planning_period_s)}", style="not bold")
    return line


def silence_lines(status: admin_pb2.Status) -> list[Text]:
    """Return a line for every load balancer whose figures are old, and where none is there.

    One more tells of which cascades no discriminator reports anything; see ``keys.CALIBRATION``.
    """
    if not status.redis_connected:
        return []  # the headline says so
    lines = [] if status.loadbalancers else ["no load balancer reports"]
    lines += [
        f"load balancer {row.loadbalancer_id} has been silent for "
        f"{duration(row.report_age_s)}; its figures are as old"
        for row in status.loadbalancers
        if row.report_age_s > SILENT_S
    ]
    unheard = [c.cascade_id for c in status.cascades if not c.HasField("calibration")]
    if unheard:
        lines.append(
            f"no discriminator reports on {', '.join(unheard)}; images are ranked by what workers "
            "knew last, or kept without a score"
        )
    return [Text(line, style="bold red") for line in lines]


def traffic_table(status: admin_pb2.Status) -> Table:
    """Return one row per cascade: demand and deferral as measured and as planned, queues."""
    rows = table(
        "cascade", ">demand / planned", ">deferred / planned", ">light queue", ">heavy queue",
        ">running", spare=("running",),
    )  # fmt: skip
    planned = {plan.cascade_id: plan for plan in status.plan.cascades}
    for cascade in status.cascades:
        plan = planned.get(cascade.cascade_id)
        demand = f"{plan.demand_qps:.2f} qps" if plan else "-"
        rows.add_row(
            cascade.cascade_id,
            f"{cascade.arrival_qps:.2f} / {demand}",
            f"{_share(deferred_share(cascade.outcomes))} / {aim_text(cascade, plan)}",
            str(cascade.light_queue_length),
            str(cascade.heavy_queue_length),
            str(cascade.num_in_progress),
        )
    return rows


def outcomes_table(status: admin_pb2.Status) -> Table:
    """Return one row per cascade: how its queries ended since the load balancers started."""
    rows = table("cascade", ">queries", ">in time", ">SLO", "outcomes")
    planned = {plan.cascade_id: plan for plan in status.plan.cascades}
    for cascade in status.cascades:
        known = [o for o in Outcome if cascade.outcomes.get(o)]
        rows.add_row(
            cascade.cascade_id,
            str(cascade.num_arrivals),
            _share(answered_share(cascade.outcomes)),
            slo_text(cascade, planned.get(cascade.cascade_id)),
            joined(f"{outcome.replace('_', ' ')} {cascade.outcomes[outcome]}" for outcome in known),
        )
    return rows


def slo_text(cascade: admin_pb2.CascadeStatus, plan: controller_pb2.CascadePlan | None) -> str:
    """Return the SLO that load balancers go by, and the one that was ordered where that waits."""
    ordered = duration(cascade.slo_s)
    if plan is None:
        return f"{ordered} ordered" if cascade.slo_is_set else ordered
    if plan.slo_s not in (0.0, cascade.slo_s):
        return f"{duration(plan.slo_s)}, {ordered} ordered"
    return f"{ordered} set" if cascade.slo_is_set else ordered


def aim_text(cascade: admin_pb2.CascadeStatus, plan: controller_pb2.CascadePlan | None) -> str:
    """Return the share to defer by the plan, and the one that was ordered where that waits."""
    is_ordered = cascade.HasField("pinned_share")
    ordered = f"{percent(cascade.pinned_share)} ordered"
    if plan is None:
        return ordered if is_ordered else "-"
    aim = percent(plan.deferral_target) + (" pinned" if plan.pinned else "")
    if is_ordered and not (plan.pinned and plan.deferral_target == cascade.pinned_share):
        return f"{aim}, {ordered}"
    return f"{aim}, unpinning ordered" if plan.pinned and not is_ordered else aim


def calibration_lines(status: admin_pb2.Status) -> list[Text]:
    """Return what discriminators have learnt, in words; nothing where nothing is known."""
    lines: list[Text] = []
    for cascade in status.cascades:
        calibration = cascade.calibration
        if calibration.drift.is_alarm:
            what = f"{cascade.cascade_id}: {drift_sentence(calibration.drift.psi)}"
            lines.append(Text(f"{what}; for {duration(calibration.drift.for_s)}", "bold yellow"))
        if cascade.cascade_id in calibration.gains:
            lines.append(Text(_gains_line(cascade, calibration.gains[cascade.cascade_id])))
    return [Text(""), *lines] if lines else []


def _gains_line(cascade: admin_pb2.CascadeStatus, gains: common_pb2.CascadeGains) -> str:
    """Return what the heavy variant adds, by the discriminator's own confidence."""
    qualities = gains.qualities
    best = max(range(len(qualities)), key=lambda index: (qualities[index], -index))
    text = (
        f"{cascade.cascade_id}: by {gains.num_pairs} pairs the discriminator's mean confidence is "
        f"{qualities[0]:.3f} with nothing deferred, {qualities[best]:.3f} at best "
        f"({percent(best / (len(qualities) - 1))} deferred)"
    )
    if not gains.is_complete:
        text += ", ranks without pairs guessed"
    if gains.num_shadows:
        text += (
            f"; of accepted images at most {percent(gains.bad_accept_share_max)} should have been "
            f"deferred ({gains.num_bad_accepts} of {gains.num_shadows} sampled)"
        )
    return text


def answered_share(outcomes: Mapping[str, int]) -> float | None:
    """Return the share of queries answered in time, those whose client left not counted."""
    total = sum(n for outcome, n in outcomes.items() if outcome != Outcome.CANCELLED)
    answered = sum(outcomes.get(outcome, 0) for outcome in Outcome if outcome.is_answered)
    return answered / total if total else None


def deferred_share(outcomes: Mapping[str, int]) -> float | None:
    """Return the share of answers that were deferred, those that fell back included."""
    total = sum(outcomes.get(outcome, 0) for outcome in Outcome if outcome.is_answered)
    deferred = outcomes.get(Outcome.HEAVY, 0) + outcomes.get(Outcome.LIGHT_FALLBACK, 0)
    return deferred / total if total else None


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)
