"""A live run leaves the simulator's log behind, and the simulator can run it again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from diffserve.catalog import load_catalog
from diffserve.config import LoadBalancerSettings
from diffserve.errors import ConfigError
from diffserve.rpc.v1 import common_pb2, generation_pb2
from diffserve.sim.traces.contents import Instants
from diffserve.sim.traces.reading import read_trace
from services.loadbalancer.application import LoadBalancer
from tests.services.loadbalancer.cluster import running_cluster


async def test_every_query_is_logged_from_arrival_to_outcome_and_reads_as_a_trace(
    tmp_path: Path,
) -> None:
    path = tmp_path / "live.decisions"
    async with running_cluster(decision_log=str(path)) as cluster:
        for index, prompt in enumerate(("owl 0.9", "owl 0.1", "fails 0.9")):
            parameters = common_pb2.GenerationParameters(prompt=prompt, seed=1)
            request = generation_pb2.GenerateRequest(query_id=f"q{index}", parameters=parameters)
            await asyncio.gather(cluster.stub.Generate(request, timeout=5), return_exceptions=True)
            await asyncio.sleep(0.05)
    lines = [line.partition(" ")[2] for line in path.read_text().splitlines()]
    assert lines[0].startswith("plan 1 mock-heavy=1x2 mock-light=1x4 defer=0.5000")
    kinds = [
        " ".join(line.split()[:3] if line.startswith("finish") else line.split()[:1])
        for line in lines[1:]
    ]
    assert kinds == [
        *("arrive", "launch", "finish q0 light"),
        *("arrive", "launch", "defer", "launch", "finish q1 heavy"),
        *("arrive", "launch", "finish q2 failed"),
    ]
    times = [float(line.partition(" ")[0]) for line in path.read_text().splitlines()]
    assert times == sorted(times)
    trace = read_trace(str(path))
    assert isinstance(trace, Instants)
    assert len(trace.times_s) == 3
    assert trace.times_s[1] >= 0.05


def test_a_file_that_cannot_be_written_is_named() -> None:
    settings = LoadBalancerSettings(decision_log="/nowhere/at/all")
    with pytest.raises(ConfigError, match=r"loadbalancer.decision_log: cannot write /nowhere"):
        LoadBalancer(settings, load_catalog("mock"))
