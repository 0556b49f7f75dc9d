"""Scoring on a stream of its own, with a stand-in for CUDA's streams."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffserve.catalog import Discriminator, load_catalog
from diffserve.core import Population
from diffserve.scoring.loading import load_scorers

torch = pytest.importorskip("torch")

EVENTS: list[str] = []


class NotingScorer:
    """Notes where it is moved and when it scores."""

    @classmethod
    def from_pretrained(cls, directory: str) -> NotingScorer:
        return cls()

    def to(self, device: str) -> None:
        EVENTS.append(f"to {device}")

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        EVENTS.append("score")
        return np.full(len(images), 0.5, np.float32)


@contextlib.contextmanager
def current(stream: str) -> Iterator[None]:
    EVENTS.append(f"on {stream}")
    yield
    EVENTS.append("off")


def test_weights_are_there_before_the_stream_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    EVENTS.clear()

    def stream(device: str, priority: int) -> str:
        return f"{device} {priority}"

    monkeypatch.setattr(torch.cuda, "Stream", stream)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: EVENTS.append("synchronized"))
    entry: Any = Discriminator(
        discriminator_id="odd", scorer=f"{__name__}:NotingScorer", source=str(tmp_path)
    )
    catalog = dataclasses.replace(load_catalog("mock"), discriminators={"odd": entry})
    scorers = load_scorers(tuple(catalog.discriminators.values()), {}, "cuda:1", 1)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    assert scorers[Population("odd", "")].score(images, ["a", "b"]).tolist() == [0.5, 0.5]
    assert EVENTS == ["to cuda:1", "synchronized", "on cuda:1 -1", "score", "off"]
