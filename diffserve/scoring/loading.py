"""Loads scoring models: the mock, or any class with ``from_pretrained`` and ``score``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffserve.catalog import Discriminator
from diffserve.core import Population
from diffserve.errors import ConfigError
from diffserve.profiles.curves import DeferralProfile
from diffserve.scoring.base import Scorer
from diffserve.scoring.mock import MockScorer

MOCK_SCORER = "mock"


def load_scorers(
    discriminators: Sequence[Discriminator],
    profiles: Mapping[Population, DeferralProfile],
    device: str,
    num_threads: int,
) -> dict[Population, Scorer]:
    """Return the scorer of each discriminator. Call it on the thread that will score.

    A model that looks at images is there once, for images of whatever variant (an empty one). A
    mock knows besides which confidences the images of each variant shall have.

    Args:
        discriminators: To load.
        profiles: Which confidences a mock gives; to other variants' images as to those of its
            first profile, and even ones without any.
        device: Where the models run; ``auto`` finds out.
        num_threads: CPU threads.

    Raises:
        ConfigError: a class or its weights cannot be loaded; names the field.
    """
    if any(discriminator.scorer != MOCK_SCORER for discriminator in discriminators):
        device = _prepare_torch(device, num_threads)
    scorers: dict[Population, Scorer] = {}
    for discriminator in discriminators:
        name = discriminator.discriminator_id
        if discriminator.scorer == MOCK_SCORER:
            own = {p: MockScorer(f) for p, f in profiles.items() if p.discriminator == name}
            whatever_drew: Scorer = next(iter(own.values()), MockScorer())
            scorers.update(own)
        else:
            whatever_drew = _load(discriminator, device)
            if device.startswith("cuda"):
                from diffserve.scoring.streamed import StreamedScorer

                whatever_drew = StreamedScorer(whatever_drew, device)
        scorers[Population(name, "")] = whatever_drew
    return scorers


def _load(discriminator: Discriminator, device: str) -> Scorer:
    where = f"discriminator.{discriminator.discriminator_id}"
    module_name, _, class_name = discriminator.scorer.partition(":")
    try:
        scorer_class: Any = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}.scorer: {discriminator.scorer!r}: {error}") from None
    if not Path(discriminator.source).is_dir():
        raise ConfigError(f"{where}.source: no directory {discriminator.source!r}")
    try:
        scorer: Scorer = scorer_class.from_pretrained(discriminator.source)
        # A torch module moves in place; other scorers need no device.
        if hasattr(scorer, "to"):
            scorer.to(device)
    except Exception as error:
        text = " ".join(str(error).split())[:500]
        raise ConfigError(f"{where}.source: {type(error).__name__}: {text}") from None
    return scorer


def _prepare_torch(device: str, num_threads: int) -> str:
    """Pin torch's threads on this thread and return the device to use."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import torch
    except ImportError:
        raise ConfigError("catalog: its discriminators need torch") from None
    torch.set_num_threads(num_threads)
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return device
