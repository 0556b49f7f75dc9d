from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.core import WorkerInfo
from diffserve.policy.placement import count_switches, place_hosts, place_variants


def worker(name: str, *resident: str, is_draining: bool = False) -> WorkerInfo:
    return WorkerInfo(
        worker_id=name, address="", device="cpu", resident=resident, is_draining=is_draining
    )


def fleet(*names: str) -> list[WorkerInfo]:
    return [worker(name) for name in names]


def test_fresh_fleet_is_filled_in_order():
    placement = place_variants(fleet("c", "a", "b"), {}, {"light": 1, "heavy": 2})
    assert placement == {"a": "light", "b": "heavy", "c": "heavy"}
    assert list(placement) == ["a", "b", "c"]


def test_workers_keep_their_variant():
    current = {"a": "heavy", "b": "light", "c": "heavy"}
    placement = place_variants(fleet("a", "b", "c"), current, {"light": 1, "heavy": 2})
    assert placement == current


def test_resident_worker_is_the_one_that_switches():
    workers = [worker("a", "heavy"), worker("b", "heavy"), worker("c", "light", "heavy")]
    current = dict.fromkeys("abc", "heavy")
    placement = place_variants(workers, current, {"light": 1, "heavy": 2})
    assert placement == {"a": "heavy", "b": "heavy", "c": "light"}


def test_new_worker_with_the_variant_in_memory_is_preferred():
    workers = [worker("a"), worker("b", "heavy")]
    assert place_variants(workers, {}, {"light": 1, "heavy": 1}) == {"a": "light", "b": "heavy"}
    workers = [worker("a"), worker("b", "light")]
    assert place_variants(workers, {}, {"light": 1, "heavy": 1}) == {"a": "heavy", "b": "light"}


def test_draining_workers_are_left_out():
    workers = [worker("a", is_draining=True), worker("b")]
    assert place_variants(workers, {"a": "light"}, {"light": 1}) == {"b": "light"}


def test_dead_workers_are_forgotten():
    assert place_variants(fleet("b"), {"a": "light"}, {"light": 1}) == {"b": "light"}


def test_too_few_workers_serve_the_first_targets():
    current = {"a": "heavy", "b": "heavy"}
    placement = place_variants(fleet("a", "b"), current, {"light": 1, "heavy": 3})
    assert placement == {"a": "heavy", "b": "light"}


def test_workers_beyond_the_targets_are_left_out():
    assert place_variants(fleet("a", "b"), {"b": "light"}, {"light": 1}) == {"b": "light"}


def test_empty_fleet():
    assert place_variants([], {"a": "light"}, {"light": 1}) == {}


def test_count_switches():
    assert count_switches({"a": "x", "b": "y"}, {"a": "x", "b": "x", "c": "x"}) == 2


VARIANTS = ("heavy", "light")


@settings(max_examples=60, deadline=None)
@given(
    hosted=st.lists(st.sampled_from(["", *VARIANTS]), max_size=6),
    resident=st.lists(st.sets(st.sampled_from(VARIANTS)), min_size=6, max_size=6),
    num_light=st.integers(0, 6),
)
def test_two_variants_are_placed_with_fewest_switches_and_loads(hosted, resident, num_light):
    names = [f"w{i}" for i in range(len(hosted))]
    workers = [worker(n, *sorted(r)) for n, r in zip(names, resident, strict=False)]
    current = {n: v for n, v in zip(names, hosted, strict=True) if v}
    num_light = min(num_light, len(names))
    targets = {"light": num_light, "heavy": len(names) - num_light}

    def cost(placement: dict[str, str]) -> tuple[int, int]:
        loads = sum(
            1
            for w in workers
            if placement[w.worker_id] != current.get(w.worker_id)
            and placement[w.worker_id] not in w.resident
        )
        return count_switches(current, placement), loads

    placement = place_variants(workers, current, targets)
    assert sorted(placement) == names
    assert sum(1 for v in placement.values() if v == "light") == num_light
    best = min(
        cost({n: "light" if n in lights else "heavy" for n in names})
        for lights in itertools.combinations(names, num_light)
    )
    assert cost(placement) == best


BASES = {"draft": "weights", "fine": "weights"}


def test_hosts_are_filled_in_order():
    hosts = {("light", "heavy"): 1, ("light",): 1}
    assert place_hosts(fleet("b", "a", "c"), {}, hosts, {}) == {
        "a": ("light",),
        "b": ("light", "heavy"),
    }
    assert place_hosts([worker("a", is_draining=True)], {}, hosts, {}) == {}


def test_workers_keep_their_host_whatever_its_main_variant():
    current = {"a": ("light",), "b": ("heavy", "light")}
    hosts = {("light", "heavy"): 1, ("light",): 1}
    assert place_hosts(fleet("a", "b"), current, hosts, {}) == {
        "a": ("light",),
        "b": ("light", "heavy"),
    }


def test_operating_points_of_one_base_need_no_load():
    current = {"a": ("other",), "b": ("draft",)}
    assert place_hosts(fleet("a", "b"), current, {("fine",): 1}, BASES) == {"b": ("fine",)}


def test_the_fewest_weights_are_loaded():
    fleet_of = [worker("a"), worker("b", "heavy"), worker("c", "heavy", "light")]
    placed = place_hosts(fleet_of, {}, {("light", "heavy"): 1, ("heavy",): 1}, {})
    assert placed == {"b": ("heavy",), "c": ("light", "heavy")}


@settings(max_examples=100, deadline=None)
@given(
    hosted=st.lists(st.sampled_from(["", "light", "heavy"]), min_size=1, max_size=6),
    resident=st.lists(st.sampled_from([(), ("light",), ("heavy",), ("light", "heavy")])),
    num_light=st.integers(0, 6),
)
def test_two_hosts_are_placed_with_fewest_switches_and_loads(hosted, resident, num_light):
    resident = [*resident, *[()] * len(hosted)]
    workers = [worker(f"w{i}", *resident[i]) for i in range(len(hosted))]
    current = {f"w{i}": (v,) for i, v in enumerate(hosted) if v}
    num_light = min(num_light, len(hosted))
    hosts = {("light",): num_light, ("heavy",): len(hosted) - num_light}
    placed = place_hosts(workers, current, hosts, {})
    assert len(placed) == len(hosted)

    def cost(choice: dict[str, tuple[str, ...]]) -> tuple[int, int]:
        switches = sum(1 for w, v in choice.items() if current.get(w) != v)
        loads = sum(
            1
            for w in workers
            if {*choice[w.worker_id]} - {*w.resident, *current.get(w.worker_id, ())}
        )
        return switches, loads

    best = min(
        cost({f"w{i}": (("light",) if i in chosen else ("heavy",)) for i in range(len(hosted))})
        for chosen in itertools.combinations(range(len(hosted)), num_light)
    )
    assert cost(placed) == best
