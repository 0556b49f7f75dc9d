"""``diffserve train`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffserve.cli.main import app
from diffserve.cli.output import CliError


def test_a_short_training_leaves_weights(tmp_path: Path) -> None:
    arguments = ["train", "light", "--scale", "0.0005", "--batch-size", "4", "--threads", "1"]
    answer = CliRunner().invoke(
        app, [*arguments, "--run-dir", str(tmp_path), "--json"], catch_exceptions=False
    )
    folder = Path(json.loads(answer.stdout)["light"])
    assert (folder / "model_index.json").exists()
    assert (tmp_path / "light" / "planner" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [(["enormous"], "enormous"), (["light", "--device", "abacus"], "abacus")],
)
def test_mistakes_are_named(arguments: list[str], names: str) -> None:
    with pytest.raises(CliError, match=names):
        CliRunner().invoke(app, ["train", *arguments], catch_exceptions=False)
