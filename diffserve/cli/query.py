"""``diffserve query``: the story of one query."""

from __future__ import annotations

from rich.table import Table

from diffserve.cli.connection import CALL_TIMEOUT_S, admin
from diffserve.cli.output import duration, emit_json, stdout, table, to_document
from diffserve.rpc.v1 import admin_pb2, common_pb2, generation_pb2

_TIMES = (
    ("waiting light", "light_queue_s"),
    ("light", "light_execution_s"),
    ("scoring", "scoring_s"),
    ("waiting heavy", "heavy_queue_s"),
    ("heavy", "heavy_execution_s"),
)


def show_query(query_id: str, address: str, *, as_json: bool) -> None:
    """Print what happened to a query, by the load balancer that knows it."""
    with admin(address) as stub:
        request = admin_pb2.FindQueryRequest(query_id=query_id)
        answer = stub.FindQuery(request, timeout=CALL_TIMEOUT_S)
    if as_json:
        emit_json(to_document(answer))
        return
    console = stdout()
    console.print(headline(answer))
    console.print("", story_table(answer.record), sep="\n")
    spent = times_line(answer.record.times)
    if spent:
        console.print(f"\n{spent}")


def headline(answer: admin_pb2.FindQueryResponse) -> str:
    """Return where the query stands, in one line."""
    record = answer.record
    if record.outcome == common_pb2.OUTCOME_UNSPECIFIED:
        state = record.phase.replace("_", " ")
    else:
        name = common_pb2.Outcome.Name(record.outcome)
        state = name.removeprefix("OUTCOME_").replace("_", " ").lower()
    return (
        f"query {record.query_id}: {state}; arrived {duration(record.age_s)} ago at "
        f"{answer.loadbalancer_id} ({answer.address}), cascade {record.cascade_id}"
    )


def story_table(record: generation_pb2.QueryRecord) -> Table:
    """Return one row per thing that happened."""
    rows = table(">after", "what", "variant", "worker", ">batch", ">plan", "details")
    for step in record.steps:
        rows.add_row(
            duration(step.at_s),
            step.name.replace("_", " "),
            step.variant_id or "-",
            step.worker_id or "-",
            str(step.batch_size or "-"),
            str(step.plan_id or "-"),
            step.detail,
        )
    return rows


def times_line(times: common_pb2.StageTimes) -> str:
    """Return where the time went; empty while nothing is known."""
    if times.total_s <= 0.0:
        return ""
    parts = [
        f"{name} {duration(getattr(times, field))}"
        for name, field in _TIMES
        if getattr(times, field) > 0.0
    ]
    return f"{duration(times.total_s)} in all: " + ", ".join(parts or ["no stage ran"])
