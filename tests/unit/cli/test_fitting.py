"""Tables on narrow terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from diffserve.cli.fitting import fit
from diffserve.cli.output import table


def shown(width: int) -> str:
    rows = table("worker", ">waits", "address", "holds too", "because", spare=("holds too",))
    rows.columns[-1].min_width = 12
    rows.add_row("w-0", "650 ms", "127.0.0.1:28298", "one-variant, another", "three short words")
    stream = io.StringIO()
    Console(file=stream, width=width, markup=False, highlight=False).print(rows)
    return stream.getvalue()


def words(text: str) -> list[str]:
    return text.split()


def test_where_there_is_room_nothing_changes() -> None:
    header, row = shown(100).splitlines()
    assert words(header) == ["worker", "waits", "address", "holds", "too", "because"]
    assert row.split("  ")[0] == "w-0"
    assert "one-variant, another" in row
    assert "three short words" in row


def test_text_wraps_between_words_and_numbers_not_at_all() -> None:
    text = shown(64)
    for whole in ("650 ms", "127.0.0.1:28298", "one-variant,", "another", "three short"):
        assert whole in text
    assert "one-variant, another" not in text
    assert max(len(line) for line in text.splitlines()) <= 64


def test_the_least_needed_column_goes_before_words_break() -> None:
    text = shown(50)
    assert "holds" not in text
    assert "another" not in text
    assert "127.0.0.1:28298" in text
    assert max(len(line) for line in text.splitlines()) <= 50


def test_where_nothing_helps_cells_are_folded_and_none_is_lost() -> None:
    text = shown(20)
    assert max(len(line) for line in text.splitlines()) <= 20
    assert "holds" not in text


def test_an_empty_table_is_its_header() -> None:
    stream = io.StringIO()
    Console(file=stream, width=40).print(table("worker", ">waits"))
    assert words(stream.getvalue()) == ["worker", "waits"]


@pytest.mark.parametrize(
    ("widths", "room", "given"),
    [
        ([(3, 9), (3, 5)], 14, [9, 5]),
        ([(3, 9), (3, 5)], 10, [5, 5]),
        ([(8, 9), (3, 5)], 11, [8, 3]),
        ([(8, 9), (3, 5)], 10, [None, None]),
        ([], 10, []),
    ],
)
def test_the_widest_is_made_narrower_first(
    widths: list[tuple[int, int]], room: int, given: list[int | None]
) -> None:
    assert fit(widths, room) == given
