"""Files that users write."""

from __future__ import annotations

from pathlib import Path

from diffserve.errors import ConfigError


def text_of(path: str | Path) -> str:
    """Return what a text file holds.

    Raises:
        OSError: it cannot be read; the caller knows what the file is for.
        ConfigError: it is no UTF-8; names file and line.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{number}: is no UTF-8") from None
