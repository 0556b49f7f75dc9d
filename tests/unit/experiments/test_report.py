from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure as Canvas

from diffserve.errors import ConfigError
from diffserve.experiments import report
from diffserve.experiments.experiment import Figure, Result, Table
from diffserve.experiments.report import Made, check_drawing, write_index, write_page

MADE = Made("diffserve reproduce --only example", (0,), False)


def line(canvas: Canvas) -> None:
    canvas.subplots().plot([0.0, 1.0], [0.0, 1.0])


def result(name: str = "example", *, figures: int = 1, simulated: bool = True) -> Result:
    return Result(
        name=name,
        title="An example",
        question="Does it work?",
        answer="Yes.",
        inputs=("Ours: everything.",),
        tables=[Table("Numbers", ("system", "x, %"), [("a", "1.5 (1-2)"), ("b", "-")], "A note.")],
        figures=[Figure(f"f{i}", "A line", line, "It rises.") for i in range(figures)],
        data={"x": 1.23456789, "none": math.nan, "many": [1, (2.0, math.inf)]},
        is_simulated=simulated,
    )


def test_page_has_its_parts(tmp_path: Path) -> None:
    page = write_page(result(), MADE, tmp_path).read_text()
    for part in (
        "# An example",
        "**Question.** Does it work?",
        "**Answer.** Yes.",
        "| system | x, % |",
        "| --- | ---: |",
        "| a | 1.5 (1-2) |",
        "A note.",
        "![A line](example--f0.svg)",
        "It rises.",
        "diffserve reproduce --only example",
        "seed 0",
        "* Ours: everything.",
        "**simulated**",
    ):
        assert part in page, part
    assert "quick" not in page
    assert "DIR" not in page


def test_whose_folder_it_takes_is_explained(tmp_path: Path) -> None:
    made = Made("diffserve reproduce --data DIR --only example", (0,), False)
    assert "`DIR` is a folder" in write_page(result(), made, tmp_path).read_text()


def test_measured_pages_do_not_claim_to_be_simulated(tmp_path: Path) -> None:
    page = write_page(result(simulated=False), MADE, tmp_path).read_text()
    assert "running deployment" in page
    assert "**simulated**" not in page


def test_numbers_are_plain_json(tmp_path: Path) -> None:
    write_page(result(), MADE, tmp_path)
    document = json.loads((tmp_path / "example.json").read_text())
    assert document["data"] == {"x": 1.23457, "none": None, "many": [1, [2.0, None]]}
    assert document["seeds"] == [0]


def test_figures_that_are_gone_are_removed(tmp_path: Path) -> None:
    write_page(result(figures=2), MADE, tmp_path)
    write_page(result(figures=1), MADE, tmp_path)
    assert [path.name for path in tmp_path.glob("*.svg")] == ["example--f0.svg"]


def test_figures_are_the_same_bytes_again(tmp_path: Path) -> None:
    write_page(result(), MADE, tmp_path / "a")
    write_page(result(), MADE, tmp_path / "b")
    first, second = ((tmp_path / x / "example--f0.svg").read_bytes() for x in "ab")
    assert first == second


def test_large_figures_become_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SVG_BYTES_MAX", 10)
    page = write_page(result(), MADE, tmp_path).read_text()
    assert "example--f0.png" in page
    assert not list(tmp_path.glob("*.svg"))


def test_index_lists_what_is_there_in_order(tmp_path: Path) -> None:
    write_page(result("b"), Made("x", (0,), True), tmp_path)
    write_page(result("a", simulated=False), MADE, tmp_path)
    (tmp_path / "embedded.json").write_text("{}")
    index = write_index(tmp_path, ("a", "missing", "b"), "diffserve reproduce").read_text()
    assert index.index("(a.md)") < index.index("(b.md)")
    assert "| measured |" in index
    assert "| simulated, quick |" in index
    assert "missing" not in index


def test_index_links_only_pages_that_are_there(tmp_path: Path) -> None:
    write_page(result("a"), MADE, tmp_path)
    index = write_index(tmp_path, ("a",), "diffserve reproduce").read_text()
    assert re.findall(r"\]\((.*?)\)", index) == ["a.md"]
    assert "commands of their own" not in index
    (tmp_path / "peers.md").touch()
    index = write_index(tmp_path, ("a",), "diffserve reproduce").read_text()
    assert re.findall(r"\]\((.*?)\)", index) == ["a.md", "peers.md"]


def test_without_matplotlib_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    check_drawing()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="reproduce"):
        check_drawing()
