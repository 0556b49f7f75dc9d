"""Every experiment makes a page from whatever simulations come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffserve.errors import ConfigError
from diffserve.experiments import loads, simulator_scale
from diffserve.experiments.registry import NAMES, load
from diffserve.experiments.report import Made, write_page
from tests.unit.experiments.canned import canned, metrics

SIMULATED = (
    *("main_trace", "published_system", "bursts", "overload", "other_cascades", "faults"),
    *("slo_sweep", "cluster_size", "ablations", "drift"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in (loads.AUTHORS_MAIN, loads.AUTHORS_OVERLOAD, loads.AUTHORS_LARGE):
        (folder / name).write_text("0,1\n1000,2\n")
    return folder


@pytest.mark.parametrize("name", SIMULATED)
def test_page_is_whole(name: str, tmp_path: Path, data: Path) -> None:
    result = load(name).run(canned(tmp_path, data=data))
    assert result.name == name
    out = tmp_path / "out"
    page = write_page(result, Made("diffserve reproduce --data DIR", (0, 1), True), out).read_text()
    assert "simulated" in page
    assert "diffserve reproduce --data DIR" in page
    assert "seeds 0, 1" in page
    assert "authors'" in page
    assert str(tmp_path) not in page
    document = json.loads((out / f"{name}.json").read_text())
    assert document["data"]
    assert str(tmp_path) not in json.dumps(document)
    figures = sorted(out.glob(f"{name}--*"))
    assert len(figures) == len(result.figures)
    assert all(figure.name in page for figure in figures)
    for table in result.tables:
        assert all(len(row) == len(table.columns) for row in table.rows), table.title


@pytest.mark.parametrize("name", SIMULATED)
def test_quick_asks_for_less_and_nobody_needs_the_authors_files(name: str, tmp_path: Path) -> None:
    full = load(name).run(canned(tmp_path, quick=False))
    quick = load(name).run(canned(tmp_path))
    assert sum(len(t.rows) for t in quick.tables) <= sum(len(t.rows) for t in full.tables)
    assert not any("of their artifact, the same" in line for line in full.inputs)


def test_speed_is_measured_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def short(arguments: tuple[str, ...]) -> dict[str, object]:
        asked.append(arguments)
        return metrics() | {"peak_bytes": 5e7, "wall_s": 2.0, "cpu_s": 1.0, "load_average": 3.0}

    monkeypatch.setattr(simulator_scale, "_run_alone", short)
    context = canned(tmp_path, quick=False)
    first = simulator_scale.run(context)
    assert ["10000" in arguments for arguments in asked] == [False, True, True]
    assert first.tables[0].rows[0][7] == "50"
    assert simulator_scale.run(context) == first
    assert len(asked) == 3, "known results are not measured again"


def test_a_small_run_really_has_its_time_and_memory() -> None:
    found = simulator_scale._run_alone(("--workers", "2", "--peak-qps", "1", "--duration", "5"))
    assert found["workers"] == 2
    assert 1e7 < found["peak_bytes"] < 1e9
    assert 0.0 < found["cpu_s"] < 60.0


def test_missing_file_of_the_authors_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=loads.AUTHORS_MAIN):
        loads.main_loads(canned(tmp_path, data=tmp_path))
    with pytest.raises(ConfigError, match="not a folder"):
        loads.data_folder(str(tmp_path / "none"))


def test_unknown_experiment_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="main_trace"):
        load("main_tracer")


def test_registered_modules_name_themselves() -> None:
    for name in NAMES:
        assert load(name).name == name
        assert load(name).title
