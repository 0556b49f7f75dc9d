"""What the planner is told of classes, device types and bypassing."""

from __future__ import annotations

from dataclasses import replace

from diffserve.catalog import Catalog, class_of, load_catalog
from diffserve.core import RequestClass, WorkerInfo
from diffserve.planning.gather import observe_fleet
from diffserve.planning.observation import FleetObservation
from diffserve.profiles.curves import BypassPoint
from diffserve.profiles.latency import LatencyProfile

MOCK = load_catalog("mock")


def two_cascades() -> Catalog:
    """Return the mock catalog with its cascade twice, in one class."""
    twin = replace(MOCK.cascades["mock"], cascade_id="twin")
    return replace(
        MOCK,
        cascades={**MOCK.cascades, "twin": twin},
        deferral={**MOCK.deferral, "twin": MOCK.deferral["mock"]},
        quality={**MOCK.quality, "twin": MOCK.quality["mock"]},
        classes={"both": RequestClass(class_id="both", cascade_ids=("mock", "twin"))},
        bypass={"twin": (BypassPoint(0.5, MOCK.quality["mock"]),)},
    )


def worker(worker_id: str, kind: str) -> WorkerInfo:
    return WorkerInfo(worker_id=worker_id, address="", device="cpu", device_type=kind)


def observed(*kinds: str, ranks_prompts: bool = False) -> FleetObservation:
    catalog = two_cascades()
    seconds = {"slow": 2.0, "fast": 1.0, "cpu": 3.0}
    return observe_fleet(
        catalog,
        tuple(worker(f"w{index}", kind) for index, kind in enumerate(kinds)),
        cascades=catalog.cascades.values(),
        profile=lambda variant_id, kind: LatencyProfile({1: seconds[kind]}),
        demand_qps={"both": 5.0},
        queues={},
        ranks_prompts=ranks_prompts,
    )


def test_demand_of_a_class_is_told_once() -> None:
    seen = observed("slow")
    assert [c.demand_qps for c in seen.cascades.values()] == [5.0, 0.0]
    assert [group.cascade_ids for group in seen.groups] == [("mock", "twin")]
    assert class_of("twin", two_cascades().classes) == "both"
    assert class_of("alone", {}) == "alone"


def test_loads_take_what_was_measured_or_else_what_the_catalog_says() -> None:
    slow = replace(MOCK.variants["mock-heavy"], load_s=9.0)
    catalog = replace(MOCK, variants={**MOCK.variants, "mock-heavy": slow})
    seen = observe_fleet(
        catalog,
        (worker("w0", "fast"),),
        cascades=catalog.cascades.values(),
        profile=lambda variant_id, _: catalog.latency[variant_id],
        demand_qps={},
        queues={},
        load_s={"mock-light": 2.5},
    )
    assert {v: facts.load_s for v, facts in seen.variants.items()} == {
        "mock-light": 2.5,
        "mock-heavy": 9.0,
    }


def test_memory_of_a_kind_is_its_smallest_workers_and_unknown_if_one_does_not_say() -> None:
    sizes = {"a": (80, 40), "b": (24,), "c": (80, 0)}
    fleet = tuple(
        replace(worker(f"{kind}{index}", kind), memory_bytes_max=size)
        for kind, known in sizes.items()
        for index, size in enumerate(known)
    )
    seen = observe_fleet(
        MOCK,
        fleet,
        cascades=MOCK.cascades.values(),
        profile=lambda variant_id, _: MOCK.latency[variant_id],
        demand_qps={},
        queues={},
    )
    assert seen.memory_by_device == {"a": 40, "b": 24, "c": 0}


def test_a_fleet_of_one_kind_has_its_profiles_in_the_cascades() -> None:
    seen = observed("fast", "fast")
    assert seen.latency_by_device == {}
    assert seen.cascades["mock"].heavy.execution_s(1) == 1.0
    assert observed().cascades["mock"].heavy.execution_s(1) == 3.0


def test_a_mixed_fleet_has_profiles_by_kind() -> None:
    seen = observed("slow", "fast", "slow")
    assert set(seen.latency_by_device) == {"mock-light", "mock-heavy"}
    kinds = seen.latency_by_device["mock-light"]
    assert {kind: profile.execution_s(1) for kind, profile in kinds.items()} == {
        "fast": 1.0,
        "slow": 2.0,
    }
    assert seen.cascades["mock"].light.execution_s(1) == 2.0
    assert seen.facts("mock-light").base == "mock-light"


def test_bypassing_is_offered_only_where_prompts_are_ranked() -> None:
    assert observed("slow").cascades["twin"].bypass == ()
    assert len(observed("slow", ranks_prompts=True).cascades["twin"].bypass) == 1


def test_pins_reach_their_cascade() -> None:
    seen = observe_fleet(
        MOCK,
        (),
        cascades=MOCK.cascades.values(),
        profile=lambda variant_id, kind: MOCK.latency[variant_id],
        demand_qps={},
        queues={},
        pins={"mock": 0.25, "gone": 0.5},
    )
    assert seen.cascades["mock"].pinned_share == 0.25
