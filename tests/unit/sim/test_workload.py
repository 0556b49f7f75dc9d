from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffserve.errors import ConfigError
from diffserve.sim.shapes import SHAPES
from diffserve.sim.workload import Workload, WorkloadParameters, make_workload


def made(seed: int = 0, **fields: object) -> Workload:
    return make_workload(WorkloadParameters(**fields), np.random.default_rng(seed))  # type: ignore[arg-type]


def times(workload: Workload) -> np.ndarray:
    return np.array([arrival.arrival_s for arrival in workload.arrivals])


@pytest.mark.parametrize("trace", SHAPES)
def test_shapes_have_their_peak_duration_and_count(trace: str) -> None:
    workload = made(trace=trace, peak_qps=50.0, duration_s=200.0)
    expected = SHAPES[trace](200.0).scaled_to(50.0).qps.sum()
    found = times(workload)
    assert (np.diff(found) >= 0.0).all()
    assert found[0] >= 0.0
    assert found[-1] < 200.0
    cv = 3.0 if trace == "gamma" else 1.0
    assert abs(len(found) - expected) < 5.0 * cv * np.sqrt(expected)
    assert workload.duration_s == 200.0


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_gaps_vary_as_asked(cv: float) -> None:
    gaps = np.diff(times(made(trace="poisson", peak_qps=100.0, duration_s=400.0, cv=cv)))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.06)


def test_same_seed_same_arrivals() -> None:
    assert (times(made(trace="azure")) == times(made(trace="azure"))).all()
    assert not np.array_equal(times(made(trace="azure")), times(made(seed=1, trace="azure")))


def test_flash_crowd_is_four_times_the_rest() -> None:
    qps = SHAPES["flash"](100.0).scaled_to(40.0).qps
    assert sorted(dict.fromkeys(qps.tolist())) == [10.0, 40.0]


def test_file_is_sorted_and_may_have_a_header(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_ms,prompt_id\n2000,7\n500,3\n\n1000.5,4\n")
    arrivals = list(made(trace=str(path)).arrivals)
    assert [(a.arrival_s, a.prompt_id) for a in arrivals] == [(0.5, 3), (1.0005, 4), (2.0, 7)]


def test_a_header_says_which_column_is_which(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("prompt_id, arrival_ms\n1,1000\n7.0,250\n")
    arrivals = list(made(trace=str(path)).arrivals)
    assert [(a.arrival_s, a.prompt_id) for a in arrivals] == [(0.25, 7), (1.0, 1)]


def test_file_is_drawn_again_on_its_curve(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("".join(f"{i * 100},1\n" for i in range(1000)))
    bursty = made(trace=str(path), cv=3.0)
    gaps = np.diff(times(bursty))
    assert gaps.std() / gaps.mean() > 2.0
    doubled = times(made(trace=str(path), peak_qps=20.0))
    assert len(doubled) == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1,2\nx,3\n", ":2: arrival_ms: 'x' is not a number"),
        ("x,3\n", ":1: arrival_ms: 'x' is not a number"),
        ("5\n", ":1: 1 fields, expected arrival_ms,prompt_id"),
        ("1,2,3\n", ":1: 3 fields, expected arrival_ms,prompt_id"),
        ("-1,2\n", ":1: arrival_ms"),
        ("1,1.5\n", r":1: prompt_id: '1\.5' is no whole number"),
        ("1,1e300\n", ":1: prompt_id: '1e300' is no whole number"),
        ("arrival_ms,prompt_id\n1,2\n\n3,x\n", ":4: prompt_id: 'x' is not a number"),
        ("arrival_ms,prompt_id\n1,2,3\n", ":2: 3 fields, the header has 2"),
        ("arrival_ms,prompt\n1,2\n", ":1: unknown column 'prompt'; expected arrival_ms,"),
        ("arrival_ms\n1\n", ":1: no column prompt_id; expected arrival_ms,prompt_id"),
        ("arrival_ms,arrival_ms\n1,2\n", ":1: no column prompt_id"),
        ("arrival_ms,prompt_id,prompt_id\n1,2,3\n", ":1: 3 columns; expected arrival_ms,prompt_id"),
        ("arrival_ms,prompt_id\n", "no arrivals"),
        ("", "no arrivals"),
    ],
)
def test_mistakes_name_the_line(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=names):
        made(trace=str(path))


def test_unknown_trace_lists_the_shapes() -> None:
    with pytest.raises(ConfigError, match="azure"):
        made(trace="azur")


def test_file_may_be_replayed_faster(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("0,1\n10000,2\n30000,3\n")
    workload = made(trace=str(path), speedup=10.0)
    assert times(workload).tolist() == [0.0, 1.0, 3.0]
    assert workload.duration_s == 4.0


@pytest.mark.parametrize("factor", [1.0, 2.0, 2.5, 60.0, 0.5])
def test_faster_curve_has_the_same_queries(factor: float) -> None:
    curve = SHAPES["azure"](100.0)
    faster = curve.faster(factor)
    assert faster.qps.sum() == pytest.approx(curve.qps.sum())
    assert len(faster.qps) == pytest.approx(100.0 / factor, abs=1.0)


def test_counts_of_minutes_are_drawn_on_their_curve(tmp_path: Path) -> None:
    path = tmp_path / "invocations.csv"
    minutes = range(1, 1441)
    path.write_text(
        f"HashOwner,HashApp,HashFunction,Trigger,{','.join(map(str, minutes))}\n"
        f"o,a,f,http,{','.join('600' if m <= 720 else '60' for m in minutes)}\n"
    )
    workload = made(trace=str(path), speedup=720.0, peak_qps=100.0)
    found = times(workload)
    assert workload.duration_s == 120.0
    assert (found < 60.0).sum() == pytest.approx(6000, rel=0.05)
    assert (found >= 60.0).sum() == pytest.approx(600, rel=0.15)
