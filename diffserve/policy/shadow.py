"""Which accepted queries the heavy variant draws as well, for calibration alone. Pure.

Accepted images never meet a heavy one, so nobody would learn what the heavy variant could have
added to them. Heavy workers that idle draw a small, even sample. A shadow run belongs to no query:
its query has been answered, and nothing that is counted knows of it.
"""

from __future__ import annotations

from diffserve.core import Batch, CascadeStage
from diffserve.policy.actions import Abort
from diffserve.policy.pool import Pool

DEBT_MAX = 4.0
"""Shadows that a busy time leaves to be made up for, at most."""
NUM_SPARE = 1
"""Idle workers that a shadow run leaves to real work."""


class ShadowRuns:
    """Picks every 1/share-th accepted query, a later one while no worker idles.

    Counting instead of drawing lots: the sample is as even, and the policy stays deterministic.
    """

    def __init__(self, share: float) -> None:
        """Pick a share in [0, 1]; 0 picks none."""
        self._share = share
        self._debt = 0.0
        self._running: dict[int, Batch] = {}
        self._dropped: dict[int, None] = {}

    def picks(self, heavy: Pool) -> bool:
        """Count an accepted query; return whether it is picked, for the pool's next idle worker.

        Only where nothing waits, another worker idles too, and the worker serves nobody else.
        """
        self._debt = min(DEBT_MAX, self._debt + self._share)
        if self._debt < 1.0 or len(heavy.queue) or len(heavy.idle) <= NUM_SPARE:
            return False
        if heavy.next_idle().is_shared or heavy.next_idle().is_common:
            return False
        self._debt -= 1.0
        return True

    def batch(self, batch_id: int, heavy: Pool, query_id: str, now_s: float) -> Batch:
        """Return the run of a picked query, to be started now."""
        batch = Batch(
            batch_id=batch_id,
            worker_id=heavy.next_idle().worker_id,
            variant_id=heavy.variant_id,
            stage=CascadeStage.HEAVY,
            query_ids=(query_id,),
            started_s=now_s,
        )
        self._running[batch_id] = batch
        return batch

    def is_shadow(self, batch_id: int) -> bool:
        """Whether a batch on a device is a shadow run, dropped ones included."""
        return batch_id in self._running

    def ended(self, batch_id: int) -> None:
        """Forget a run that has left its device; others are ignored."""
        self._running.pop(batch_id, None)
        self._dropped.pop(batch_id, None)

    def drop(self, pool: Pool) -> list[Abort]:
        """Give up runs on a pool without an idle worker, the newest first, before work has to wait.

        As many as queries wait, and one more: the next query shall find an idle worker too.
        """
        if not self._running or pool.idle:
            return []
        here = [b for b in self._running.values() if b.worker_id in pool.members]
        going = [b for b in here if b.batch_id not in self._dropped]
        num_to_stop = len(pool.queue) + NUM_SPARE - (len(here) - len(going))
        stopped = going[len(going) - max(0, min(num_to_stop, len(going))) :]
        self._dropped.update(dict.fromkeys(batch.batch_id for batch in stopped))
        return [Abort(b.batch_id, b.worker_id, b.query_ids[0]) for b in reversed(stopped)]
