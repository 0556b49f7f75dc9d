"""Whether a query skips the light variant: the hardest, by their prompts. Pure. HADIS: §3."""

from __future__ import annotations

from diffserve.core import Preference, Query


def bypass_reason(query: Query, fraction: float, heavy_answer_s: float, slack_s: float) -> str:
    """Return why a query goes straight to the heavy variant; empty when it does not.

    Without a light image there is nothing to fall back on, so a query that the heavy variant could
    not answer in time draws a light image first, as all others do.

    Args:
        query: With the rank of its difficulty, if somebody ranked its prompt.
        fraction: Share to bypass now, 0..1.
        heavy_answer_s: Expected seconds until the heavy image; infinite without heavy workers.
        slack_s: Seconds until the query's deadline, answer margin taken off.
    """
    if query.difficulty is None or query.preference is not Preference.AUTO:
        return ""
    if query.difficulty < 1.0 - fraction or fraction <= 0.0 or heavy_answer_s > slack_s:
        return ""
    return (
        f"its prompt is harder than {query.difficulty:.0%} of prompts; "
        f"the hardest {fraction:.0%} skip the light variant now"
    )
