"""The page of the comparison, from a live half that is itself simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure as Canvas

from diffserve.catalog import load_catalog
from diffserve.experiments import live_against_simulator
from diffserve.experiments.experiment import Context, Result
from diffserve.replay.overheads import Overheads
from diffserve.replay.twin import LiveRun, TwinParameters
from diffserve.sim.run import Simulation, simulate

OVERHEADS = Overheads(
    network_s=0.001,
    scoring_s=0.002,
    execution_excess_s=0.0002,
    execution_cv=0.01,
    plan_delay_s=0.05,
)


DURATION_S = 30.0


def pretend(
    parameters: TwinParameters,
    directory: Path,
    report: Callable[[str], None],
    on_progress: Callable[[float, float], None],
) -> LiveRun:
    assert parameters.workload.duration_s == DURATION_S
    simulation = Simulation(
        catalog=load_catalog(parameters.catalog),
        workload=parameters.workload,
        policy="diffserve",
        num_workers=parameters.num_workers,
        seed=parameters.seed,
        hardware=OVERHEADS.hardware(),
    )
    on_progress(1.0, 2.0)
    metrics = simulate(replace(simulation, seed=9))
    return LiveRun(metrics=metrics, overheads=OVERHEADS, lag_s_p99=0.004, simulation=simulation)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_against_simulator, "run_live", pretend)
        patch.setattr(live_against_simulator, "QUICK_DURATION_S", DURATION_S)
        patch.setattr(live_against_simulator, "SIMULATED_SEEDS", 2)
        cache = tmp_path_factory.mktemp("cache")
        yield live_against_simulator.run(
            Context(quick=True, data=None, seeds=(0,), jobs=1, cache=cache)
        )


def test_the_page_tells_live_from_simulated(result: Result) -> None:
    assert not result.is_simulated
    table, overheads = result.tables
    rows = {row[0]: row[1:] for row in table.rows}
    live, simulated, difference, _ = rows["heavy share, %"]
    assert float(live) - float(simulated) == pytest.approx(float(difference), abs=0.11)
    assert ("from the device to the score, ms", "2.0") in [tuple(row) for row in overheads.rows]
    document = result.data["own"]
    assert document["live"]["queries"] > 200
    assert document["simulated_same_seed"]["heavy_share"] > 0.0
    assert "points" in result.answer
    assert len(result.inputs) == 3


def test_its_figure_can_be_drawn(result: Result) -> None:
    (figure,) = result.figures
    canvas = Canvas(figsize=figure.size)
    figure.draw(canvas)
    assert len(canvas.axes) == 4
    assert [len(axes.lines) for axes in canvas.axes] == [1, 2, 2, 2]
