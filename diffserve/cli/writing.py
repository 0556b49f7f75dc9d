"""Files that commands write once they are done: tried beforehand, so that no run is in vain."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from diffserve.cli.output import CliError


def check_writable(option: str, path: str) -> None:
    """Find out whether a file can be written; what is there stays, and no file is left behind.

    Args:
        option: Which names the file, for the error.
        path: Of the file; empty: none is asked for.

    Raises:
        CliError: it cannot be.
    """
    if not path:
        return
    try:
        file = Path(path).resolve()
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        is_new = not file.exists()
        # Only opening finds out; but a pipe has a reader, which would take it for the end.
        if is_new or file.is_file():
            file.open("ab").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise cannot_write(option, path, error) from None


def cannot_write(option: str, path: str, error: OSError) -> CliError:
    """Return in one sentence that a file cannot be written, and why."""
    return CliError(f"{option}: cannot write {path}: {error.strerror}")
