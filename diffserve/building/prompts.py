"""Prompts with which variants are tried out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from diffserve.core import PROMPT_BYTES_MAX
from diffserve.errors import ConfigError
from diffserve.files import text_of
from diffserve.registry import SHIPPED

SHIPPED_PROMPTS = SHIPPED / "prompts.txt"


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file: one per line; blank lines and those that begin with # are none.

    Raises:
        ConfigError: it cannot be read, or a prompt is too long or there twice; names file and line.
    """
    try:
        lines = text_of(path).splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        prompt = line.strip()
        if not prompt or prompt.startswith("#"):
            continue
        if len(prompt.encode()) > PROMPT_BYTES_MAX:
            raise ConfigError(f"{path}:{number}: is longer than {PROMPT_BYTES_MAX} bytes")
        if prompt in found:
            # A head would be graded on what it was trained on.
            raise ConfigError(f"{path}:{number}: is the same as line {found[prompt]}")
        found[prompt] = number
    return list(found)


def shuffled(prompts: Sequence[str]) -> list[str]:
    """Return prompts in an order that tells nothing of theirs, and is the same every time.

    A prompt that is added or removed leaves the others in their order.
    """
    return sorted(prompts, key=_digest)


def seed_of(prompt: str) -> int:
    """Return the seed of a prompt's noise, the same for every variant; 0..2^32 - 1."""
    return int.from_bytes(_digest(prompt)[:4], "big")


def _digest(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode()).digest()
