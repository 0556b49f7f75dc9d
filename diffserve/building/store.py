"""Finished steps of a build on disk, for an interrupted build to go on."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class Store:
    """Finished steps by name; a finished build forgets them.

    Files are pickles of our own, in a folder of the checkout that nobody else writes to.
    """

    def __init__(self, folder: Path) -> None:
        """Keep steps in ``folder``, which is named after everything that they depend on."""
        self._folder = folder

    def load(self, name: str) -> Any:
        """Return what was stored, or None."""
        path = self._folder / f"{name}.pickle"
        try:
            return pickle.loads(path.read_bytes())
        except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError):
            return None

    def save(self, name: str, value: object) -> None:
        """Store a finished step, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{name}.part"
        part.write_bytes(pickle.dumps(value))
        part.rename(self._folder / f"{name}.pickle")

    def forget(self) -> None:
        """Remove everything: the next build measures the device as it is then."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def remember(self, name: str, make: Callable[[], ResultT]) -> ResultT:
        """Return what was stored, or make and store it."""
        found: ResultT | None = self.load(name)
        if found is None:
            found = make()
            self.save(name, found)
        return found
