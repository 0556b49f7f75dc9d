from __future__ import annotations

import pytest

from diffserve.planning.fleet_problem import (
    Place,
    RoutingPoint,
    best_value,
    worst_value,
)
from diffserve.planning.observation import VariantFacts
from tests.unit.planning.fleets import candidate, fleet, group


def test_visits_of_a_routing_point():
    point = RoutingPoint(0.25, 0.4, 1.0)
    assert point.light_visits == 0.75
    assert point.heavy_visits == pytest.approx(0.25 + 0.75 * 0.4)
    assert RoutingPoint(1.0, 1.0, 1.0).light_visits == 0.0


def test_values_of_a_class_span_its_candidates():
    both = group("main", candidate("fast", "slow"), candidate("medium", "slow"))
    assert (worst_value(both), best_value(both)) == (0.0, 6.5)
    assert fleet(both, group("other", weight=2.0)).value_range() == 12.0


def test_bases_and_loads():
    problem = fleet(facts={"fast": VariantFacts(base="w", load_s=2.0)})
    assert (problem.base("fast"), problem.base("slow")) == ("w", "slow")
    assert (problem.load_s("w"), problem.load_s("slow")) == (2.0, 0.0)
    assert problem.num_workers == 8


def test_places_are_ordered():
    assert Place("a", ("x",)) < Place("a", ("x", "y")) < Place("b", ())


def test_a_class_without_candidates_is_a_mistake():
    with pytest.raises(AssertionError):
        group("main").__class__(
            class_id="main", slo_s=1.0, weight=1.0, demand_qps=1.0, candidates=()
        )
