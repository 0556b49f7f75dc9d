"""``diffserve workers``: list, drain, resume."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.table import Table

from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import duration, emit_json, joined, stdout, table, to_document
from diffserve.rpc.v1 import admin_pb2

PROBLEM_LENGTH_MAX = 160


def list_workers(address: str, *, as_json: bool) -> None:
    """Print the registered workers."""
    with admin(address) as stub:
        answer = stub.ListWorkers(admin_pb2.ListWorkersRequest(), timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
    else:
        stdout().print(workers_table(answer.workers))


def drain_worker(worker_id: str, address: str, *, resume: bool, as_json: bool) -> None:
    """Take a worker out of the plan, or back in."""
    request = admin_pb2.DrainWorkerRequest(worker_id=worker_id, resume=resume)
    with admin(address) as stub:
        answer = stub.DrainWorker(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    state = "takes no new work" if answer.worker.draining else "takes work again"
    stdout().print(f"{worker_id} {state}")


def workers_table(workers: Iterable[admin_pb2.WorkerStatus]) -> Table:
    """Return one row per worker."""
    rows = table(
        "worker", "address", "device", "runs", "holds too", "state", spare=("holds too", "device")
    )
    for worker in workers:
        runs = (worker.assigned, *worker.coresident)
        state = f"renewed {duration(worker.lease_age_s)} ago"
        if worker.problem:
            problem = textwrap.shorten(worker.problem, PROBLEM_LENGTH_MAX)
            state = f"cannot hold {worker.assigned}: {problem}"
        rows.add_row(
            worker.worker_id,
            worker.address,
            worker.device,
            joined(filter(None, runs)),
            joined(held for held in worker.resident if held not in runs),
            "draining" if worker.draining else state,
        )
    return rows
