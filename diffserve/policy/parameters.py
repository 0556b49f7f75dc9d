"""Limits of the policy, as drivers set them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerParameters:
    """Limits of the policy.

    Attributes:
        queue_length_max: Queries waiting per variant, at most.
        answer_margin_s: Answers are planned, and light fallbacks sent, this long before the
            deadline.
        num_retries_max: How often a query that lost its worker runs again.
        shadow_share: Share of accepted queries that idle heavy workers draw as well, for
            calibration (``policy.shadow``); 0: none.
    """

    queue_length_max: int = 1024
    answer_margin_s: float = 0.05
    num_retries_max: int = 1
    shadow_share: float = 0.0
