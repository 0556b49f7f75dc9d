"""The pure parts of the comparison with peers, and the care with which processes are ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks.peers import environments
from benchmarks.peers.__main__ import EXPERIMENTS, chosen
from benchmarks.peers.adapters.mock import CONFIG_VARIABLE, Device
from benchmarks.peers.cascade import (
    CATALOG,
    NUM_WORKERS,
    ORACLE,
    PEAK_QPS,
    CascadeParameters,
    Comparison,
    Run,
    metrics_of,
    scene_of,
)
from benchmarks.peers.environments import PEERS, python_of
from benchmarks.peers.hops import as_they_come_and_tuned
from benchmarks.peers.processes import (
    ROOT,
    Launch,
    PeerError,
    descendants,
    marked,
    rss_bytes,
    running,
)
from benchmarks.peers.report import (
    cascade_section,
    document_of,
    draw,
    footed,
    health_section,
    page_of,
    steadiness_document,
    stopping_section,
    wins,
)
from benchmarks.peers.serial import (
    System,
    executions_after_leaving,
    executions_of,
    launches_of,
    overload_of,
)
from benchmarks.peers.static_plan import (
    StaticPlan,
    Trial,
    best_on_trace,
    plan_for_rate,
    served,
    slowed,
    tried,
)
from benchmarks.peers.steadiness import (
    EXECUTION_S,
    PROBE_EXECUTION_S,
    Stopping,
    diffserve_running,
    killed,
    slowest_probe_s,
    stopped,
)
from benchmarks.peers.workload import LEVELS, bursty, confidences, ranks, threshold_for
from diffserve.catalog import load_catalog
from diffserve.core import Outcome
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.quality import QualityTable
from diffserve.sim.report import Recorder
from diffserve.sim.workload import Arrival

PLAN = StaticPlan(light_workers=1, light_batch=4, heavy_workers=7, heavy_batch=2, share=0.35)
PROFILE = LatencyProfile({1: 1.0, 2: 1.5})


def test_a_pool_serves_first_come_first_served_in_batches() -> None:
    assert served([0.0, 0.1, 0.2, 0.3], 1, 2, PROFILE) == [1.0, 2.5, 2.5, 3.5]
    assert served([0.0, 0.1, 0.2], 2, 2, PROFILE) == [1.0, 1.1, 2.0]
    assert served([], 2, 2, PROFILE) == []


def test_the_trace_has_its_bursts() -> None:
    arrivals = bursty(PEAK_QPS, 900.0, seed=1)
    assert arrivals == bursty(PEAK_QPS, 900.0, seed=1) != bursty(PEAK_QPS, 900.0, seed=2)
    assert [a.prompt_id for a in arrivals] == list(range(len(arrivals)))
    counts = [0] * len(LEVELS)
    for arrival in arrivals:
        counts[int(arrival.arrival_s / 100.0)] += 1
    assert counts == pytest.approx([PEAK_QPS * 100.0 * level / 4 for level in LEVELS], rel=0.2)


def test_the_threshold_defers_the_share() -> None:
    scores = confidences(400, load_catalog(CATALOG).deferral[CATALOG])
    for share in (0.0, 0.35, 1.0):
        deferred = [score < threshold_for(share, scores) for score in scores]
        assert sum(deferred) == pytest.approx(400 * share, abs=1)
    by_rank = sorted(range(400), key=ranks(scores).__getitem__)
    assert [scores[i] for i in by_rank] == sorted(scores)


@pytest.fixture(name="arrivals")
def _arrivals() -> list[Arrival]:
    return bursty(PEAK_QPS, 45.0, seed=0)


def test_no_static_plan_beats_the_oracle(
    arrivals: list[Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.peers.static_plan.SHARES", (0.2, 0.4, 0.6))
    monkeypatch.setattr("benchmarks.peers.static_plan.LIGHT_BATCHES", (1, 4))
    catalog = load_catalog(CATALOG)
    scene = scene_of(catalog, arrivals, confidences(len(arrivals), catalog.deferral[CATALOG]))
    best, front = best_on_trace(scene, 0.01)
    assert best.violation_ratio <= 0.01
    assert best in front
    ratios = [trial.violation_ratio for trial in front]
    qualities = [trial.quality for trial in front]
    assert ratios == sorted(ratios) and qualities == sorted(qualities, reverse=True)
    other = tried(scene, StaticPlan(**{**PLAN.document(), "share": 0.2}))  # type: ignore[arg-type]
    assert other.violation_ratio > best.violation_ratio or other.quality >= best.quality


def test_a_slowed_scene_is_served_later(arrivals: list[Arrival]) -> None:
    catalog = load_catalog(CATALOG)
    scene = scene_of(catalog, arrivals, confidences(len(arrivals), catalog.deferral[CATALOG]))
    slow = slowed(scene, 1.5)
    assert slow.heavy.execution_s(2) == pytest.approx(1.5 * scene.heavy.execution_s(2))
    assert tried(slow, PLAN).violation_ratio >= tried(scene, PLAN).violation_ratio


def test_the_solver_divides_all_workers(arrivals: list[Arrival]) -> None:
    catalog = load_catalog(CATALOG)
    scene = scene_of(catalog, arrivals, confidences(len(arrivals), catalog.deferral[CATALOG]))
    plan = plan_for_rate(scene, 8.0)
    assert plan is not None
    assert plan.light_workers + plan.heavy_workers == NUM_WORKERS
    assert plan_for_rate(scene, 10_000.0) is None


def test_every_query_without_an_answer_in_time_is_a_violation() -> None:
    recorder = Recorder()
    ends = [
        (Outcome.LIGHT, 1.0),
        (Outcome.HEAVY, 6.0),
        (Outcome.REJECTED, 0.1),
        (Outcome.EXPIRED, 5.0),
    ]
    for outcome, end_s in ends:
        recorder.arrived(0.0)
        recorder.finished(0.0, 5.0, outcome, end_s)
    table = QualityTable(load_catalog(CATALOG).quality[CATALOG])
    metrics = metrics_of(recorder, table, [0.0], duration_s=10.0)
    assert metrics["violation_ratio"] == pytest.approx(0.75)
    assert metrics["refused_ratio"] == pytest.approx(0.25)
    assert metrics["goodput_qps"] == pytest.approx(0.1)


def a_run(system: str, violations: float, fid: float) -> Run:
    metrics: Mapping[str, Any] = {
        "violation_ratio": violations,
        "quality_windowed": fid,
        "is_lower_better": True,
        "refused_ratio": 0.0,
        "goodput_qps": 8.0,
        "heavy_share": 0.4,
        "latency_s_p99": 1.0,
        "lag_s_p99": 0.002,
        "windows": {
            "start_s": [0.0],
            "arrivals": [4],
            "heavy_share": [0.4],
            "violations": [0],
        },
    }
    planning = "plans anew" if system == "DiffServe" else ORACLE
    return Run(system=system, planning=planning, seed=0, metrics=metrics)


def test_a_win_is_one_in_both_figures() -> None:
    ours = a_run("DiffServe", 0.01, 17.0)
    assert wins([ours, a_run("BentoML", 0.02, 17.5)]) is True
    assert wins([ours, a_run("BentoML", 0.0, 17.5)]) is False
    assert wins([ours, a_run("BentoML", 0.02, 16.5)]) is False
    assert wins([ours]) is None


def test_the_page_and_its_plots(tmp_path: Path) -> None:
    comparison = Comparison(
        runs=[a_run("DiffServe", 0.01, 17.0), a_run("BentoML", 0.02, 17.5)],
        skipped={},
        plans={0: {ORACLE: PLAN}},
        fronts={0: [Trial(plan=PLAN, violation_ratio=0.0, quality=17.7, heavy_share=0.3)]},
    )
    section = cascade_section(comparison, CascadeParameters())
    footed_section = footed(section, {"Ray Serve": "not installed: no wheel"}, "a command")
    page = page_of([footed_section])
    assert "| BentoML | oracle on the trace | 2.00 |" in page
    assert PLAN.text() in page and "Ray Serve: not installed: no wheel" in page
    draw(comparison, CascadeParameters(), tmp_path)
    for name in ("peers--cascade.svg", "peers--over-time.svg"):
        assert name in page and (tmp_path / name).stat().st_size > 1000
    assert document_of(comparison, {}, {"Mosec": 8}, {})["E3"] == {"Mosec": 8}


def test_what_became_of_stopped_and_killed_servers_is_told() -> None:
    stop = Stopping(answered=5, lost=0, late=Outcome.REJECTED, late_told_s=0.004)
    kill = Stopping(answered=4, lost=1, late=Outcome.LIGHT, late_told_s=1.0)
    section = stopping_section({"Mosec": stop}, {"Mosec": kill})
    assert f"| Mosec | 5 | 0 | {Outcome.REJECTED.value} | 4 | 4 | 1 | answered |" in section
    assert "| Mosec | 2001 |" in health_section({"Mosec": 2.001})
    document = steadiness_document({"Mosec": stop}, {}, {"Mosec": 2.0})
    assert document["E5"]["SIGTERM"]["Mosec"]["answered"] == 5
    assert json.loads(json.dumps(document))["E6"] == {"Mosec": 2.0}
    assert steadiness_document({}, {}, {}) == {}


async def test_diffserve_answers_what_it_accepted_before_it_stops() -> None:
    async with diffserve_running(EXECUTION_S) as system:
        found = await stopped(system)
    assert (found.answered, found.lost) == (5, 0)
    assert not found.late.is_answered


async def test_diffserves_health_answers_while_a_batch_runs() -> None:
    async with diffserve_running(PROBE_EXECUTION_S) as system:
        assert await slowest_probe_s(system) < 1.0


async def test_a_killed_worker_loses_nothing() -> None:
    async with diffserve_running(EXECUTION_S) as system:
        found = await killed(system)
    assert (found.answered, found.lost) == (5, 0)
    assert found.late.is_answered


def test_the_page_keeps_what_was_not_made_anew() -> None:
    before = page_of([["## E3: leaving", "old"], ["## E1: hops", "old"]])
    page = page_of([["## E7: cascade", "new"], ["## E1: hops", "new"]], before)
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## E7: cascade", "## E1: hops", "## E3: leaving"]
    assert page.count("\nnew") == 2 and page.count("\nold") == 1
    assert page_of([], page) == page


def test_what_was_executed_is_read_from_the_logs() -> None:
    assert executions_of("0 1.0 77\n3 2.5 77\n") == [2.5]
    log = "5.0 plan 1\n10.0 arrive a deadline=11.0\n10.1 launch batch=1 v on w: a,b\n"
    assert launches_of(log, 100.0) == pytest.approx([100.1, 100.1])


async def test_clients_that_were_refused_did_not_leave() -> None:
    async def refused(number: int, leave_s: float) -> Outcome:
        return Outcome.FAILED

    with pytest.raises(PeerError, match="ended otherwise"):
        await executions_after_leaving(System(ask=refused, executions_s=list))


def test_an_overload_is_summed_up() -> None:
    ended = [(Outcome.LIGHT, 0.2), (Outcome.REJECTED, 0.01), (Outcome.EXPIRED, 1.0)]
    found = overload_of(ended, [0.0, 0.9, 1.2])
    assert (found.in_time, found.refused, found.executed, found.executed_late) == (1, 1, 3, 1)


def test_a_mock_device_takes_down_what_it_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    images = Device([0.0, 0.0, 0.01], str(log), 6).run([4, 5])
    assert [len(image) for image in images] == [8, 8]
    assert [line.split()[0::2] for line in log.read_text().splitlines()] == [
        ["4", str(os.getpid())],
        ["5", str(os.getpid())],
    ]


def test_adapters_are_short_and_there_for_every_peer() -> None:
    adapters = ROOT / "benchmarks" / "peers" / "adapters"
    for peer in PEERS.values():
        kinds = ("worker", "cascade") if peer.has_cascade else ("worker",)
        for kind in kinds:
            text = (adapters / f"{peer.name}_{kind}.py").read_text()
            assert len(text.splitlines()) <= 60


def test_peers_with_settings_for_speed_are_measured_with_and_without() -> None:
    rows = list(as_they_come_and_tuned([PEERS["litserve"], PEERS["mosec"]]))
    assert [(peer.name, is_tuned) for peer, is_tuned in rows] == [
        ("litserve", False),
        ("litserve", True),
        ("mosec", False),
    ]


def test_names_on_the_command_line_are_checked() -> None:
    assert chosen("E1, E7", EXPERIMENTS, "--only") == ["E1", "E7"]
    assert chosen("", EXPERIMENTS, "--only") == list(EXPERIMENTS)
    with pytest.raises(typer.BadParameter, match="--only: 'E9'"):
        chosen("E9", EXPERIMENTS, "--only")


def test_loopback_is_brought_up_in_a_network_of_ones_own() -> None:
    code = (
        "from benchmarks.peers.namespace import raise_loopback; import socket; raise_loopback();"
        "s = socket.create_server(('127.0.0.2', 0)); socket.create_connection(s.getsockname());"
        "print(sorted(name for _, name in socket.if_nameindex()))"
    )
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-c", code]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "unshare failed" in done.stderr:
        pytest.skip("no network namespaces here")
    assert "lo" in done.stdout, done.stderr


SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
PARENT = f"import subprocess; subprocess.run({SLEEP!r}, start_new_session=True)"


def is_alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def running_parent(directory: Path) -> contextlib.AbstractAsyncContextManager[int]:
    """Run a process with a child in a session of its own; yield its id when both are there."""
    launch = Launch(
        command=(sys.executable, "-c", PARENT), config={}, directory=directory, environment={}
    )

    async def has_child() -> bool:
        return len(marked(f"{CONFIG_VARIABLE}={directory / 'config.json'}")) >= 2

    return running(launch, has_child)


async def test_a_peer_is_ended_with_what_moved_to_sessions_of_its_own(tmp_path: Path) -> None:
    async with running_parent(tmp_path) as pid:
        (child,) = descendants(pid)
        assert is_alive(child)
        assert rss_bytes(pid) > 1_000_000
    for _ in range(50):
        if not is_alive(child):
            break
        await asyncio.sleep(0.1)
    assert not is_alive(child) and not is_alive(pid)


async def test_what_outlives_a_peer_that_was_killed_is_ended_too(tmp_path: Path) -> None:
    async with running_parent(tmp_path) as pid:
        (child,) = descendants(pid)
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert is_alive(child)
    await asyncio.sleep(0.2)
    assert not is_alive(child)


async def test_a_peer_that_ends_at_once_says_why(tmp_path: Path) -> None:
    launch = Launch(
        command=(sys.executable, "-c", "raise SystemExit('no such model')"),
        config={},
        directory=tmp_path,
        environment={},
    )

    async def never() -> bool:
        return False

    with pytest.raises(PeerError, match="no such model"):
        async with running(launch, never):
            pass


def test_a_peer_that_needs_another_python_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = replace(PEERS["pytriton"], pythons=("3.2.1", "3.2.6"))
    with pytest.raises(PeerError, match=r"needs Python 3\.2\.1 to 3\.2\.6"):
        python_of(peer)
    monkeypatch.setattr(environments, "SYSTEM_PYTHON", "/no/such/python")
    with pytest.raises(PeerError, match="/no/such/python"):
        python_of(peer)
    assert python_of(PEERS["mosec"]) == sys.executable
    assert python_of(replace(peer, pythons=(platform.python_version(),))) == sys.executable
