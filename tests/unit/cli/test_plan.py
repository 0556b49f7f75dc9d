"""What is said of a plan in a line."""

from __future__ import annotations

import io

from diffserve.cli.output import console_on
from diffserve.cli.plan import REASON_LENGTH_MAX, placement_table, plan_line
from diffserve.rpc.v1 import controller_pb2


def test_a_long_reason_is_cut_between_sentences() -> None:
    sentence = "sprites: demand 0.3 qps, 100 % deferred"
    short = plan_line(controller_pb2.Plan(plan_id=7, reason=sentence))
    assert short.startswith("plan 7") and short.endswith(sentence)
    many = "; ".join([sentence] * 20)
    line = plan_line(controller_pb2.Plan(plan_id=7, reason=many))
    assert line.endswith(f"{sentence}; and more, see `diffserve plan why`")
    assert len(line) < REASON_LENGTH_MAX + 120


def test_workers_that_share_their_time_count_for_each_variant() -> None:
    plan = controller_pb2.Plan(plan_id=7)
    plan.placements.add(worker_id="w-0", variant_id="heavy", coresident=["light"])
    plan.placements.add(worker_id="w-1", variant_id="light")
    for name in ("heavy", "light", "spare"):
        plan.variants.add(variant_id=name, batch_size_max=4)
    text = io.StringIO()
    console_on(text).print(placement_table(plan))
    rows = {line.split()[0]: line.split() for line in text.getvalue().splitlines()[1:]}
    assert rows["heavy"] == ["heavy", "1", "4", "w-0"]
    assert rows["light"] == ["light", "1", "+", "1", "shared", "4", "w-1,", "w-0"]
    assert rows["spare"] == ["spare", "0", "4", "-"]
