from __future__ import annotations

import pytest

from diffserve.errors import ConfigError
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.planner import PlannerParameters as Exported


@pytest.mark.parametrize(
    "setting",
    [
        {"utilisation_max": 0.0},
        {"utilisation_max": 1.1},
        {"headroom": 0.9},
        {"wait_share_max": 1.0},
        {"gain_min": -0.1},
        {"staffing_beta": -1.0},
        {"load_horizon_s": 0.0},
    ],
)
def test_bad_parameters_are_refused(setting):
    with pytest.raises(ConfigError, match=f"planner {next(iter(setting))}"):
        PlannerParameters(**setting)


def test_workers_are_not_parked_by_default():
    assert Exported is PlannerParameters
    assert not PlannerParameters().parks_spare
