from __future__ import annotations

from diffserve.core import WorkerInfo
from diffserve.planning.observation import FleetObservation, QueueState


def test_usable_workers_are_sorted_and_not_draining():
    workers = tuple(
        WorkerInfo(worker_id=name, address="", device="cpu", is_draining=name == "b")
        for name in ("c", "b", "a")
    )
    observation = FleetObservation(workers=workers, cascades={})
    assert [w.worker_id for w in observation.usable_workers] == ["a", "c"]


def test_unknown_queue_is_empty():
    queue = QueueState(length=3, oldest_age_s=0.5)
    observation = FleetObservation(workers=(), cascades={}, queues={"light": queue})
    assert observation.queue("light") is queue
    assert observation.queue("heavy") == QueueState()
