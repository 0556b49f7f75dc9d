from __future__ import annotations

import pytest

from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.explain import explain
from diffserve.planning.problem import Objective
from diffserve.planning.solver import plan_cascade
from tests.paper.cascades import paper_problem


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"demand_qps": 32.0},
            "demand 32.0 qps needs 2 of 16 workers light; 14 heavy hold 15.2 qps => 47 % deferred"
            ", up to 60 % while they keep up",
        ),
        (
            {"demand_qps": 9.0, "num_workers": 1},
            "demand 9.0 qps needs 1 of 1 workers light; nothing is deferred",
        ),
        (
            {"demand_qps": 400.0},
            "demand 400.0 qps exceeds the 332.5 qps that 16 workers can serve light; "
            "nothing is deferred",
        ),
        (
            {"light_wait_s": 6.0},
            "no batch sizes fit the SLO of 5 s with waits of 6.0 s; nothing is deferred",
        ),
        ({"num_workers": 0}, "no worker takes batches: none is alive, or all drain"),
    ],
)
def test_sentences(changes, sentence):
    problem = paper_problem(objective=Objective.QUALITY, **changes)
    assert explain(problem, plan_cascade(problem, EnumerationSolver())) == sentence


def test_kept_placement_is_said():
    problem = paper_problem()
    result = plan_cascade(problem, EnumerationSolver())
    assert explain(problem, result, is_kept=True).endswith("% deferred, placement kept")
