"""What the command line prints: one JSON document, or text and tables for people."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 140


class CliError(Exception):
    """Ends the command with one line on standard error.

    Attributes:
        exit_code: 2 for wrong usage or configuration, 1 for a failure.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def stdout() -> Console:
    """Return the console of answers."""
    return console_on(sys.stdout)


def stderr() -> Console:
    """Return the console of progress and errors."""
    return console_on(sys.stderr)


def console_on(stream: TextIO) -> Console:
    """Return a console that prints text as it is: names and reasons may hold brackets."""
    from rich.console import Console

    # A pipe has no width; rich would cut tables at 80 columns.
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, highlight=False, markup=False, width=width)


def emit_json(document: Mapping[str, Any]) -> None:
    """Print the one JSON document of a ``--json`` command and flush it.

    What is not a finite number, as a mean of nothing, is null: JSON has no other word for it.
    """
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_document(message: Message) -> dict[str, Any]:
    """Return a protobuf message as JSON values: all fields, in order, by their proto names.

    Unlike protobuf's own JSON, 64-bit integers stay numbers, and absent fields are null. Bytes are
    replaced by their length, which is all that a terminal wants to know of an image.
    """
    return {field.name: _field_value(message, field) for field in message.DESCRIPTOR.fields}


def _field_value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(key): _plain(value[key], item) for key in sorted(value)}
    if field.is_repeated:
        return [_plain(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain(value, field)


def _plain(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return to_document(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return len(value) if isinstance(value, bytes) else value


def table(*columns: str, spare: Sequence[str] = ()) -> Table:
    """Return an empty table; a column whose name starts with ``>`` is right-aligned.

    Args:
        columns: Headers.
        spare: Those that a narrow terminal may lack, the first to go first.
    """
    from diffserve.cli.fitting import FittingTable

    result = FittingTable(spare)
    for name in columns:
        side: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        result.add_column(name.removeprefix(">"), justify=side, overflow="fold")
    return result


def duration(seconds: float) -> str:
    """Return a duration in the unit that people would use."""
    if seconds < 1.0:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    if seconds < 7200.0:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def percent(fraction: float) -> str:
    """Return a fraction in percent, with a decimal where a whole number would hide it."""
    value = 100.0 * fraction
    return f"{value:.0f} %" if value in (0.0, 100.0) or value >= 10.0 else f"{value:.1f} %"


def joined(names: Iterable[str], empty: str = "-") -> str:
    """Return names separated by commas, or ``empty``."""
    return ", ".join(names) or empty
