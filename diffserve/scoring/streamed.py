"""Scoring beside drawing on one CUDA device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from diffserve.scoring.base import Scorer


class StreamedScorer:
    """Scores on a CUDA stream of its own: on the usual one it would wait for the next batch.

    The stream goes first, since scoring is short and somebody waits for it.
    """

    def __init__(self, scorer: Scorer, device: str) -> None:
        """Make the stream.

        Args:
            scorer: On ``device`` already.
            device: ``cuda`` or ``cuda:N``.
        """
        self._scorer = scorer
        self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)  # the weights got there on the usual stream

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return what the scorer does."""
        with torch.cuda.stream(self._stream):
            return self._scorer.score(images, prompts)
