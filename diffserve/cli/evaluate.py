"""``diffserve evaluate``: measures the embedded models and writes their page."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffserve.building.catalog_file import Served, relative
from diffserve.building.choice import PairName
from diffserve.cli.output import CliError, emit_json, stdout
from diffserve.cli.progress import progress_bar
from diffserve.cli.writing import check_writable, make_folder
from diffserve.cli.zoo_options import checked_weights, presets_named
from diffserve.embedded.evaluate import (
    Request,
    draw,
    evaluate,
    load_pipeline,
    measure_costs,
    sheet_prompts,
)
from diffserve.embedded.features import FEATURES
from diffserve.embedded.findings import Findings
from diffserve.embedded.presets import (
    DISCRIMINATOR_FOLDER,
    HEAVY,
    LIGHT,
    MEDIUM,
    PRESETS,
    Preset,
)
from diffserve.embedded.profiling import profile
from diffserve.embedded.scenes import Array
from diffserve.embedded.sheets import save_sheet
from diffserve.embedded.summary import summarise
from diffserve.embedded.zoo_catalog import SLO_S, catalog_text
from diffserve.experiments.embedded_zoo import page
from diffserve.experiments.report import Made, check_drawing, write_page
from diffserve.side_by_side import each

COUNT = 60
QUICK_COUNT = 12
CLASS_ID = "sprites"
#: The shipped cascades, the best one first: for when there is time, and for when there is little.
SHIPPED = (("sprites-fine", MEDIUM, HEAVY), ("sprites-fast", LIGHT, MEDIUM))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line.

    Attributes:
        quick: Print the figures that matter, without features, page or pictures.
        variants: Names; none means all.
        count: Prompts per level and seed; None: the default.
        num_seeds: How often that is repeated with other prompts and noise.
        out: Gets the page, its numbers, figures and pictures.
        weights: Folder of the models' folders; None: the shipped ones.
        catalog: Gets latencies and curves, for the services.
        jobs: Processes.
    """

    quick: bool
    variants: tuple[str, ...]
    count: int | None
    num_seeds: int
    out: Path
    weights: Path | None
    catalog: Path | None
    jobs: int

    def request(self) -> Request:
        """Return what is to be evaluated.

        Raises:
            CliError: A variant is not known, or the options contradict each other.
        """
        return Request(
            presets=presets_named(self.variants),
            seeds=tuple(range(self.num_seeds)),
            count=self.count or (QUICK_COUNT if self.quick else COUNT),
            weights=checked_weights(self.weights),
            with_features=not self.quick,
            jobs=self.jobs,
        )

    def command(self) -> str:
        """Return what makes the same again; whose folders they were is nobody's business."""
        parts = [
            "diffserve evaluate",
            f"--variants {','.join(self.variants)}" if self.variants else "",
            f"--prompts {self.count}" if self.count else "",
            f"--seeds {self.num_seeds}" if self.num_seeds != 3 else "",
            "--weights DIR" if self.weights else "",
        ]
        return " ".join(part for part in parts if part)


def run_evaluate(options: Options, *, as_json: bool) -> dict[str, Any]:
    """Evaluate, then write the page unless it is to be quick.

    Returns:
        What was found.

    Raises:
        CliError: A variant is not known, or the options contradict each other.
    """
    request = options.request()
    if options.catalog is not None and request.presets != PRESETS:
        raise CliError("--catalog needs all variants, so leave --variants out")
    if options.catalog is not None:
        check_writable("--catalog", str(options.catalog))
    if not options.quick:
        check_drawing()
        make_folder("--out", options.out)
    with progress_bar("prompts drawn and judged") as on_progress:
        outcomes = evaluate(request, on_progress)
    costs = measure_costs(request, (1,) if options.quick else (1, 4))
    findings = Findings(outcomes, costs, tuple(preset.name for preset in request.presets))
    summary = summarise(findings, request)
    if not options.quick:
        pictures = _write_sheets(request, options.out / "images")
        made = Made(options.command(), request.seeds, quick=False)
        result = page(summary, _remarks(pictures), FEATURES)
        written = write_page(result, made, options.out / "results")
        if not as_json:
            stdout().print(f"{written} has everything")
    if options.catalog is not None:
        write_measured_catalog(findings, request, options.catalog)
    if as_json:
        emit_json(summary)
    else:
        _print(summary)
    return summary


