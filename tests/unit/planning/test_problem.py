from __future__ import annotations

import math

import pytest

from tests.paper.cascades import paper_problem


@pytest.mark.parametrize(
    "changes",
    [
        {"num_workers": -1},
        {"demand_qps": -1.0},
        {"demand_qps": math.nan},
        {"demand_qps": math.inf},
        {"light_wait_s": -0.1},
        {"heavy_wait_s": -0.1},
        {"utilisation_max": 0.0},
        {"utilisation_max": 1.1},
    ],
)
def test_nonsense_is_a_programmer_error(changes):
    with pytest.raises(AssertionError):
        paper_problem(**changes)
