"""The nouns of an experiment: what it is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffserve.experiments.runner import ignore_progress, run_all
from diffserve.sim.run import Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

CACHE = Path("build/reproduce")
"""Where finished runs are kept, so that an interrupted reproduction goes on where it stopped."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an experiment may use.

    Attributes:
        quick: Minutes in all, with fewer points; otherwise everything.
        data: Folder with the authors' traces; None: do without.
        seeds: Every run is repeated with each.
        jobs: Processes that simulate at the same time.
        cache: Folder of finished runs.
        on_progress: Called with the runs done and the runs in all.
    """

    quick: bool
    data: Path | None
    seeds: tuple[int, ...]
    jobs: int = 2
    cache: Path = CACHE
    on_progress: Callable[[int, int], None] = ignore_progress

    def simulate(self, runs: Sequence[Simulation]) -> list[dict[str, Any]]:
        """Return the metrics of runs, in their order; see ``sim.run.simulate``.

        Equal runs are made once, also across experiments and calls: finished ones are kept, by
        the content of the run, of its trace file and of the simulator's code.
        """
        return run_all(runs, jobs=self.jobs, cache=self.cache, on_progress=self.on_progress)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page.

    Attributes:
        title: Above it.
        columns: One name each; numbers are aligned to the right.
        rows: Cells as they are printed.
        note: Below it: what a cell means, and in which unit.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a page.

    Attributes:
        name: Part of its file name.
        title: Above it.
        draw: Draws on an empty matplotlib figure.
        caption: Below it: what is shown, in which unit, of which seed.
        size: Inches, width and height.
    """

    name: str
    title: str
    draw: Callable[[Canvas], None]
    caption: str
    size: tuple[float, float] = (8.0, 4.5)


@dataclass(frozen=True, slots=True)
class Result:
    """What an experiment found.

    Attributes:
        name: Of the experiment; names its page.
        title: Of the page.
        question: What was to be found out, in a sentence or two.
        answer: What was found, in Markdown, with the figures that matter.
        inputs: What went in and whose it is, one sentence each.
        tables: In order.
        figures: In order.
        data: The numbers behind the page, as JSON values.
        is_simulated: False for measurements.
        origin: Where the figures come from, said at the top; empty says that it is a running
            deployment beside the simulator, or else the simulator alone.
    """

    name: str
    title: str
    question: str
    answer: str
    inputs: Sequence[str]
    tables: Sequence[Table]
    figures: Sequence[Figure]
    data: dict[str, Any] = field(default_factory=dict)
    is_simulated: bool = True
    origin: str = ""
