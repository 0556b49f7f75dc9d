"""Which experiments there are, in the order of the index."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from diffserve.errors import ConfigError
from diffserve.experiments.experiment import Context, Result

NAMES = (
    "main_trace",
    "published_system",
    "bursts",
    "overload",
    "other_cascades",
    "hadis",
    "faults",
    "drift",
    "slo_sweep",
    "cluster_size",
    "load_balancers",
    "ablations",
    "simulator_scale",
    "planner_scale",
    "live_against_simulator",
)
"""Modules of this package; a new experiment is one line here."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment by name.

    Attributes:
        name: Of its module and its page.
        title: Of its page.
        run: Does it.
    """

    name: str
    title: str
    run: Callable[[Context], Result]


def load(name: str) -> Experiment:
    """Import an experiment.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in NAMES:
        raise ConfigError(f"experiment: {name!r} is not one of {', '.join(NAMES)}")
    module = importlib.import_module(f"diffserve.experiments.{name}")
    return Experiment(name=module.NAME, title=module.TITLE, run=module.run)
