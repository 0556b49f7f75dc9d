"""Which cascade of a class serves a query."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffserve.core import Preference, RequestClass
from diffserve.policy.fleet import Fleet
from diffserve.policy.routing import ClassRouter, Rotation
from tests.unit.policy.harness import make_query
from tests.unit.policy.mixture import CASCADES, CLASS, CURVES, PROFILES, plan


def test_choices_are_spread_as_evenly_as_they_can_be() -> None:
    rotation = Rotation()
    chosen = "".join(rotation.choose({"a": 0.5, "b": 0.25, "c": 0.25}) for _ in range(8))
    assert chosen == "abcaabca"


def test_share_of_zero_is_never_chosen_while_another_has_one() -> None:
    rotation = Rotation()
    assert {rotation.choose({"a": 0.0, "b": 0.1}) for _ in range(5)} == {"b"}
    assert rotation.choose({"a": 0.0, "b": 0.0}) == "a"


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5).filter(lambda s: sum(s) > 0.01),
    st.integers(1, 200),
)
def test_counts_stay_near_the_shares(shares: list[float], count: int) -> None:
    named = {f"c{index}": share for index, share in enumerate(shares)}
    rotation = Rotation()
    chosen = [rotation.choose(named) for _ in range(count)]
    for name, share in named.items():
        exact = count * share / sum(shares)
        assert abs(chosen.count(name) - exact) < len(shares)


def router() -> ClassRouter:
    return ClassRouter(CASCADES, {"k": CLASS}, CURVES)


def test_a_cascade_is_pinned_and_a_class_follows_the_plan() -> None:
    fleet = Fleet(PROFILES, CASCADES.values())
    fleet.follow(plan({"w1": "tiny", "w2": "mid"}, shares={"near": 0.75, "far": 0.25}))
    router_ = router()
    assert router_.choose("far", fleet) == "far"
    chosen = [router_.choose("k", fleet) for _ in range(8)]
    assert chosen.count("near") == 6


def test_cascade_without_light_workers_is_passed_over() -> None:
    fleet = Fleet(PROFILES, CASCADES.values())
    assert router().choose("k", fleet) == "near"  # no plan yet: the first one, to wait there
    fleet.follow(plan({"w1": "mid"}, shares={"near": 1.0, "far": 0.0}, resident=("mid",)))
    assert router().choose("k", fleet) == "far"


@pytest.mark.parametrize("shares", [{"near": 1.0, "far": 0.0}, {"near": 0.5, "far": 0.5}])
def test_who_asks_for_heavy_gets_the_best_one_that_is_there(shares: dict[str, float]) -> None:
    fleet, router_ = Fleet(PROFILES, CASCADES.values()), router()
    fleet.follow(plan({"w1": "tiny", "w2": "mid", "w3": "big"}, shares=shares))
    chosen = {router_.choose("k", fleet, Preference.HEAVY) for _ in range(4)}
    assert chosen == {"far"}
    assert router_.choose("near", fleet, Preference.HEAVY) == "near"  # it was named
    fleet.lost("w3")
    shared = {router_.choose("k", fleet, Preference.HEAVY) for _ in range(4)}
    assert shared == {"near"}, "only its heavy variant is held"


@pytest.mark.parametrize("preference", [Preference.AUTO, Preference.LIGHT])
def test_others_go_where_the_load_allows(preference: Preference) -> None:
    fleet, router_ = Fleet(PROFILES, CASCADES.values()), router()
    shares = {"near": 0.75, "far": 0.25}
    fleet.follow(plan({"w1": "tiny", "w2": "mid", "w3": "big"}, shares=shares))
    router_.choose("k", fleet, Preference.HEAVY)  # takes nothing from the others
    chosen = [router_.choose("k", fleet, preference) for _ in range(8)]
    assert chosen.count("near") == 6


def test_without_any_heavy_workers_the_plan_decides() -> None:
    fleet = Fleet(PROFILES, CASCADES.values())
    fleet.follow(plan({"w1": "tiny"}, shares={"near": 1.0, "far": 0.0}))
    assert router().choose("k", fleet, Preference.HEAVY) == "near"


def test_a_named_cascade_without_light_workers_is_stood_in_for_by_its_class() -> None:
    fleet, router_ = Fleet(PROFILES, CASCADES.values()), router()
    assert router_.choose("far", fleet) == "far"  # nobody has workers: it waits for its own
    fleet.follow(plan({"w1": "mid", "w2": "big"}, shares={"near": 0.0, "far": 1.0}))
    assert router_.choose("near", fleet) == "far"
    fleet.follow(plan({"w1": "tiny", "w2": "mid"}, shares={"near": 1.0, "far": 0.0}, plan_id=2))
    assert router_.choose("near", fleet) == "near"
    alone = ClassRouter(
        CASCADES, {"near": RequestClass(class_id="near", cascade_ids=("near",))}, {}
    )
    fleet.follow(plan({"w1": "mid"}, plan_id=3))
    assert alone.choose("near", fleet) == "near"


def test_unknown_class_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        router().choose("nobody", Fleet(PROFILES, CASCADES.values()))


def test_one_light_variant_with_two_scorers_makes_two_kinds_of_batches() -> None:
    other = replace(CASCADES["near"], cascade_id="other", discriminator="e")
    cascades = {**CASCADES, "other": other}
    both = ClassRouter(
        cascades, {"k": RequestClass(class_id="k", cascade_ids=("near", "other"))}, {}
    )
    queries = [replace(make_query("a"), cascade_id=name) for name in ("near", "other", "far")]
    keys = [both.batchable(query).compat_key for query in queries]
    assert len(set(keys)) == 3
    assert keys[2] == ""
    assert {router().batchable(query).compat_key for query in queries[::2]} == {""}
