"""``diffserve reproduce``: runs the experiments and writes their pages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from diffserve.cli.output import duration, stdout
from diffserve.cli.progress import progress_bar
from diffserve.cli.writing import make_folder
from diffserve.experiments.experiment import CACHE, Context
from diffserve.experiments.loads import data_folder
from diffserve.experiments.registry import NAMES, load
from diffserve.experiments.report import Made, check_drawing, write_index, write_page

FULL_SEEDS = 5
QUICK_SEEDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line."""

    quick: bool
    data: str
    only: tuple[str, ...]
    out: str
    seeds: int | None
    jobs: int

    @property
    def num_seeds(self) -> int:
        """Repetitions of each run."""
        return self.seeds or (QUICK_SEEDS if self.quick else FULL_SEEDS)

    def command(self, only: str = "") -> str:
        """Return what makes the same again; whose folder it was is nobody's business."""
        parts = [
            "diffserve reproduce",
            "--quick" if self.quick else "",
            "--data DIR" if self.data else "",
            f"--only {only}" if only else "",
            f"--seeds {self.seeds}" if self.seeds else "",
        ]
        return " ".join(part for part in parts if part)


def list_experiments() -> None:
    """Print the names and titles."""
    for name in NAMES:
        stdout().print(f"{name:24} {load(name).title}")


def run_reproduce(request: Request) -> None:
    """Run the experiments one after the other; each page is written as soon as it is known.

    Raises:
        CliError: the folder cannot be written.
        ConfigError: there is no such experiment or data, or figures cannot be drawn.
    """
    check_drawing()
    names = request.only or NAMES
    experiments = [load(name) for name in names]
    data, out = data_folder(request.data), Path(request.out)
    make_folder("--out", out)
    seeds = tuple(range(request.num_seeds))
    console = stdout()
    for experiment in experiments:
        began_s = time.monotonic()
        with progress_bar(experiment.name) as on_progress:
            context = Context(
                quick=request.quick,
                data=data,
                seeds=seeds,
                jobs=request.jobs,
                cache=CACHE,
                on_progress=on_progress,
            )
            result = experiment.run(context)
        made = Made(request.command(experiment.name), seeds, request.quick)
        page = write_page(result, made, out)
        # After each: an interrupted reproduction leaves an index of what there is.
        write_index(out, NAMES, request.command())
        console.print(f"{page}: {duration(time.monotonic() - began_s)}")
    console.print(f"{out / 'README.md'} lists all pages")
