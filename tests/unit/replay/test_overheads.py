"""What is made of the probes."""

from __future__ import annotations

import pytest

from diffserve.replay.overheads import summary
from diffserve.rpc.v1 import common_pb2


def times(execution_s: float, rest_s: float) -> common_pb2.StageTimes:
    return common_pb2.StageTimes(
        light_queue_s=0.001,
        light_execution_s=execution_s,
        scoring_s=0.003,
        total_s=0.004 + execution_s + rest_s,
    )


def test_what_is_left_after_queue_execution_and_scoring_is_the_way_there_and_back() -> None:
    probes = [times(0.101, 0.002), times(0.102, 0.004), times(0.103, 0.030)]
    found = summary(probes, profiled_s=0.1, solves_s=[0.05, 0.04, 0.9])
    assert found.network_s == pytest.approx(0.002)
    assert found.scoring_s == pytest.approx(0.003)
    assert found.execution_excess_s == pytest.approx(0.002)
    assert found.execution_cv == pytest.approx(0.0098, abs=1e-4)
    assert found.plan_delay_s == 0.05
    hardware = found.hardware()
    assert hardware.network_s == found.network_s
    assert hardware.scoring_s == found.scoring_s
    assert hardware.latency_cv == found.execution_cv
    assert hardware.plan_delay_s == 0.05


def test_clocks_that_disagree_give_no_negative_network() -> None:
    assert summary([times(0.1, -0.001)] * 2, profiled_s=0.1, solves_s=[0.0]).network_s == 0.0
