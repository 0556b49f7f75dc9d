"""Which failures a client may try again, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from diffserve.errors import DiffServeError, OverloadedError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often and how patiently a client tries again.

    Only two failures are tried again: a server that is not there or drains, and a refusal at the
    door. Each try carries the same query id, by which a server that did get the first one knows
    it: no query is drawn twice. A deadline that passed or a variant that failed is the answer.

    Attributes:
        num_max: Tries after the first; 0 never tries again.
        pause_s: First pause after a server that is not there; each next one is twice as long.
    """

    num_max: int = 3
    pause_s: float = 0.1

    def pause_after(self, error: DiffServeError, num_tries: int, left_s: float) -> float | None:
        """Return how long to wait before the next try; None: give up.

        Args:
            error: How the last try ended.
            num_tries: Tries so far, at least 1.
            left_s: Seconds left until the deadline of the query.
        """
        if num_tries > self.num_max:
            return None
        if isinstance(error, OverloadedError):
            pause_s = max(self.pause_s, error.retry_after_s)
        elif isinstance(error, UnavailableError):
            pause_s = self.pause_s * 2.0 ** (num_tries - 1)
        else:
            return None
        return pause_s if pause_s < left_s else None
