"""How several cascades divide one fleet."""

from __future__ import annotations

from collections.abc import Mapping


def split_fleet(num_workers: int, work: Mapping[str, float]) -> dict[str, int]:
    """Divide workers in proportion to work by largest remainder; ties by id. Pure.

    Every cascade gets one worker while there are enough, because a cascade without workers cannot
    answer its first query. Then the rest follows the work.

    Args:
        num_workers: To divide.
        work: ``cascade_id`` -> light workers that its demand keeps busy; 0 for an idle one.

    Returns:
        ``cascade_id`` -> workers, summing to ``num_workers`` (all 0 without cascades).
    """
    names = sorted(work, key=lambda name: (-work[name], name))
    base = 1 if num_workers >= len(names) else 0
    shares = dict.fromkeys(names, base)
    rest = num_workers - base * len(names)
    if not names:
        return shares
    total = sum(work.values())
    exact = {n: rest * (work[n] / total if total > 0.0 else 1.0 / len(names)) for n in names}
    for name in names:
        shares[name] += int(exact[name])
    remainders = sorted(names, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in remainders[: num_workers - sum(shares.values())]:
        shares[name] += 1
    return shares
