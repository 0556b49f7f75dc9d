"""Measure the embedded models: ``python -m diffserve.embedded.evaluate``.

Prompt accuracy is measured on combinations that training never saw, level by level and for several
seeds, by two judges that share nothing with the models: the slot checker, a CNN trained on real
renders, and the oracle, which compares with the sprites and is stricter about the drawing. The
discriminator is graded by how well its confidences tell right light images from wrong ones (AUROC).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from diffserve.catalog import SHIPPED
from diffserve.embedded.calibration import (
    BATCH_SIZES,
    deferral_profile,
    latency_table,
    quality_curve,
    write_catalog,
)
from diffserve.embedded.captions import Prompt, plain_caption, sample_prompt
from diffserve.embedded.checker import SHIPPED_CHECKER, SlotChecker, load_or_train_checker
from diffserve.embedded.discriminator import SceneDiscriminator
from diffserve.embedded.grading import auroc, gain_share
from diffserve.embedded.oracle import is_right
from diffserve.embedded.pipeline import EmojiScenePipeline, draw_images
from diffserve.embedded.presets import (
    DISCRIMINATOR_FOLDER,
    HEAVY,
    LIGHT,
    PRESETS,
    REALNESS_FOLDER,
    WEIGHTS,
    Preset,
)
from diffserve.embedded.realness import RealnessDiscriminator
from diffserve.embedded.scenes import IMAGE_PX, Array, Level
from diffserve.embedded.sheets import save_sheet

QUALITY_METRIC = (
    "share of images that show what the prompt asks for (slot checker, held-out prompts)"
)
_BATCH_SIZE = 20
_TIMED_IMAGES = 5
_TIMED_PROMPT = "flat style, an owl, sky blue background"
_SHEET_PROMPTS = 48


#: Both kinds of discriminators, by folder.
Discriminator = SceneDiscriminator | RealnessDiscriminator
DISCRIMINATORS: Mapping[str, type[SceneDiscriminator] | type[RealnessDiscriminator]] = (
    MappingProxyType(
        {DISCRIMINATOR_FOLDER: SceneDiscriminator, REALNESS_FOLDER: RealnessDiscriminator}
    )
)

#: Prompts and results are kept by seed and level.
_Key = tuple[int, Level]
_Verdicts = NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """The images of one model for one set of prompts.

    Attributes:
        images: Shape (N, 64, 64, 3).
        by_checker: Whether each image is right as the checker sees it, shape (N,).
        by_oracle: The same as the oracle sees it.
    """

    images: Array
    by_checker: _Verdicts
    by_oracle: _Verdicts


def evaluation_prompts(level: Level, count: int, seed: int) -> list[Prompt]:
    """Return prompts of a level; combinations of objects are the held-out ones."""
    rng = np.random.default_rng([seed, list(Level).index(level)])
    return [sample_prompt(rng, level, held_out=True) for _ in range(count)]


def load_pipeline(preset: Preset, weights: Path = WEIGHTS) -> EmojiScenePipeline:
    """Load a shipped pipeline in float32 on the CPU, without progress bars."""
    pipeline: EmojiScenePipeline = EmojiScenePipeline.from_pretrained(
        weights / preset.folder, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: EmojiScenePipeline, preset: Preset, texts: Sequence[str], seed: int) -> Array:
    """Draw one image per text with the preset's settings, uint8, shape (N, 64, 64, 3)."""
    batches = []
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = texts[start : start + _BATCH_SIZE]
        seeds = [1000 * seed + start + row for row in range(len(batch))]
        batches.append(
            draw_images(pipeline, batch, preset.num_inference_steps, preset.guidance_scale, seeds)
        )
    return np.concatenate(batches)


def milliseconds_per_image(pipeline: EmojiScenePipeline, preset: Preset) -> float:
    """Return the median time of drawing one image alone, in milliseconds."""
    durations = []
    for seed in range(_TIMED_IMAGES + 1):
        started_at = time.perf_counter()
        draw(pipeline, preset, [_TIMED_PROMPT], seed)
        durations.append(time.perf_counter() - started_at)
    return 1e3 * float(np.median(durations[1:]))


