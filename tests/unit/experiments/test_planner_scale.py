from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.errors import BackendError
from diffserve.experiments import planner_scale
from diffserve.experiments.report import Made, write_page
from diffserve.planning.solver import open_cbc
from tests.unit.experiments.canned import canned


def test_page_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if open_cbc() is None:
        pytest.skip("no CBC executable")
    monkeypatch.setattr(planner_scale, "QUICK_SIZES", (16, 40))
    monkeypatch.setattr(planner_scale, "QUICK_REPEATS", 1)
    result = planner_scale.run(canned(tmp_path))
    page = write_page(result, Made("diffserve reproduce", (0,), True), tmp_path / "out").read_text()
    assert "Gurobi" not in page and "CBC" in page
    assert "**measured**" in page and "**simulated**" not in page
    rows = result.data["rows"]
    assert len(rows) == 2 * len(planner_scale.CASES)
    for row in rows:
        assert row["num_variables"] <= 2000 and row["num_rows"] <= 2000
        assert row["gap"] <= 0.01 and row["regret"] >= 0.0
        assert 0.0 <= row["headroom"] <= 0.2
    assert {entry["workers"] for entry in result.data["parked"]} == {16, 40}
    assert all(entry["spare"] > 0 for entry in result.data["parked"])
    for table in result.tables:
        assert all(len(row) == len(table.columns) for row in table.rows), table.title


def test_other_solvers_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner_scale, "open_cbc", lambda: None)
    with pytest.raises(BackendError, match="needs CBC"):
        planner_scale.run(canned(tmp_path))


def test_devices_are_shared_out_as_told() -> None:
    workers = planner_scale.mixed_fleet(100).workers
    kinds = [w.kind for w in workers]
    assert [kinds.count(kind) for kind in "abc"] == [50, 30, 20]
    assert len(planner_scale.mixed_fleet(16).workers) == 16
