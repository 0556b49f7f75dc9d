"""The numbers of an evaluation as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffserve.building.pairs import gain_of_deferring
from diffserve.embedded.concepts import STYLES
from diffserve.embedded.evaluate import Request
from diffserve.embedded.findings import (
    Findings,
    Measure,
    choose_cascade,
    clearly_better,
    cross_validated,
    grade,
    share_of_oracle,
)
from diffserve.embedded.presets import DISCRIMINATOR_FOLDER, Preset
from diffserve.embedded.scenes import Level
from diffserve.embedded.set_distances import frechet_distance, kernel_distance

#: Shares deferred at which the curves are printed.
CURVE_FRACTIONS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(21))
RANDOM, ORACLE = "random", "oracle"
#: All levels with several objects together.
HARD = "hard"


def summarise(findings: Findings, request: Request) -> dict[str, Any]:
    """Return everything that was found, as JSON values; times in milliseconds.

    ``prompt_accuracy`` holds "one", for prompts of one object, and "hard", the mean over the levels
    with several; both are means over seeds. What needs features is missing without them.
    """
    choice = choose_cascade(findings, findings.everything)
    verdict = cross_validated(findings)
    grades = {folder: _grades(findings, folder, request) for folder in findings.discriminators}
    gate = grades[DISCRIMINATOR_FOLDER]
    document: dict[str, Any] = {
        "light": findings.light,
        "heavy": findings.heavy,
        "prompt_accuracy": {
            variant: {
                name: float(np.mean(_by_seed(findings, findings.right(variant), levels)))
                for name, levels in (("one", _ONE), (HARD, _SEVERAL))
            }
            for variant in findings.variants
        },
        "gate": {
            "auroc": gate["auroc"]["checker"][0],
            "oracle_gain_share_at_40": gate["oracle_gain_share_at_40"][0],
            "discriminator": DISCRIMINATOR_FOLDER,
        },
        "cascade": {
            "accuracy_vs_heavy": verdict.accuracy_vs_heavy,
            "device_time_vs_heavy": verdict.device_time_vs_heavy,
            "light": choice.name.light,
            "heavy": choice.name.heavy,
            "deferred": choice.point.fraction,
        },
        "variants": {preset.name: _settings(preset, findings) for preset in request.presets},
        "discriminators": grades,
        "levels": {variant: _levels(findings, variant, request) for variant in findings.variants},
        "cascades": {
            f"{light} -> {heavy}": _operating_points(findings, light, heavy)
            for light, heavy in findings.pairs
        },
        "curves": curves(findings, findings.everything),
        "device_ms": {
            "images": {
                f"in batches of {size}": {name: 1e3 * s for name, s in by_variant.items()}
                for size, by_variant in findings.costs.images_s.items()
            },
            "scores": {name: 1e3 * s for name, s in findings.costs.scores_s.items()},
        },
        "prompts_per_level_and_seed": request.count,
        "seeds": list(request.seeds),
    }
    if request.with_features:
        document["distances"] = _set_distances(findings)
        document["styles"] = {variant: _styles(findings, variant) for variant in findings.variants}
        document["clearly_better"] = {
            by: float(clearly_better(findings, by).mean()) for by in ("checker", "distance")
        }
    return {name: rounded(value) for name, value in document.items()}


def _settings(preset: Preset, findings: Findings) -> dict[str, Any]:
    return {
        "num_parameters": findings.costs.num_parameters[preset.name],
        "num_inference_steps": preset.num_inference_steps,
        "guidance_scale": preset.guidance_scale,
    }


_ONE: Sequence[Level] = (Level.ONE,)
_SEVERAL: Sequence[Level] = tuple(level for level in Level if level is not Level.ONE)


def _by_seed(findings: Findings, values: NDArray[Any], levels: Sequence[Level]) -> list[float]:
    """Return the mean over levels of the means of their prompts, seed by seed."""
    return [
        float(
            np.mean(
                [
                    values[(findings.seeds == seed) & (findings.levels == level.value)].mean()
                    for level in levels
                ]
            )
        )
        for seed in np.unique(findings.seeds)
    ]


def _levels(findings: Findings, variant: str, request: Request) -> dict[str, Any]:
    """Return what every judge says by level: one value per seed."""
    judges = {"accuracy": findings.right(variant)}
    if request.with_features:
        judges["strict_accuracy"] = findings.measured(variant, "by_oracle")
        judges["reference_distance"] = findings.measured(variant, "distances")
    groups = {level.value: (level,) for level in Level} | {HARD: _SEVERAL}
    return {
        judge: {name: _by_seed(findings, values, levels) for name, levels in groups.items()}
        for judge, values in judges.items()
    }


def _grades(findings: Findings, discriminator: str, request: Request) -> dict[str, Any]:
    """Return every grade over all prompts, and then those of each seed's."""
    masks = [findings.everything] + [findings.seeds == seed for seed in request.seeds]
    better = {"checker": clearly_better(findings, "checker")}
    if request.with_features:
        better["distance"] = clearly_better(findings, "distance")
    return {
        "auroc": {
            by: [grade(findings, discriminator, of_heavy, mask) for mask in masks]
            for by, of_heavy in better.items()
        },
        "oracle_gain_share_at_40": [
            share_of_oracle(findings, discriminator, mask) for mask in masks
        ],
    }


