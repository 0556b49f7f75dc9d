"""HADIS's experiment plans as its tables say, and asks for the runs that make it fair."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.catalog import load_catalog
from diffserve.experiments import hadis
from diffserve.experiments.hadis_planned import HADIS, OCTAVES, OURS, planners, study
from tests.unit.experiments.canned import canned

PLANNERS = planners()


@pytest.mark.parametrize(
    ("name", "fids"),
    [
        (HADIS, (20.50, 22.37, 23.85, 24.88)),
        ("HADIS, light capacity corrected", (20.50, 22.03, 23.85, 24.88)),
        ("DiffServe, turbo and large", (21.93, 23.95, 25.22, 25.22)),
        ("DiffServe, turbo and medium", (20.77, 22.37, 23.85, 25.22)),
    ],
)
def test_plans_on_the_table_are_exact(name: str, fids: tuple[float, ...]) -> None:
    assert [PLANNERS[name](qps) for qps in (1.2, 3.0, 5.0, 8.0)] == pytest.approx(fids)


@pytest.mark.parametrize(("qps", "fid"), [(1.2, 20.08), (8.0, 24.14)])
def test_mixing_pairs_beats_choosing_one(qps: float, fid: float) -> None:
    ours = PLANNERS[OURS](qps)
    assert ours == pytest.approx(fid, abs=0.02)
    assert ours < PLANNERS[HADIS](qps) - 0.3


def test_means_are_over_the_grids() -> None:
    found = study({"ends": (OCTAVES[0], OCTAVES[-1])})
    assert found.means[HADIS]["ends"] == pytest.approx((19.77 + 23.85) / 2)
    assert all(len(curve) == 2 for curve in found.curve.values())


def test_baselines_get_one_pair_and_everybody_the_same_machines(tmp_path: Path) -> None:
    runs = {name: hadis.simulation(*served) for name, served in hadis.SYSTEMS.items()}
    assert {run.hardware for run in runs.values()} == {hadis.hardware()}
    loads_s = {variant.load_s for variant in load_catalog("hadis").variants.values()}
    assert loads_s == {hadis.hardware().load_s}, "the simulator knows one figure"
    assert {name: len(run.cascades) for name, run in runs.items() if "turbo" in name} == {
        "diffserve, turbo and medium": 1,
        "diffserve-paper, turbo and medium": 1,
        "diffserve-paper, turbo and large": 1,
    }
    assert len(runs["hadis"].cascades) == len(runs["diffserve"].cascades) == 6
    assert {run.cascade.slo_s for run in runs.values()} == {6.0}
    result = hadis.run(canned(tmp_path))
    assert result.name == hadis.NAME
    assert [len(row) for row in result.tables[1].rows] == [len(result.tables[1].columns)] * 5
