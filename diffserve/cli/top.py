"""``diffserve top``: the deployment, live in a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import CliError, emit_json, percent, stdout, table, to_document
from diffserve.cli.plan import placement_table, plan_line
from diffserve.cli.status import (
    aim_text,
    answered_share,
    calibration_lines,
    deferred_share,
    headline,
    outcomes_table,
    silence_lines,
    slo_text,
)
from diffserve.cli.workers import workers_table
from diffserve.rpc.v1 import admin_pb2
from diffserve.rpc.v1.admin_pb2_grpc import AdminStub

WINDOW_S = 30.0
"""Recent figures are over at most this long."""
BAR = "▁▂▃▄▅▆▇█"


@dataclass(slots=True)
class Window:
    """Statuses of the last seconds, so that recent figures can be told from all there were."""

    _samples: list[tuple[float, admin_pb2.Status]] = field(default_factory=list)

    def add(self, now_s: float, status: admin_pb2.Status) -> None:
        """Take in a status as of ``now_s``, monotonic clock."""
        self._samples.append((now_s, status))
        while len(self._samples) > 2 and now_s - self._samples[0][0] > WINDOW_S:
            del self._samples[0]

    @property
    def length_s(self) -> float:
        """Seconds between the oldest and the newest status."""
        return self._samples[-1][0] - self._samples[0][0] if self._samples else 0.0

    def recent(self, cascade_id: str) -> dict[str, int]:
        """Return the outcomes of a cascade within the window."""
        if not self._samples:
            return {}
        first = _outcomes(self._samples[0][1], cascade_id)
        last = _outcomes(self._samples[-1][1], cascade_id)
        if any(last.get(name, 0) < number for name, number in first.items()):
            return dict(last)  # the load balancers restarted
        return {name: number - first.get(name, 0) for name, number in last.items()}

    def demand(self, cascade_id: str) -> list[float]:
        """Return the arrival rates seen within the window, oldest first."""
        return [
            cascade.arrival_qps
            for _, status in self._samples
            for cascade in status.cascades
            if cascade.cascade_id == cascade_id
        ]


def _outcomes(status: admin_pb2.Status, cascade_id: str) -> Mapping[str, int]:
    return next((c.outcomes for c in status.cascades if c.cascade_id == cascade_id), {})


def run_top(address: str, *, every_s: float, once: bool, as_json: bool) -> None:
    """Show the deployment until ``q`` or Ctrl-C; a single frame with ``once`` or in a pipe."""
    if as_json or once or not sys.stdout.isatty():
        with admin(address) as stub:
            status = _ask(stub)
        if as_json:
            emit_json(to_document(status))
            return
        window = Window()
        window.add(time.monotonic(), status)
        stdout().print(frame(status, window))
        return
    with contextlib.suppress(KeyboardInterrupt):
        _watch(address, every_s)


def _watch(address: str, every_s: float) -> None:
    console, window = stdout(), Window()
    page: RenderableType = Text("connecting")
    with _single_keys(), Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            try:
                with admin(address) as stub:
                    status = _ask(stub)
                window.add(time.monotonic(), status)
                page = frame(status, window)
                live.update(Group(page, _FOOTER), refresh=True)
            except CliError as error:
                # A controller that restarts is waited for; what was known stays in sight.
                live.update(Group(Text(str(error), style="red"), page, _FOOTER), refresh=True)
            if _quits_within(every_s):
                return


_FOOTER = Text("\nq quits", style="dim")


def _ask(stub: AdminStub) -> admin_pb2.Status:
    return stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S)


def frame(status: admin_pb2.Status, window: Window) -> Group:
    """Return one page: demand, plan, queues, workers, outcomes, SLO attainment, drift."""
    plan = Text(plan_line(status.plan) if status.HasField("plan") else "no plan yet")
    if status.plan.status != "optimal":
        plan.stylize("yellow")
    return Group(
        headline(status),
        *silence_lines(status),
        plan,
        *(Text(""), demand_table(status, window)),
        *(Text(""), placement_table(status.plan)),
        *(Text(""), workers_table(status.workers)),
        *(Text(""), outcomes_table(status)),
        *calibration_lines(status),
    )


def demand_table(status: admin_pb2.Status, window: Window) -> Table:
    """Return one row per cascade: demand and what became of it within the window."""
    span = f"last {window.length_s:.0f} s" if window.length_s else "since start"
    rows = table(
        *("cascade", ">demand", "", ">planned", ">light queue", ">heavy queue", ">running"),
        *(f">in time, {span}", f">deferred, {span}", ">aims at", ">SLO"),
        spare=("", "running", "planned"),
    )
    planned = {plan.cascade_id: plan for plan in status.plan.cascades}
    for cascade in status.cascades:
        plan = planned.get(cascade.cascade_id)
        recent = window.recent(cascade.cascade_id) if window.length_s else dict(cascade.outcomes)
        rows.add_row(
            cascade.cascade_id,
            f"{cascade.arrival_qps:.2f} qps",
            sparkline(window.demand(cascade.cascade_id)),
            f"{plan.demand_qps:.2f} qps" if plan else "-",
            str(cascade.light_queue_length),
            str(cascade.heavy_queue_length),
            str(cascade.num_in_progress),
            _share(answered_share(recent)),
            _share(deferred_share(recent)),
            aim_text(cascade, plan),
            slo_text(cascade, plan),
        )
    return rows


def sparkline(values: list[float], width: int = 20) -> str:
    """Return the newest values as a row of bars, the largest full."""
    shown = values[-width:]
    top = max(shown, default=0.0)
    if top <= 0.0:
        return ""
    return "".join(BAR[min(len(BAR) - 1, int(value / top * (len(BAR) - 1)))] for value in shown)


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Let keys arrive without Enter, where standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits_within(seconds: float) -> bool:
    """Wait; return whether ``q`` came meanwhile."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    deadline_s = time.monotonic() + seconds
    while (left_s := deadline_s - time.monotonic()) > 0.0:
        ready, _, _ = select.select([sys.stdin], [], [], left_s)
        if ready:
            # Not `sys.stdin.read`: what that reads ahead, no later `select` would tell of.
            keys = os.read(sys.stdin.fileno(), 64)
            if not keys or b"q" in keys.lower():
                return True
    return False
