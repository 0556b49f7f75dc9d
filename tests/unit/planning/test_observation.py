from __future__ import annotations

from diffserve.core import RequestClass, WorkerInfo
from diffserve.planning.observation import FleetObservation, QueueState, VariantFacts
from tests.unit.planning.fleets import observed, seen


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


def test_cascades_without_a_class_are_one_each():
    observation = observed(
        seen("fast", "slow", 1.0),
        seen("medium", "slow", 1.0),
        seen("fast", "medium", 1.0),
        classes=(
            RequestClass(class_id="x", cascade_ids=("medium-slow", "gone", "fast-slow")),
            RequestClass(class_id="empty", cascade_ids=("gone-too",)),
        ),
    )
    assert [(g.class_id, g.cascade_ids) for g in observation.groups] == [
        ("fast-medium", ("fast-medium",)),
        ("x", ("medium-slow", "fast-slow")),
    ]


def test_a_variant_nobody_knows_is_its_own_base():
    known = VariantFacts(base="b", memory_bytes=5)
    observation = FleetObservation(workers=(), cascades={}, variants={"v": known})
    assert observation.facts("v") is known
    assert observation.facts("w") == VariantFacts(base="w")
