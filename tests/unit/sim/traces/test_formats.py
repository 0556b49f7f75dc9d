"""A tiny made-up file of each format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from diffserve.errors import ConfigError
from diffserve.sim.shapes import RateCurve
from diffserve.sim.traces.contents import Contents, Instants
from diffserve.sim.traces.formats import FORMATS
from diffserve.sim.traces.reading import detected, read_trace

FILES = {
    "plain": "arrival_ms,prompt_id\n2500,9\n0,3\n1000,4\n",
    "gentd26": (
        "gmt_create,predict_type,predict_status,exec_time_seconds,groupId\n"
        "2024-11-15 16:57:52,TXT_2_IMG,SUCCEED,32.0,G0000\n"
        "2024-11-15 16:57:50,TXT_2_IMG,SUCCEED,32.0,G0000\n"
        "2024-11-15 16:57:49,INPAINTING,SUCCEED,9.0,G0001\n"
        "2024-11-15 16:57:51,TXT_2_IMG,FAILED,3.0,G0019\n"
    ),
    "azure-functions-2021": (
        "app,func,end_timestamp,duration\na,f,105.5,0.5\na,g,110,9\nb,f,103.5,0.5\n"
    ),
    "azure-lmm-2025": (
        "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
        "2024-10-15T12:00:02.500Z,1,949,126\n"
        "2024-10-15T12:00:00.000Z,0,770,491\n"
        "2024-10-15T12:00:01.000Z,1,964,79\n"
    ),
    "diffusiondb": (
        "image_name,prompt,timestamp\n"
        "a.png,an owl,2022-08-11 09:05:00+00:00\n"
        'b.png,"an owl, again",2022-08-11 09:03:00+00:00\n'
        "c.png,deleted,\n"
        "d.png,deleted,NaT\n"
        "e.png,a cat,2022-08-11 09:04:00+00:00\n"
    ),
}
EXPECTED_S = {
    "plain": [0.0, 1.0, 2.5],
    "gentd26": [0.0, 1.0, 2.0],
    "azure-functions-2021": [0.0, 2.0, 4.0],
    "azure-lmm-2025": [0.0, 1.0, 2.5],
    "diffusiondb": [0.0, 60.0, 120.0],
}


def written(tmp_path: Path, text: str, name: str = "trace.csv") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def instants(contents: Contents) -> Instants:
    assert isinstance(contents, Instants)
    return contents


@pytest.mark.parametrize("name", FILES)
def test_format_is_found_and_read(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, FILES[name])
    assert detected(path) == name
    for trace_format in ("auto", name):
        contents = instants(read_trace(path, trace_format))
        assert contents.times_s.tolist() == pytest.approx(EXPECTED_S[name])
        assert len(contents.prompt_ids) == len(contents.times_s)


def test_plain_files_keep_their_prompts_in_the_order_of_time(tmp_path: Path) -> None:
    contents = instants(read_trace(written(tmp_path, FILES["plain"])))
    assert contents.prompt_ids.tolist() == [3, 4, 9]


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(FILES["azure-lmm-2025"].encode()))
    assert instants(read_trace(str(path))).times_s.tolist() == [0.0, 1.0, 2.5]


def test_language_model_traces_of_other_years_are_read(tmp_path: Path) -> None:
    rows = "2023-11-16 18:01:51.1234567,10,1\n2023-11-16 18:01:50.1234567,10,1\n"
    path = written(tmp_path, f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    assert instants(read_trace(path)).times_s.tolist() == pytest.approx([0.0, 1.0])


def invocations(counts: list[list[int]]) -> str:
    minutes = ",".join(str(minute) for minute in range(1, 1441))
    rows = [
        f"o,a,f{index},http," + ",".join(map(str, row + [0] * (1440 - len(row))))
        for index, row in enumerate(counts)
    ]
    return "\n".join([f"HashOwner,HashApp,HashFunction,Trigger,{minutes}", *rows, ""])


def test_counts_per_minute_become_a_curve(tmp_path: Path) -> None:
    path = written(tmp_path, invocations([[60, 0, 600], [60, 30]]))
    assert detected(path) == "azure-functions-2019"
    curve = read_trace(path)
    assert isinstance(curve, RateCurve)
    assert len(curve.qps) == 24 * 3600
    assert curve.qps[[0, 59, 60, 120, 180]].tolist() == [2.0, 2.0, 0.5, 10.0, 0.0]


@pytest.mark.parametrize("first", ["2024-05-01T00:00:00Z", 1_714_521_600, 1_714_521_600_000])
def test_katz_may_write_the_time_in_several_ways(tmp_path: Path, first: str | int) -> None:
    entries = [{"timestamp": 1_714_521_601, "loras": None}, {"timestamp": first, "ip": "x"}]
    path = written(tmp_path, json.dumps(entries), "requests.json")
    assert instants(read_trace(path)).times_s.tolist() == pytest.approx([0.0, 1.0])


WRONG = [
    ("gentd26", "soon,TXT_2_IMG", r"trace.csv:3: gmt_create: 'soon'"),
    ("azure-functions-2021", "a,f,x,1", r"trace.csv:3: end_timestamp: 'x' is not a number"),
    ("azure-functions-2021", "a,f,5,-1", r"trace.csv:3: duration: must be 0 or more"),
    ("azure-lmm-2025", "noon,1,2,3", r"trace.csv:3: TIMESTAMP: 'noon'"),
    ("diffusiondb", "a.png,owl,yesterday", r"trace.csv:3: timestamp: 'yesterday'"),
    ("azure-lmm-2025", "2024-10-15T12:00:00Z,1", r"trace.csv:3: 2 fields, the header has 4"),
]


@pytest.mark.parametrize(("name", "row", "error"), WRONG)
def test_wrong_rows_are_named_with_their_field(
    tmp_path: Path, name: str, row: str, error: str
) -> None:
    header, good = FILES[name].splitlines()[:2]
    if name == "gentd26":
        header, good = "gmt_create,predict_type", "2024-11-15 16:57:52,TXT_2_IMG"
    with pytest.raises(ConfigError, match=error):
        read_trace(written(tmp_path, f"{header}\n{good}\n{row}\n"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"timestamp": 1}', "expected one JSON array"),
        ('[{"timestamp": 1}, {"time": 2}]', "entry 2: timestamp: there is none"),
        ('[{"timestamp": 1},\n {"timestamp": "x"}]', ":2: timestamp: 'x'"),
        ('[{"timestamp": 1},\n oops]', ":2: "),
        ("[]", "no arrivals"),
    ],
)
def test_wrong_json_is_named(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        read_trace(written(tmp_path, text, "requests.json"))


def test_counts_may_not_be_negative(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trace.csv:2: 2: must be 0 or more"):
        read_trace(written(tmp_path, invocations([[1, -1]])))


def test_a_named_format_must_have_its_columns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r":1: no column gmt_create, predict_type"):
        read_trace(written(tmp_path, FILES["plain"]), "gentd26")


def test_unknown_formats_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="katz"):
        read_trace(written(tmp_path, FILES["plain"]), "clarknet")


def test_parquet_without_its_reader_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        read_trace(written(tmp_path, "PAR1", "metadata.parquet"))


def test_binary_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xff\xfe\x00\x9c")
    with pytest.raises(ConfigError, match="not a readable text file"):
        read_trace(str(path))


def test_damaged_packed_files_are_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"1,1\n2,2\n" * 2000))
    packed[15:40] = bytes(25)
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(packed)
    with pytest.raises(ConfigError, match="not a readable text file"):
        read_trace(str(path))


EPOCH_MS = 1_764_468_000_000


def test_plain_times_may_begin_at_an_epoch(tmp_path: Path) -> None:
    rows = f"{EPOCH_MS + 1500},7\n{EPOCH_MS},3\n"
    assert instants(read_trace(written(tmp_path, rows))).times_s.tolist() == [0.0, 1.5]
    # Up to a day it is an offset: the load begins later.
    assert instants(read_trace(written(tmp_path, "5000,1\n7000,2\n"))).times_s[0] == 5.0


@pytest.mark.parametrize("late", [f"{EPOCH_MS}", "1e15", "1e300", "2592001000"])
def test_one_time_that_is_far_off_is_named(tmp_path: Path, late: str) -> None:
    path = written(tmp_path, f"arrival_ms,prompt_id\n{late},1\n0,2\n1000,3\n")
    problem = r"trace\.csv:2: arrival_ms: more than 30 days after the first arrival \(line 3\)"
    with pytest.raises(ConfigError, match=problem):
        read_trace(path)


def test_other_formats_name_their_own_column(tmp_path: Path) -> None:
    rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-10-15T12:00:00Z,1,1\n0,1,1\n"
    with pytest.raises(ConfigError, match=r":2: TIMESTAMP: more than 30 days .* \(line 3\)"):
        read_trace(written(tmp_path, rows))


def test_a_long_trace_may_be_replayed_faster(tmp_path: Path) -> None:
    path = written(tmp_path, "0,1\n8640000000,2\n")
    assert instants(read_trace(path, speedup=100.0)).times_s.tolist() == [0.0, 86400.0]
    with pytest.raises(ConfigError, match=r":2: arrival_ms: .* at this speedup"):
        read_trace(path, speedup=2.0)
    with pytest.raises(ConfigError, match="lasts more than 30 days at this speedup"):
        read_trace(written(tmp_path, invocations([[60]])), speedup=0.001)


def test_every_format_says_what_it_is() -> None:
    assert all(known.about for known in FORMATS.values())


def test_rounded_times_are_spread_over_what_they_stand_for() -> None:
    minute = Instants.of(enumerate([60.0] * 1000), resolution_s=60.0)
    spread = minute.spread(np.random.default_rng(0))
    assert (np.diff(spread.times_s) >= 0.0).all()
    assert 60.0 <= spread.times_s[0] < 61.0
    assert 119.0 < spread.times_s[-1] < 120.0
    again = minute.faster(60.0).spread(np.random.default_rng(0))
    assert again.times_s.tolist() == pytest.approx((spread.times_s / 60.0).tolist())
    exact = Instants.of([(1, 1.0)])
    assert exact.spread(np.random.default_rng(0)) is exact
