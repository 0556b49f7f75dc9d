"""Files and folders that commands write to: tried beforehand, so that no run is in vain."""

from __future__ import annotations

import errno
import os
import tempfile
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


def check_new(option: str, path: Path) -> None:
    """Find out whether a file can be written by one who makes its folder first; makes none yet.

    Raises:
        CliError: it cannot be; names the option.
    """
    if path.parent.exists():
        check_writable(option, str(path))
    else:
        make_folder(option, next(p for p in path.absolute().parents if p.exists()))


def make_folder(option: str, path: str | Path) -> None:
    """Make a folder for what a command will write, unless it is there already.

    Raises:
        CliError: it cannot be made or written into; names the option.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError:
        raise CliError(f"{option}: {path} is not a folder") from None
    except OSError as error:
        raise cannot_write(option, path, error) from None


def cannot_write(option: str, path: str | Path, error: OSError) -> CliError:
    """Return in one sentence that a file cannot be written, and why."""
    return CliError(f"{option}: cannot write {path}: {error.strerror}")
