"""Messages and core values: round trips."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diffserve.core import CascadePlan, Outcome, Plan, WorkerInfo
from diffserve.rpc import convert
from diffserve.rpc.v1 import common_pb2

names = st.text("abcdefghij-", min_size=1, max_size=8)
fractions = st.floats(0, 1)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    workers = draw(st.lists(names, unique=True, max_size=4))
    return Plan(
        plan_id=draw(st.integers(1, 2**40)),
        placement={worker: draw(names) for worker in workers},
        batch_size_max=draw(st.dictionaries(names, st.integers(1, 64), max_size=3)),
        cascades={
            name: CascadePlan(
                cascade_id=name,
                demand_qps=draw(st.floats(0, 1e6)),
                deferral_fraction=draw(fractions),
                deferral_target=draw(fractions),
                class_share=draw(fractions),
                bypass_fraction=draw(fractions),
                slo_s=draw(st.floats(0, 1e3)),
                is_pinned=draw(st.booleans()),
                confidence_threshold=draw(fractions),
                expected_quality=draw(st.floats(-1e3, 1e3)),
            )
            for name in draw(st.lists(names, unique=True, max_size=2))
        },
        workers={
            worker: WorkerInfo(
                worker_id=worker,
                address=draw(names),
                device="cpu",
                resident=tuple(draw(st.lists(names, max_size=3))),
                is_draining=draw(st.booleans()),
            )
            for worker in workers
        },
        solver=draw(names),
        status=draw(names),
        solve_s=draw(st.floats(0, 10)),
        activation=draw(st.text(max_size=20)),
        reason=draw(st.text(max_size=20)),
    )


@given(plans())
def test_plan_round_trip(plan: Plan) -> None:
    assert convert.plan_from_proto(convert.plan_to_proto(plan)) == plan


def test_every_outcome_has_a_number_of_its_own() -> None:
    numbers = {convert.outcome_to_proto(outcome) for outcome in Outcome}
    assert len(numbers) == len(Outcome)
    assert all(convert.outcome_from_proto(convert.outcome_to_proto(o)) is o for o in Outcome)
    assert convert.outcome_from_proto(common_pb2.OUTCOME_UNSPECIFIED) is None


def test_unknown_preference_is_none() -> None:
    assert convert.preference_from_proto(99) is None  # type: ignore[arg-type]
