"""CPU time is that of the right process; every operation of the floor can be measured."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks.overhead.cpu import cpu_s, services
from benchmarks.overhead.primitives import NAMES, costs


def test_cpu_time_is_that_of_the_process() -> None:
    before_s, began_s = cpu_s(os.getpid()), time.process_time()
    while time.process_time() - began_s < 0.1:
        pass
    assert cpu_s(os.getpid()) - before_s == pytest.approx(0.1, abs=0.05)


def test_without_a_deployment_there_are_no_services() -> None:
    assert services() == {}


async def test_every_operation_has_a_cost() -> None:
    found = await costs(0.2)
    assert [cost.what for cost in found] == list(NAMES)
    assert all(0.0 < cost.p50_s < 0.2 and cost.client_s > 0.0 for cost in found)
