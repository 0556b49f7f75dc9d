from __future__ import annotations

import pytest

from diffserve.core import WorkerInfo
from diffserve.profiles.latency import LatencyProfile
from services.controller.latencies import (
    NUM_EXECUTIONS_MIN,
    LatencyBook,
    Measurement,
    ProfileKey,
    common_device,
    device_kind,
)

CATALOG = {"v": LatencyProfile({1: 1.0, 2: 1.5, 4: 2.0})}


def measured(batch_size: int, seconds: float, variant_id: str = "v") -> list[Measurement]:
    return [
        Measurement(
            variant_id=variant_id,
            batch_size=batch_size,
            execution_s=seconds,
            num_executions=NUM_EXECUTIONS_MIN,
        )
    ]


def worker(worker_id: str, device: str) -> WorkerInfo:
    return WorkerInfo(worker_id=worker_id, address="h:1", device=device)


def test_the_catalog_holds_until_measured() -> None:
    assert LatencyBook(CATALOG).profile("v", "cpu") == CATALOG["v"]


def test_median_of_the_workers_scales_the_profile() -> None:
    book = LatencyBook(CATALOG)
    for index, seconds in enumerate((2.0, 2.2, 60.0)):
        book.report(f"w-{index}", "cuda", measured(1, seconds))
    profile = book.profile("v", "cuda")
    assert profile.execution_s(1) == pytest.approx(2.2)
    assert profile.execution_s(4) == pytest.approx(4.4)
    assert book.profile("v", "cpu") == CATALOG["v"]


def test_cold_executions_and_unknown_variants_are_ignored() -> None:
    book = LatencyBook(CATALOG)
    cold = Measurement(variant_id="v", batch_size=1, execution_s=9.0, num_executions=1)
    book.report("w", "cpu", [cold, *measured(1, 9.0, "other")])
    assert book.profile("v", "cpu") == CATALOG["v"]
    assert book.unsaved() == ()


def test_medians_outlive_their_worker_but_its_values_do_not() -> None:
    book = LatencyBook(CATALOG)
    book.report("gone", "cpu", measured(1, 10.0))
    book.keep_workers([])
    assert book.profile("v", "cpu").execution_s(1) == pytest.approx(10.0)
    book.report("new", "cpu", measured(1, 2.0))
    assert book.profile("v", "cpu").execution_s(1) == pytest.approx(2.0)


def test_unsaved_until_saved_as_it_is_now() -> None:
    book = LatencyBook(CATALOG)
    book.report("w", "cpu", measured(1, 2.0))
    saved = book.unsaved()
    assert saved == ((ProfileKey("cpu", "v"), {1: 2.0}),)
    book.report("w", "cpu", measured(2, 3.0))
    book.mark_saved(saved)
    assert book.unsaved() == ((ProfileKey("cpu", "v"), {1: 2.0, 2: 3.0}),)
    book.mark_saved(book.unsaved())
    assert book.unsaved() == ()


def test_what_was_restored_gives_way_to_what_is_measured() -> None:
    book = LatencyBook(CATALOG)
    book.report("w", "cpu", measured(1, 2.0))
    book.restore("cpu", "v", {1: 7.0, 4: 5.0})
    profile = book.profile("v", "cpu")
    assert (profile.execution_s(1), profile.execution_s(4)) == pytest.approx((2.0, 5.0))


def test_a_type_that_the_catalog_knows_starts_from_its_own_profile() -> None:
    own = LatencyProfile({1: 3.0, 2: 4.0})
    book = LatencyBook(CATALOG, {"v": {"A100": own}})
    assert book.profile("v", "A100") == own
    assert book.profile("v", "L40S") == CATALOG["v"]
    book.report("w", "A100", measured(1, 6.0))
    assert book.profile("v", "A100").execution_s(2) == pytest.approx(8.0)
    assert book.profile("v", "L40S") == CATALOG["v"]


def test_devices() -> None:
    assert device_kind("cuda:1", "A100") == "A100"
    assert [device_kind(d) for d in ("cpu", "cuda", "cuda:3")] == ["cpu", "cuda", "cuda"]
    assert common_device([]) == "cpu"
    mixed = [worker("a", "cpu"), worker("b", "cuda:0"), worker("c", "cuda:1")]
    assert common_device(mixed) == "cuda"
    assert common_device(mixed[:2]) == "cpu"