def _write_sheets(request: Request, folder: Path) -> dict[str, str]:
    """Draw a contact sheet with every variant, and one of the slowest without captions.

    Returns:
        Names of the files in ``folder``, by variant.
    """
    texts = sheet_prompts()
    draw_sheet = functools.partial(_draw_sheet, weights=request.weights, texts=texts)
    arguments = {preset.name: preset for preset in reversed(request.presets)}
    names = {}
    with progress_bar("contact sheets") as on_progress:
        on_progress(0, len(arguments))
        for name, images in each(draw_sheet, arguments, request.jobs):
            names[name] = f"{name.replace('sprite', 'embedded')}.png"
            save_sheet(images, texts, folder / names[name])
            if name == request.presets[-1].name:
                save_sheet(images, None, folder / _bare(names[name]))
            on_progress(len(names), len(arguments))
    return {preset.name: names[preset.name] for preset in request.presets}


def _bare(file: str) -> str:
    return file.replace(".png", "-without-prompts.png")


def _draw_sheet(preset: Preset, weights: Path, texts: list[str]) -> Array:
    return draw(load_pipeline(preset, weights), preset, texts, seed=0)


def _remarks(pictures: dict[str, str]) -> list[str]:
    links = ", ".join(f"[{name}](../images/{file})" for name, file in pictures.items())
    slowest = list(pictures)[-1]
    bare = _bare(pictures[slowest])
    return [
        f"Contact sheets of the same 48 random prompts, eight of each level: {links}. Here are "
        f"those of `{slowest}` without the prompts:",
        f"![48 random images of {slowest}](../images/{bare})",
        "What to know about the shipped weights, and what a person saw on such a sheet, is "
        "[beside them](../../diffserve/embedded/weights/README.md).",
    ]


def write_measured_catalog(findings: Findings, request: Request, path: Path) -> None:
    """Write the shipped catalog: latencies on this machine, curves of the shipped cascades.

    They are one class, which the planner mixes by load.

    Args:
        findings: What was drawn, by all variants.
        request: Where their weights are.
        path: Gets the catalog.
    """
    presets = {preset.name: preset for preset in request.presets}
    text = catalog_text(
        "The models that come with DiffServe; `diffserve evaluate --catalog` wrote it",
        [_served(findings, *cascade) for cascade in SHIPPED],
        presets,
        {name: profile(preset, request.weights) for name, preset in presets.items()},
        relative(request.weights, path.parent),
        CLASS_ID,
    )
    path.write_text(text, encoding="utf-8")


def _served(findings: Findings, cascade_id: str, light: Preset, heavy: Preset) -> Served:
    """Return a cascade with what its variants drew for all prompts."""
    name = PairName(light.name, heavy.name, DISCRIMINATOR_FOLDER)
    return Served(
        cascade_id=cascade_id,
        name=name,
        outcomes=findings.pair(name.light, name.heavy, name.discriminator, findings.everything),
        slo_s=SLO_S,
    )


def _print(summary: dict[str, Any]) -> None:
    """Print the figures that matter."""
    console = stdout()
    for variant, accuracy in summary["prompt_accuracy"].items():
        one, hard = accuracy["one"], accuracy["hard"]
        console.print(f"{variant}: {one:.2f} right with one object, {hard:.2f} with several")
    gate, cascade = summary["gate"], summary["cascade"]
    console.print(
        f"{gate['discriminator']} on {summary['light']}: AUROC {gate['auroc']}, "
        f"{gate['oracle_gain_share_at_40']} of the oracle's gain at 40 % deferral"
    )
    console.print(
        f"{cascade['light']} -> {cascade['heavy']}, {100 * cascade['deferred']:.0f} % deferred: "
        f"{cascade['accuracy_vs_heavy']} of heavy's accuracy in "
        f"{cascade['device_time_vs_heavy']} of its device time"
    )
