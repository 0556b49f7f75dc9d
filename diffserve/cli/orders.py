"""``diffserve slo|threshold`` and ``diffserve workers restart``: orders to the controller."""

from __future__ import annotations

import time

from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import CliError, duration, emit_json, joined, percent, stdout, to_document
from diffserve.rpc.v1 import admin_pb2
from diffserve.rpc.v1.admin_pb2_grpc import AdminStub

POLL_S = 0.2
RESTART_TIMEOUT_S = 30.0
"""Longest wait for the answer: the worker says at once that it will restart."""


def set_slo(cascade_id: str, slo_s: float | None, address: str, *, as_json: bool) -> None:
    """Set the SLO of a cascade in seconds; None: the catalog's again."""
    with admin(address) as stub:
        request = admin_pb2.SetSloRequest(cascade_id=cascade_id, slo_s=slo_s)
        answer = stub.SetSlo(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    stdout().print(*slo_lines(answer, is_reset=slo_s is None), sep="\n")


def slo_lines(answer: admin_pb2.SetSloResponse, *, is_reset: bool) -> list[str]:
    """Return what is promised now, and what cannot be kept of it."""
    whose = "as in the catalog" if is_reset else "for new queries"
    lines = [
        f"{joined(answer.cascade_ids)}: answers within {duration(answer.slo_s)}, {whose}"
        f"{_when(answer)}"
    ]
    if answer.slo_s <= answer.light_variant_s:
        lines.append(
            f"note: the light variant alone takes {duration(answer.light_variant_s)} for one "
            "query, so that none can be in time and all will be refused"
        )
    elif answer.slo_s <= answer.both_variants_s:
        lines.append(
            f"note: both variants together take {duration(answer.both_variants_s)} for one query, "
            "so that nothing can be deferred"
        )
    return lines


def pin_threshold(cascade_id: str, share: float | None, address: str, *, as_json: bool) -> None:
    """Fix the share that a cascade defers; None: the planner chooses again."""
    with admin(address) as stub:
        request = admin_pb2.PinThresholdRequest(cascade_id=cascade_id, share=share)
        answer = stub.PinThreshold(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    stdout().print(pin_line(answer))


def pin_line(answer: admin_pb2.PinThresholdResponse) -> str:
    """Return which share is deferred now, and from when on."""
    if answer.HasField("share"):
        what = f"{percent(answer.share)} of light images are deferred, whatever the load"
    else:
        what = "the planner chooses the share deferred again"
    return f"{joined(answer.cascade_ids)}: {what}{_when(answer)}"


def _when(answer: admin_pb2.SetSloResponse | admin_pb2.PinThresholdResponse) -> str:
    """Return what the plan that takes the order up waits for; empty: it is the next one."""
    if answer.planning_paused:
        return "; planning is paused, so it takes effect when resumed"
    if answer.redis_gone:
        return "; planning waits for Redis, so it takes effect when that answers"
    return ""


def restart_worker(worker_id: str, wait_s: float, address: str, *, as_json: bool) -> None:
    """Have a worker drain and end; wait until its next process is registered.

    Raises:
        CliError: it has not come back in time.
    """
    with admin(address) as stub:
        request = admin_pb2.RestartWorkerRequest(worker_id=worker_id)
        answer = stub.RestartWorker(request, timeout=RESTART_TIMEOUT_S)
        began_s = time.monotonic()
        if wait_s > 0.0 and not _is_back(stub, answer.worker, wait_s):
            raise CliError(
                f"{worker_id} drained and ended with status {answer.exit_status}, and has not come "
                f"back in {duration(wait_s)}: does anything supervise it? `diffserve up` and "
                "compose start it again by themselves"
            )
    took_s = time.monotonic() - began_s
    if as_json:
        emit_json({**to_document(answer), "back_after_s": took_s if wait_s > 0.0 else None})
    elif wait_s > 0.0:
        stdout().print(f"{worker_id} is back after {duration(took_s)}")
    else:
        stdout().print(
            f"{worker_id} finishes its batches and ends with status {answer.exit_status}; "
            "`diffserve up` and compose start it again, without a supervisor it stays away"
        )


def _is_back(stub: AdminStub, old: admin_pb2.WorkerStatus, wait_s: float) -> bool:
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s:
        workers = stub.ListWorkers(admin_pb2.ListWorkersRequest(), timeout=CALL_TIMEOUT_S).workers
        if any(
            w.worker_id == old.worker_id and w.incarnation not in ("", old.incarnation)
            for w in workers
        ):
            return True
        time.sleep(POLL_S)
    return False
