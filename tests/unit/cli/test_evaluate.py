"""``diffserve evaluate`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffserve.building.catalog_file import Profile
from diffserve.catalog import load_catalog
from diffserve.cli import evaluate
from diffserve.cli.evaluate import Options
from diffserve.cli.main import app
from diffserve.cli.output import CliError
from diffserve.embedded.evaluate import Request
from diffserve.embedded.presets import PRESETS
from tests.unit.zoos import findings

FEW = ["--variants", "sprite-tiny,sprite-light", "--prompts", "1", "--seeds", "1", "--jobs", "1"]


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False).stdout


def test_quick_prints_one_document_and_writes_nothing(tmp_path: Path) -> None:
    document = json.loads(run("--quick", "--json", *FEW, "--out", str(tmp_path)))
    assert document["light"] == "sprite-tiny"
    assert document["heavy"] == "sprite-light"
    for accuracy in document["prompt_accuracy"].values():
        assert accuracy.keys() == {"one", "hard"}
    assert {"auroc", "oracle_gain_share_at_40"} <= document["gate"].keys()
    assert {"accuracy_vs_heavy", "device_time_vs_heavy"} <= document["cascade"].keys()
    assert not list(tmp_path.iterdir())


def test_otherwise_a_page_and_pictures_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "sheet_prompts", lambda: ["an owl", "a cat"])
    said = run(*FEW, "--out", str(tmp_path))
    assert "embedded.md" in said
    assert "sprite-light: " in said
    page = (tmp_path / "results" / "embedded.md").read_text()
    pictures = {path.name for path in (tmp_path / "images").iterdir()}
    assert pictures == {
        "embedded-tiny.png",
        "embedded-light.png",
        "embedded-light-without-prompts.png",
    }
    assert all(f"(../images/{name})" in page for name in pictures)
    assert "diffserve evaluate --variants sprite-tiny,sprite-light --prompts 1 --seeds 1" in page


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--variants", "sprite-tiny,sprite-huge"], "sprite-huge"),
        (["--variants", "sprite-tiny"], "at least two"),
        (["--weights", "nowhere"], "nowhere"),
        (["--variants", "sprite-tiny,sprite-light", "--catalog", "a.toml"], "--catalog"),
    ],
)
def test_mistakes_are_named(arguments: list[str], says: str) -> None:
    with pytest.raises(CliError, match=says):
        run(*arguments)


def test_the_written_catalog_has_the_measured_curves_of_one_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Profile(
        execution_s={1: 0.5, 2: 0.5}, execution_s_p95={1: 0.6, 2: 0.6}, memory_bytes=9, load_s=0.1
    )
    monkeypatch.setattr(evaluate, "profile", lambda preset, weights: measured)
    path = tmp_path / "embedded.toml"
    evaluate.write_measured_catalog(findings(), Request(presets=PRESETS, seeds=(0,), count=1), path)
    catalog = load_catalog(str(path))
    assert catalog.default_cascade == "sprites"
    assert catalog.default_class.cascade_ids == ("sprites-fine", "sprites-fast")
    assert set(catalog.cascades) == set(catalog.default_class.cascade_ids)
    # Medium is wrong in one of 20, light where there is more than one object: in 5 of 6.
    fine, fast = (catalog.quality[cascade_id] for cascade_id in catalog.default_class.cascade_ids)
    assert fine.quality_at(0.0) == pytest.approx(0.95, abs=1e-3)
    assert fine.quality_at(0.05) == pytest.approx(1.0, abs=1e-3)
    assert fast.quality_at(0.0) == pytest.approx(1 / 6, abs=1e-3)
    assert fast.quality_at(5 / 6) == pytest.approx(1 / 6 + 5 / 6 * 0.95, abs=2e-2)


def test_the_shipped_catalog_is_what_would_be_written() -> None:
    """But for figures: whoever changes the one has to write the other."""
    catalog = load_catalog("embedded")
    assert catalog.default_cascade == evaluate.CLASS_ID
    shipped = [
        (cascade.cascade_id, cascade.light, cascade.heavy)
        for cascade in (catalog.cascades[c] for c in catalog.default_class.cascade_ids)
    ]
    assert shipped == [(c, light.name, heavy.name) for c, light, heavy in evaluate.SHIPPED]


def test_quick_asks_for_less() -> None:
    def request(*, quick: bool) -> Request:
        return Options(
            quick=quick,
            variants=(),
            count=None,
            num_seeds=3,
            out=Path(),
            weights=None,
            catalog=None,
            jobs=2,
        ).request()

    quick, full = request(quick=True), request(quick=False)
    assert quick.presets == full.presets == PRESETS
    assert quick.count < full.count
    assert full.with_features
    assert not quick.with_features
