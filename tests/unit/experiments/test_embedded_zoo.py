"""The page about the embedded models."""

from __future__ import annotations

from pathlib import Path

from diffserve.embedded.features import FEATURES
from diffserve.embedded.presets import HEAVY, LIGHT
from diffserve.embedded.summary import summarise
from diffserve.experiments.embedded_zoo import page
from diffserve.experiments.report import Made, write_page
from tests.unit.zoos import REQUEST, findings


def test_the_page_tells_what_was_measured_and_what_it_is_not(tmp_path: Path) -> None:
    result = page(summarise(findings(), REQUEST), ["A look at the sheet."], FEATURES)
    text = write_page(result, Made("diffserve evaluate", (0, 1), False), tmp_path).read_text()
    assert "**measured**" in text
    assert "simulat" not in text
    assert "**not FID or KID**" in text
    assert f"Fréchet distance, {FEATURES}" in text
    assert "A look at the sheet." in text
    assert f"On prompts with several objects `{HEAVY.name}` is right in 1.00" in text
    assert f"`{LIGHT.name}` in 0.00" in text
    assert "These are no medians: a figure is of all prompts together" in text
    for figure in result.figures:
        drawing = (tmp_path / f"embedded--{figure.name}.svg").read_text()
        assert "prompt accuracy" in drawing


def test_a_grade_of_all_prompts_is_told_apart_from_those_of_the_seeds(tmp_path: Path) -> None:
    """Of all prompts together another 40 % are deferred than of each seed's."""
    summary = summarise(findings(), REQUEST)
    (folder, grades), *_ = summary["discriminators"].items()
    grades["oracle_gain_share_at_40"] = [0.2712, 0.3029, None, 0.275]
    grades["auroc"]["checker"] = [0.8, 0.8, 0.8]
    grades["auroc"]["distance"] = [None, None, 0.5]
    tables = page(summary, [], FEATURES).tables
    row = next(r for t in tables if t.title == "Discriminators" for r in t.rows if folder in r[0])
    assert row[-3:] == ("0.80", "-", "0.27 (seeds 0.28-0.30)")
