"""Rows of a CSV file with a header, and the parsing of their fields; mistakes name the place."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from diffserve.errors import ConfigError

MILLISECONDS_ABOVE = 1e11
"""A numeric timestamp beyond this counts milliseconds: as seconds it would be the year 5138."""
WHOLE_MAX = 2**53
"""Larger whole numbers are not all floating-point numbers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or one JSON object, and where it stands.

    Attributes:
        path: File.
        number: Line of the file, or place of the object, from 1.
        fields: By column.
    """

    path: str
    number: int
    fields: Mapping[str, object]

    def text(self, column: str) -> str:
        """Return a field without surrounding blanks; empty when there is none."""
        value = self.fields.get(column)
        return "" if value is None else str(value).strip()

    def number_of(self, column: str) -> float:
        """Return a field as a finite number of at least 0."""
        try:
            value = float(self.text(column))
        except ValueError:
            raise self.error(column, f"{self.text(column)!r} is not a number") from None
        if not 0.0 <= value < float("inf"):
            raise self.error(column, "must be 0 or more")
        return value

    def whole_of(self, column: str) -> int:
        """Return a field as a whole number of at least 0, which may be written as 3.0."""
        value = self.number_of(column)
        if not (value.is_integer() and value <= WHOLE_MAX):
            raise self.error(column, f"{self.text(column)!r} is no whole number up to {WHOLE_MAX}")
        return int(value)

    def instant_s(self, column: str) -> float:
        """Return a field that says when, as seconds since 1970.

        ISO 8601, UTC unless it says otherwise; or seconds or milliseconds since 1970.
        """
        text = self.text(column)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        try:
            value = float(text)
        except ValueError:
            raise self.error(column, f"{text!r} is neither ISO 8601 nor a number") from None
        if not 0.0 <= value < float("inf"):
            raise self.error(column, "must be 0 or more")
        return value / 1000.0 if value > MILLISECONDS_ABOVE else value

    def error(self, column: str, problem: str) -> ConfigError:
        """Return what is wrong with a field."""
        return ConfigError(f"{self.path}:{self.number}: {column}: {problem}")


def opened(path: str) -> TextIO:
    """Open a text file for reading, unpacked if its name ends in ``.gz``."""
    if Path(path).suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return Path(path).open(encoding="utf-8-sig", newline="")


def header_of(path: str) -> tuple[str, ...]:
    """Return the fields of the first line."""
    with opened(path) as file:
        return tuple(name.strip() for name in next(csv.reader(file), []))


def rows_of(path: str, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows after the header; empty lines are skipped.

    Args:
        path: File.
        columns: Of a file without a header.

    Raises:
        ConfigError: a row has more or fewer fields than there are columns.
    """
    with opened(path) as file:
        reader = csv.reader(file)
        names = columns or [name.strip() for name in next(reader, [])]
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(names):
                there = (
                    f"expected {','.join(columns)}" if columns else f"the header has {len(names)}"
                )
                raise ConfigError(f"{path}:{reader.line_num}: {len(fields)} fields, {there}")
            yield Row(path, reader.line_num, dict(zip(names, fields, strict=True)))