def evaluate(
    weights: Path, checker: SlotChecker, seeds: Sequence[int], count: int, catalog: Path
) -> dict[str, object]:
    """Evaluate the shipped light, heavy and discriminator models.

    Args:
        weights: Folder with the three model folders.
        checker: Judge of the images.
        seeds: Each draws its own prompts and noise.
        count: Prompts per level and seed.
        catalog: Written with the measured latencies and curves.

    Returns:
        A JSON-serialisable summary.
    """
    prompts = {
        (seed, level): evaluation_prompts(level, count, seed) for seed in seeds for level in Level
    }
    drawn: dict[str, dict[_Key, Drawn]] = {}
    latency_s: dict[str, dict[int, float]] = {}
    summary: dict[str, object] = {"prompts_per_level_and_seed": count, "seeds": list(seeds)}
    for preset in PRESETS:
        pipeline = load_pipeline(preset, weights)
        drawn[preset.name] = {
            (seed, level): _draw_and_judge(pipeline, preset, group, seed, checker)
            for (seed, level), group in prompts.items()
        }
        latency_s[preset.name] = latency_table(
            partial(_draw_batch, pipeline, preset), BATCH_SIZES[preset.name]
        )
        modules = (pipeline.unet, pipeline.text_encoder, pipeline.palette)
        summary[preset.name] = {
            "num_inference_steps": preset.num_inference_steps,
            "guidance_scale": preset.guidance_scale,
            "num_parameters": sum(p.numel() for module in modules for p in module.parameters()),
            "ms_per_image": round(milliseconds_per_image(pipeline, preset), 1),
            "accuracy_by_checker": _accuracy(
                {key: result.by_checker for key, result in drawn[preset.name].items()}, seeds
            ),
            "accuracy_by_oracle": _accuracy(
                {key: result.by_oracle for key, result in drawn[preset.name].items()}, seeds
            ),
        }
    confidences = {}
    for folder, kind in DISCRIMINATORS.items():
        discriminator = kind.from_pretrained(weights / folder)
        confidences[folder] = np.concatenate(
            [
                discriminator.score(drawn[LIGHT.name][key].images, [p.text for p in group])
                for key, group in prompts.items()
            ]
        )
        summary[folder] = _grade_discriminator(
            discriminator, confidences[folder], prompts, drawn[LIGHT.name], drawn[HEAVY.name]
        )
    light, heavy = (
        np.concatenate([drawn[preset.name][key].by_checker for key in prompts])
        for preset in (LIGHT, HEAVY)
    )
    summary["gain_share_at_40"] = {
        folder: _rounded(gain_share(scores, light, heavy, 0.4))
        for folder, scores in confidences.items()
    }
    scores = confidences[DISCRIMINATOR_FOLDER]
    curve = quality_curve(scores, light, heavy, QUALITY_METRIC)
    write_catalog(catalog, latency_s, deferral_profile(scores), curve)
    summary["cascade"] = {"fractions": curve.fractions, "accuracy": curve.qualities}
    return summary


def _draw_batch(pipeline: EmojiScenePipeline, preset: Preset, batch_size: int) -> None:
    steps, guidance = preset.num_inference_steps, preset.guidance_scale
    draw_images(pipeline, [_TIMED_PROMPT] * batch_size, steps, guidance, range(batch_size))


def _draw_and_judge(
    pipeline: EmojiScenePipeline,
    preset: Preset,
    prompts: list[Prompt],
    seed: int,
    checker: SlotChecker,
) -> Drawn:
    images = draw(pipeline, preset, [prompt.text for prompt in prompts], seed)
    return Drawn(
        images,
        by_checker=np.array(checker.are_right(list(images), prompts)),
        by_oracle=np.array([is_right(*pair) for pair in zip(images, prompts, strict=True)]),
    )


