"""What is said of a plan in a line."""

from __future__ import annotations

from diffserve.cli.plan import REASON_LENGTH_MAX, plan_line
from diffserve.rpc.v1 import controller_pb2


def test_a_long_reason_is_cut_between_sentences() -> None:
    sentence = "sprites: demand 0.3 qps, 100 % deferred"
    short = plan_line(controller_pb2.Plan(plan_id=7, reason=sentence))
    assert short.startswith("plan 7") and short.endswith(sentence)
    many = "; ".join([sentence] * 20)
    line = plan_line(controller_pb2.Plan(plan_id=7, reason=many))
    assert line.endswith(f"{sentence}; and more, see `diffserve plan why`")
    assert len(line) < REASON_LENGTH_MAX + 120
