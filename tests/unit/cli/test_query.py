"""The story of a query, from messages."""

from __future__ import annotations

import io

from diffserve.cli.output import console_on
from diffserve.cli.query import headline, story_table, times_line
from diffserve.rpc.v1 import admin_pb2, common_pb2, generation_pb2


def found(**record: object) -> admin_pb2.FindQueryResponse:
    return admin_pb2.FindQueryResponse(
        record=generation_pb2.QueryRecord(query_id="q-1", cascade_id="c", age_s=3.0, **record),
        loadbalancer_id="lb-0",
        address="host:1",
    )


def test_headline_tells_where_a_query_stands() -> None:
    running = found(phase="heavy_queue")
    expected = "query q-1: heavy queue; arrived 3.0 s ago at lb-0 (host:1), cascade c"
    assert headline(running) == expected
    ended = found(phase="done", outcome=common_pb2.OUTCOME_LIGHT_FALLBACK)
    assert headline(ended).startswith("query q-1: light fallback; ")


def test_story_has_a_row_per_step() -> None:
    record = generation_pb2.QueryRecord()
    record.steps.add(name="light_batch", at_s=0.02, variant_id="v", worker_id="w", batch_size=3)
    record.steps.add(name="deferred", at_s=1.5, plan_id=7, detail="ranks [low]")
    text = io.StringIO()
    console_on(text).print(story_table(record))
    for part in ("20 ms", "light batch", "1.5 s", "ranks [low]"):
        assert part in text.getvalue()


def test_times_name_the_stages_that_ran() -> None:
    assert times_line(common_pb2.StageTimes()) == ""
    times = common_pb2.StageTimes(light_execution_s=0.5, scoring_s=0.1, total_s=0.7)
    assert times_line(times) == "700 ms in all: light 500 ms, scoring 100 ms"
