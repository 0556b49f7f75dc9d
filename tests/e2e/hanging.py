"""A pipeline that hangs on demand, once, as a device does whose driver is stuck."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

HANG = "hang "
"""Before the path of a file: whoever makes it hangs, and nobody after that."""
HANG_S = 3600.0


class HangingPipeline:
    """Draws grey images; a prompt may keep one device for ever."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}
        self.config: dict[str, Any] = {}

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Self:
        return cls()

    def to(self, device: str) -> Self:
        return self

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Have no progress bar."""

    def __call__(self, prompt: list[str], width: int, height: int) -> Any:
        for path in [Path(text.removeprefix(HANG)) for text in prompt if text.startswith(HANG)]:
            with contextlib.suppress(FileExistsError):
                path.touch(exist_ok=False)
                time.sleep(HANG_S)
        time.sleep(0.02)
        return SimpleNamespace(images=np.full((len(prompt), height, width, 3), 0.5))
