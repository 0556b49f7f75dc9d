"""What the service asks of a scoring model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Scorer(Protocol):
    """Tells how well images match their prompts and look. Called on one thread only."""

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return confidences in [0, 1], (batch,), for ``images`` (batch, height, width, 3)."""
