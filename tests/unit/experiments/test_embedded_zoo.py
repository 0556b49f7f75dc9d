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
    for figure in result.figures:
        drawing = (tmp_path / f"embedded--{figure.name}.svg").read_text()
        assert "prompt accuracy" in drawing