def _accuracy(
    verdicts: dict[_Key, _Verdicts], seeds: Sequence[int]
) -> dict[str, dict[str, float | list[float]]]:
    """Summarise verdicts by level, and for all levels with several objects: mean and by seed."""
    groups = {level.value: [level] for level in Level}
    groups["several"] = [level for level in Level if level is not Level.ONE]
    table: dict[str, dict[str, float | list[float]]] = {}
    for name, levels in groups.items():
        by_seed = [
            float(np.mean([verdicts[seed, level].mean() for level in levels])) for seed in seeds
        ]
        table[name] = {
            "mean": round(float(np.mean(by_seed)), 3),
            "by_seed": [round(share, 3) for share in by_seed],
        }
    return table


def _grade_discriminator(
    discriminator: Discriminator,
    confidences: NDArray[np.float32],
    prompts: dict[_Key, list[Prompt]],
    light: dict[_Key, Drawn],
    heavy: dict[_Key, Drawn],
) -> dict[str, object]:
    """Compare confidences in light images with both judges' verdicts."""
    summary: dict[str, object] = {
        "num_parameters": sum(p.numel() for p in discriminator.network.parameters()),
        "ms_per_image": round(_milliseconds_per_score(discriminator), 1),
        "confidence_deciles": np.quantile(confidences, np.linspace(0, 1, 11)).round(3).tolist(),
    }
    levels = np.concatenate([[level.value] * len(group) for (_, level), group in prompts.items()])
    for judge in ("by_checker", "by_oracle"):
        light_right, heavy_right = (
            np.concatenate([getattr(results[key], judge) for key in prompts])
            for results in (light, heavy)
        )
        summary[f"auroc_{judge}"] = {
            "light_is_right": _rounded(auroc(confidences, light_right)),
            # Deferring is pointless where the heavy model fails as well.
            "heavy_is_not_better": _rounded(auroc(confidences, light_right | ~heavy_right)),
            "light_is_right_by_level": {
                level.value: _rounded(
                    auroc(confidences[levels == level.value], light_right[levels == level.value])
                )
                for level in Level
            },
        }
    return summary


def _milliseconds_per_score(discriminator: Discriminator) -> float:
    """Return the median time of scoring one image alone, in milliseconds."""
    image = np.zeros((1, IMAGE_PX, IMAGE_PX, 3), np.uint8)
    durations = []
    for _ in range(4 * _TIMED_IMAGES):
        started_at = time.perf_counter()
        discriminator.score(image, [_TIMED_PROMPT])
        durations.append(time.perf_counter() - started_at)
    return 1e3 * float(np.median(durations))


def _rounded(value: float) -> float | None:
    """Round for JSON, which has no NaN."""
    return None if np.isnan(value) else round(value, 3)


def main() -> None:
    """Evaluate the shipped weights and write the results and contact sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--prompts", type=int, default=60, help="prompts per level and seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where results go")
    parser.add_argument("--checker", type=Path, default=SHIPPED_CHECKER)
    parser.add_argument("--catalog", type=Path, default=SHIPPED / "embedded.toml")
    args = parser.parse_args()

    torch.set_num_threads(1)
    checker = load_or_train_checker(args.checker)
    summary = evaluate(args.weights, checker, args.seeds, args.prompts, args.catalog)
    results = args.docs / "results" / "embedded.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(summary, indent=2) + "\n")
    Console().print_json(data=summary)

    texts = sheet_texts()
    for preset in PRESETS:
        name = preset.name.replace("sprite", "embedded")
        images = draw(load_pipeline(preset, args.weights), preset, texts, seed=0)
        save_sheet(images, texts, args.docs / "images" / f"{name}.png")


def sheet_texts() -> list[str]:
    """Return the captions of the contact sheets, as many of every level."""
    groups = [evaluation_prompts(level, _SHEET_PROMPTS // len(Level), seed=99) for level in Level]
    return [plain_caption(prompt.scene) for group in groups for prompt in group]


if __name__ == "__main__":
    main()
