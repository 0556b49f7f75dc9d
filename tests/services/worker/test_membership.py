"""A worker's lease: what ends it."""

from __future__ import annotations

import asyncio

import pytest

from services.worker import membership
from services.worker.latencies import Latencies
from services.worker.membership import Membership, Standing
from tests.services.worker.harness import NOWHERE


def standing() -> Standing:
    return Standing(
        worker_id="w",
        address=NOWHERE,
        device="cpu",
        resident=(),
        is_draining=False,
        device_type="cpu",
        memory_bytes_max=0,
    )


@pytest.mark.parametrize("num_turns", range(6))
async def test_news_just_before_the_end_do_not_keep_it_registering(
    num_turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever turn of the loop the cancellation meets, or a stopping worker never ends."""
    monkeypatch.setattr(membership, "BACKOFF_S_MIN", 60.0)
    monkeypatch.setattr(membership, "BACKOFF_S_MAX", 60.0)
    lease = Membership(NOWHERE, standing, Latencies({}), lambda *_: None)
    registering = asyncio.create_task(lease.run())
    while not lease._changed._waiters:
        await asyncio.sleep(0.001)
    lease.announce()
    for _ in range(num_turns):
        await asyncio.sleep(0)
    registering.cancel()
    ended, _ = await asyncio.wait({registering}, timeout=1.0)
    assert ended
    assert registering.cancelled()
    await lease.close()
