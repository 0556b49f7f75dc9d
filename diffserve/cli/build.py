"""``diffserve cascade build``: profiles, draws, grades, chooses; writes a catalog and a page."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffserve.building.catalog_file import Profile, Served, relative, served_cascades
from diffserve.building.choice import Choice, choose
from diffserve.building.store import Store
from diffserve.catalog import load_catalog
from diffserve.cli.built import described, meaning_of_default, tell
from diffserve.cli.output import CliError
from diffserve.cli.progress import progress_bar
from diffserve.cli.writing import make_folder
from diffserve.cli.zoo_options import checked_weights, presets_named
from diffserve.embedded.evaluate import (
    Outcome,
    Part,
    Request,
    draw_part,
    measure_costs,
    parts_of,
)
from diffserve.embedded.findings import Findings
from diffserve.embedded.profiling import profile
from diffserve.embedded.zoo_catalog import SLO_S, catalog_text
from diffserve.experiments.built_cascades import accuracy, page
from diffserve.experiments.report import Made, check_drawing, write_page
from diffserve.side_by_side import each

CACHE = Path("build/cascades")
COUNT = 40
"""Prompts per level; six levels."""
SEED = 7
"""Not one of `diffserve evaluate`'s: what is chosen here may be graded there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line.

    Attributes:
        out: Gets the catalog and the page.
        variants: Names; none means all.
        count: Prompts per level.
        budget_s: Drawing stops after this long, seconds; what was drawn by then counts.
        quality_kept: Share of the best variant's accuracy to keep.
        weights: Folder of the models' folders; None: the shipped ones.
        jobs: Processes.
        class_id: Request class of all that is kept; empty: the chosen cascade is served alone.
    """

    out: Path
    variants: tuple[str, ...]
    count: int
    budget_s: float
    quality_kept: float
    weights: Path | None
    jobs: int
    class_id: str = ""

    def request(self) -> Request:
        """Return what is to be drawn.

        Raises:
            CliError: a variant is not known, or there are too few, or no weights.
        """
        return Request(
            presets=presets_named(self.variants),
            seeds=(SEED,),
            count=self.count,
            weights=checked_weights(self.weights),
            with_features=False,
            jobs=self.jobs,
        )


def run_build(options: Options, *, as_json: bool) -> None:
    """Build; an interrupted run goes on where it stopped."""
    check_drawing()
    until_s = time.monotonic() + options.budget_s
    request = options.request()
    make_folder("--out", options.out)
    store = _store(request)
    profiles = _profiles(request, store)
    costs = store.remember("costs", lambda: measure_costs(request, (1,)))
    outcomes = _outcomes(request, store, until_s)
    findings = Findings(outcomes, costs, tuple(preset.name for preset in request.presets))
    singles = findings.singles(findings.everything)
    candidates = findings.candidates(findings.everything, findings.discriminators)
    choice = choose(candidates, singles, options.quality_kept)
    catalog = options.out / "cascades.toml"
    presets = {preset.name: preset for preset in request.presets}
    text = catalog_text(
        f"Made by `diffserve cascade build`; {meaning_of_default(options.class_id)}",
        *(_served(choice, options.class_id), presets, profiles),
        relative(request.weights, options.out),
        options.class_id,
    )
    catalog.write_text(text, encoding="utf-8")
    load_catalog(str(catalog))  # what cannot be served must not look finished
    wording = accuracy(len(findings.seeds))
    result = page(choice, profiles, singles, options.quality_kept, wording)
    command = "diffserve cascade build" + (f" --class {options.class_id}" * bool(options.class_id))
    made = Made(command, request.seeds, quick=False)
    written = write_page(result, made, options.out)
    store.forget()
    tell(choice, catalog, written, "right", class_id=options.class_id, as_json=as_json)


def _store(request: Request) -> Store:
    key = hashlib.sha256(repr((request.presets, request.seeds, request.count)).encode())
    # By content: weights that were trained anew are as large as before.
    for path in sorted(request.weights.rglob("*.safetensors")):
        key.update(path.read_bytes())
    return Store(CACHE / key.hexdigest()[:16])


def _profiles(request: Request, store: Store) -> dict[str, Profile]:
    found: dict[str, Profile] = {}
    with progress_bar("variants profiled") as on_progress:
        for preset in request.presets:
            on_progress(len(found), len(request.presets))
            make = functools.partial(profile, preset, request.weights)
            found[preset.name] = store.remember(f"profile-{preset.name}", make)
    return found


def _outcomes(request: Request, store: Store, until_s: float) -> dict[Part, Outcome]:
    """Draw what is not drawn yet, until the budget is used up.

    Raises:
        CliError: nothing was drawn in time.
    """
    names = {
        part: f"part-{part.seed}-{part.level.value}-{part.start}" for part in parts_of(request)
    }
    found = {part: outcome for part, name in names.items() if (outcome := store.load(name))}
    missing = {part: part for part in _levels_in_turn(names) if part not in found}
    with progress_bar("batches of prompts drawn and judged") as on_progress:
        on_progress(len(found), len(names))
        for part, outcome in each(draw_part, missing, request.jobs):
            store.save(names[part], outcome)
            found[part] = outcome
            on_progress(len(found), len(names))
            if time.monotonic() > until_s:
                break
    if not found:
        raise CliError("--budget-minutes: nothing was drawn in time; what was measured is kept")
    return {part: found[part] for part in names if part in found}


def _levels_in_turn(parts: Mapping[Part, str]) -> Iterator[Part]:
    """Yield parts so that wherever the budget ends, all levels are there in about equal numbers."""
    yield from sorted(parts, key=lambda part: part.start)


def _served(choice: Choice, class_id: str = "") -> list[Served]:
    return served_cascades(
        *(choice, lambda c: SLO_S, lambda c: f"{described(c.point, 'right')}."),
        is_class=bool(class_id),
    )
