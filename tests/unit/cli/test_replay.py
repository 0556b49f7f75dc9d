"""Prompts of a file, and the log of queries."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from diffserve.cli.output import CliError
from diffserve.cli.replay import COLUMNS, prompts_of, write_log
from diffserve.core import Outcome
from diffserve.embedded.captions import split_words, vocabulary
from diffserve.errors import ConfigError
from diffserve.replay.client import Answer


def test_prompts_of_a_file_repeat(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("an owl\n\n  a boat  \n")
    prompt_of = prompts_of(str(file))
    assert [prompt_of(index) for index in range(3)] == ["an owl", "a boat", "an owl"]


def test_without_a_file_prompts_are_scenes_of_words_that_the_embedded_models_know() -> None:
    prompt_of = prompts_of("")
    prompts = [prompt_of(number) for number in range(60)]
    assert prompts == [prompt_of(number) for number in range(60)]
    assert len(set(prompts)) > 50
    assert set(split_words(" ".join(prompts))) <= set(vocabulary())


@pytest.mark.parametrize("content", [None, "", " \n\n"])
def test_a_file_without_prompts_is_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CliError, match="--prompts"):
        prompts_of(str(file))


def test_prompts_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"an owl\n\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"prompts\.txt:2: is no UTF-8"):
        prompts_of(str(file))


def answer(outcome: Outcome, variant_id: str = "", error: str = "") -> Answer:
    return Answer(
        index=3,
        prompt_id=9,
        arrival_s=1.5,
        lag_s=0.001,
        latency_s=0.25,
        outcome=outcome,
        variant_id=variant_id,
        error=error,
    )


def test_the_log_has_a_row_per_query(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    write_log(
        str(file), [answer(Outcome.HEAVY, "big"), answer(Outcome.EXPIRED, error="late, sorry")]
    )
    with file.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert [row["outcome"] for row in rows] == ["heavy", "expired"]
    assert rows[0]["variant"] == "big"
    assert float(rows[0]["latency_s"]) == 0.25
    assert rows[1]["error"] == "late, sorry"


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="--log"):
        write_log(str(tmp_path / "no" / "log.csv"), [])
