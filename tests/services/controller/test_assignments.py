"""What the controller remembers of orders that a worker did not take."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from diffserve.core import Plan, WorkerInfo
from services.controller.assignments import Assigner, WorkerClients, _Order
from services.controller.membership import Membership

PLAN = Plan(plan_id=1, placement={"w-0": "mock-light"}, batch_size_max={}, cascades={})


@pytest.mark.parametrize("wanted", [PLAN, replace(PLAN, placement={})])
async def test_a_problem_ends_with_the_order_that_it_is_about(wanted: Plan) -> None:
    """The next plan may want what the worker holds already, or nothing, and asks it for nothing."""
    membership = Membership(5.0, time.monotonic)
    held = WorkerInfo(worker_id="w-0", address="", device="cpu", resident=("mock-light",))
    membership.renew(held, "process")
    assigner = Assigner(membership, WorkerClients(1 << 20))
    assigner._acknowledged["w-0"] = _Order("process", ("mock-light",))
    membership.set_problem("w-0", "disk full")
    assigner.push(wanted)
    (member,) = membership.members()
    assert member.problem == ""