def _styles(findings: Findings, variant: str) -> dict[str, Any]:
    """Return what the judges say about the prompts that name a style, by style."""
    judges: dict[str, Measure] = {
        "accuracy": "by_checker",
        "strict_accuracy": "by_oracle",
        "reference_distance": "distances",
    }
    return {
        style: {
            name: float(findings.measured(variant, measure)[findings.styles == style].mean())
            for name, measure in judges.items()
        }
        for style in STYLES
        if style in findings.styles
    }


def _operating_points(findings: Findings, light: str, heavy: str) -> dict[str, list[float]]:
    """Return accuracy and device time of a pair by the share deferred, against heavy's alone."""
    pair = findings.pair(light, heavy, DISCRIMINATOR_FOLDER, findings.everything)
    points = pair.points(CURVE_FRACTIONS)
    accuracy, alone_s = findings.right(findings.heavy).mean(), findings.costs.images_s[1]
    return {
        "accuracy_vs_heavy": [point.quality / accuracy for point in points],
        "device_time_vs_heavy": [point.device_s / alone_s[findings.heavy] for point in points],
    }


def curves(findings: Findings, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the accuracy of light and heavy together by the share deferred, for every router.

    Args:
        findings: What was drawn.
        chosen: The prompts that count.
    """
    light, heavy = (findings.right(name)[chosen] for name in (findings.light, findings.heavy))
    gains = heavy - light
    orders = {RANDOM: np.zeros(len(gains)), ORACLE: -gains} | {
        folder: findings.confidences(findings.light, folder)[chosen]
        for folder in findings.discriminators
    }
    return {"fractions": list(CURVE_FRACTIONS)} | {
        name: (light.mean() + gain_of_deferring(order, gains, CURVE_FRACTIONS)).tolist()
        for name, order in orders.items()
    }


def _set_distances(findings: Findings) -> dict[str, Any]:
    """Return Fréchet and kernel distance to real images, of every variant and of others."""
    reference = findings.renders("other_real")
    sets = {"real": findings.renders("real")} | {
        variant: findings.measured(variant, "features") for variant in findings.variants
    }
    return {
        "images": len(reference),
        "real_to_reference": float(findings.renders("real_distances").mean()),
    } | {
        name: {
            "frechet": frechet_distance(features, reference),
            "kernel": kernel_distance(features, reference),
        }
        for name, features in sets.items()
    }


def rounded(value: Any) -> Any:
    """Return JSON values with four digits, which is more than they are worth; NaN is null."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.4g}")
    return value
