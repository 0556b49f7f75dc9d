"""``diffserve reproduce`` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffserve.cli import reproduce
from diffserve.cli.main import app
from diffserve.cli.output import CliError
from diffserve.cli.reproduce import Request
from diffserve.errors import ConfigError
from diffserve.experiments.registry import NAMES
from tests.unit.experiments.canned import Canned


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "Context", Canned)


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, ["reproduce", *arguments], catch_exceptions=False).stdout


def test_list_names_every_experiment() -> None:
    listed = run("--list")
    assert all(name in listed for name in NAMES)


def test_pages_and_index_are_written(tmp_path: Path) -> None:
    out = tmp_path / "results"
    said = run("--quick", "--only", "bursts", "--only", "overload", "--out", str(out))
    assert {path.name for path in out.glob("*.md")} == {"README.md", "bursts.md", "overload.md"}
    assert "bursts.md" in said
    page = (out / "bursts.md").read_text()
    assert "\ndiffserve reproduce --quick --only bursts\n" in page
    assert "(bursts.md)" in (out / "README.md").read_text()


def request(**fields: object) -> Request:
    known = {"quick": False, "data": "", "only": (), "out": "x", "seeds": None, "jobs": 2}
    return Request(**{**known, **fields})  # type: ignore[arg-type]


def test_seeds_are_five_or_one_or_as_asked() -> None:
    assert request().num_seeds == 5
    assert request(quick=True).num_seeds == 1
    assert request(quick=True, seeds=3).num_seeds == 3


def test_command_makes_the_same_again_and_names_no_folder() -> None:
    asked = request(data="/home/somebody/data", seeds=3, quick=True)
    assert asked.command() == "diffserve reproduce --quick --data DIR --seeds 3"
    assert (
        asked.command("bursts") == "diffserve reproduce --quick --data DIR --only bursts --seeds 3"
    )


def test_a_folder_that_cannot_be_written_comes_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "write_page", pytest.fail)
    with pytest.raises(CliError, match="--out: cannot write /dev/null/x: Not a directory"):
        run("--only", "bursts", "--out", "/dev/null/x")
    (tmp_path / "notes").touch()
    with pytest.raises(CliError, match=r"--out: .*/notes is not a folder"):
        run("--only", "bursts", "--out", str(tmp_path / "notes"))


@pytest.mark.parametrize(
    ("arguments", "names"), [(["--only", "all"], "all"), (["--data", "/none"], "/none")]
)
def test_mistakes_come_before_any_work(arguments: list[str], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        run(*arguments)
