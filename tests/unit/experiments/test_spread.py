from __future__ import annotations

import math
from pathlib import Path

from diffserve.experiments.experiment import Context
from diffserve.experiments.spread import Runs, Spread, repeat
from tests.sim.runs import simulation


def test_median_and_range() -> None:
    spread = Spread.of([0.03, 0.01, 0.02])
    assert (spread.median, spread.low, spread.high) == (0.02, 0.01, 0.03)
    assert spread.percent() == "2.00 (1.00-3.00)"
    assert spread.middle(".1f", 100.0) == "2.0"


def test_brackets_only_where_they_say_something() -> None:
    assert Spread.of([1.0, 1.001]).text() == "1.00"
    assert Spread.of([1.0]).text(".0f") == "1"


def test_what_is_not_a_number_is_left_out() -> None:
    assert Spread.of([math.nan, 2.0]).median == 2.0
    assert Spread.of([math.nan]).text() == "-"
    assert Spread.of([]).middle() == "-"


def test_every_case_is_repeated_with_every_seed(tmp_path: Path) -> None:
    context = Context(True, None, (0, 7), jobs=1, cache=tmp_path)
    cases = {
        name: simulation(name, duration_s=5.0, peak_qps=2.0, num_workers=2)
        for name in ("diffserve", "random")
    }
    found = repeat(context, cases)
    for name, runs in found.items():
        assert [(m["policy"], m["seed"]) for m in runs.metrics] == [(name, 0), (name, 7)]
        assert runs.first["seed"] == 0
        assert runs.summary()["queries"] == [m["queries"] for m in runs.metrics]


def test_metrics_without_a_value_are_no_number() -> None:
    assert Runs(({"quality_windowed": math.nan},)).spread("quality_windowed").text() == "-"
