"""What one plan says otherwise than another."""

from __future__ import annotations

from diffserve.cli.plan_diff import Change, differences, sentence
from diffserve.rpc.v1 import controller_pb2


def made(plan_id: int, placement: dict[str, str], **cascade: float) -> controller_pb2.Plan:
    plan = controller_pb2.Plan(plan_id=plan_id, reason="demand 1 qps; because")
    for worker_id, variant_id in placement.items():
        plan.placements.add(worker_id=worker_id, variant_id=variant_id)
    plan.variants.add(variant_id="light", batch_size_max=4)
    plan.cascades.add(cascade_id="c", **cascade)
    return plan


def test_equal_plans_differ_in_nothing() -> None:
    plan = made(1, {"w-0": "light"}, demand_qps=2.0)
    assert differences(plan, made(2, {"w-0": "light"}, demand_qps=2.0000001)) == []


def test_moves_counts_and_figures_are_told() -> None:
    before = made(1, {"w-0": "light", "w-1": "heavy"}, demand_qps=2.0, slo_s=4.0)
    after = made(2, {"w-0": "light", "w-2": "light"}, demand_qps=3.0, slo_s=0.5, pinned=True)
    texts = [sentence(change) for change in differences(before, after)]
    assert texts == [
        "worker w-1: runs heavy -> none",
        "worker w-2: runs none -> light",
        "variant heavy: workers 1 -> 0",
        "variant light: workers 1 -> 2",
        "cascade c: demand qps 2 -> 3",
        "cascade c: slo 4.0 s -> 500 ms",
        "cascade c: pinned no -> yes",
    ]


def test_shares_are_told_in_percent() -> None:
    change = Change("cascade", "c", "deferral_target", 0.25, 0.5)
    assert sentence(change) == "cascade c: deferral target 25 % -> 50 %"
