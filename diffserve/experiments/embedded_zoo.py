"""The page about the embedded models: what `diffserve evaluate` found, in tables and figures."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffserve.experiments.drawing import INK, Look
from diffserve.experiments.experiment import Figure, Result, Table
from diffserve.experiments.spread import Spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME = "embedded"
TITLE = "The embedded zoo"
_ORIGIN = (
    "Everything on this page was **measured**: the models that come with the project drew prompts "
    "whose combinations of objects no training ever saw. Device time is processor time of one "
    "thread, which other work on the machine hardly changes."
)
_ROUTERS: Mapping[str, tuple[str, Look]] = {
    "oracle": ("oracle: knows both images", Look("#000000", "h")),
    "sprite-discriminator": ("image and prompt, learns the gain", Look("#0072B2", "o")),
    "sprite-realness": ("image only, the paper's recipe", Look("#D55E00", "s")),
    "random": ("random", Look("#888888", "X")),
}
_LOOKS = (
    Look("#0072B2", "o"),
    Look("#D55E00", "s"),
    Look("#009E73", "D"),
    Look("#CC79A7", "P"),
    Look("#E69F00", "^"),
    Look("#56B4E9", "v"),
)
_NO_FID = (
    "Distances between sets of images compare features of EfficientNet-Lite0 (ImageNet weights, a "
    "network that no model here was trained with), not Inception's, so they are **not FID or KID** "
    "and compare with no published number. They depend on the number of images: read them next to "
    "the row of real images, which are renders of the same prompts. What separates those from "
    "their references, over all levels, is that objects are shifted by up to two pixels."
)


def page(summary: Mapping[str, Any], remarks: Sequence[str], features: str) -> Result:
    """Return the page of an evaluation.

    Args:
        summary: What was found, see ``diffserve.embedded.summary``.
        remarks: Sentences that a look at the pictures adds, in Markdown.
        features: Name of the features behind the distances.
    """
    return Result(
        name=NAME,
        title=TITLE,
        question="How well do the models that come with the project draw what is asked for, what "
        "does that cost, and how well do the discriminators tell which images to draw again?",
        answer=_answer(summary, remarks),
        inputs=_inputs(summary),
        tables=[
            _accuracy(summary),
            _distances(summary, features),
            _styles(summary),
            _discriminators(summary),
            _curves(summary),
        ],
        figures=[
            Figure(
                "deferral",
                "Accuracy against deferral",
                functools.partial(_draw_curves, summary=summary),
                f"`{summary['light']}` first; the least confident images are drawn again by "
                f"`{summary['heavy']}`. All prompts, six levels in equal parts; the vertical axis "
                "does not begin at zero.",
                (7.0, 4.0),
            ),
            Figure(
                "cascades",
                "Accuracy against device time",
                functools.partial(_draw_cascades, summary=summary),
                f"Both as multiples of `{summary['heavy']}` alone. Lines: cascades, from "
                "nothing to everything deferred by the prompt-conditioned discriminator; crosses: "
                "variants alone. The shaded corner is what was asked for: 97 % of the accuracy in "
                "60 % of the time.",
                (7.0, 4.4),
            ),
        ],
        data=dict(summary),
        is_simulated=False,
        origin=_ORIGIN,
    )


def _answer(summary: Mapping[str, Any], remarks: Sequence[str]) -> str:
    light, heavy = summary["light"], summary["heavy"]
    accuracy, gate, cascade = summary["prompt_accuracy"], summary["gate"], summary["cascade"]
    alone = summary["device_ms"]["images"]["in batches of 1"]
    lines = [
        f"On prompts with several objects `{heavy}` is right in {accuracy[heavy]['hard']:.2f} of "
        f"the images and `{light}` in {accuracy[light]['hard']:.2f}; with one object in "
        f"{accuracy[heavy]['one']:.2f} and {accuracy[light]['one']:.2f}. One image alone takes "
        f"{alone[heavy] / alone[light]:.1f} times as long.",
        f"The prompt-conditioned discriminator tells where `{heavy}` would be clearly better with "
        f"an AUROC of {_number(gate['auroc'])}. When 40 % of the images are deferred, it captures "
        f"{_percent(gate['oracle_gain_share_at_40'])} of the oracle's gain over random routing.",
        f"The cheapest cascade that nearly keeps {heavy}'s accuracy is `{cascade['light']}` -> "
        f"`{cascade['heavy']}` with {_percent(cascade['deferred'])} deferred: "
        f"{_percent(cascade['accuracy_vs_heavy'])} of the accuracy in "
        f"{_percent(cascade['device_time_vs_heavy'])} of the device time, on seeds that it was not "
        "chosen on.",
        *remarks,
    ]
    return "\n\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _inputs(summary: Mapping[str, Any]) -> list[str]:
    count, seeds = summary["prompts_per_level_and_seed"], len(summary["seeds"])
    return [
        f"{count} prompts for each of six levels and {seeds} seeds, drawn by every variant: one "
        'object, two, a count ("four owls"), groups ("two rockets above a cat"), three and four. '
        '"hard" is the mean of all levels but the first.',
        "Prompt accuracy is the slot checker's: a CNN with a network, data and a seed of its own, "
        "which looks whether every place shows the right thing in any style. It grades no model "
        "that was trained with it.",
        "The strict columns are the oracle's, which compares with the sprites and asks for style "
        "and background as well.",
        "The distance to the reference is that of EfficientNet-Lite0's features at three depths "
        "between an image and the render of its prompt, the nearest if the prompt leaves something "
        "open; about 1.2 for an unrelated scene.",
        "The cascade is chosen on all seeds but one, to keep 97 % of the best variant's accuracy "
        "and a standard error to spare, and tried on that one; the figures are means over the "
        "seeds. Its device time is that of images drawn one by one, with a score for every first "
        "image.",
    ]


def _spread(values: Sequence[float], form: str = ".2f") -> str:
    return Spread.of(values).text(form)


def _accuracy(summary: Mapping[str, Any]) -> Table:
    batches = summary["device_ms"]["images"]
    levels = list(next(iter(summary["levels"].values()))["accuracy"])
    rows = [
        (
            f"`{variant}`",
            f"{summary['variants'][variant]['num_parameters'] / 1e6:.1f}M",
            f"{summary['variants'][variant]['num_inference_steps']}",
            f"{summary['variants'][variant]['guidance_scale']:g}",
            *(f"{times[variant]:.0f}" for times in batches.values()),
            *(_spread(judged["accuracy"][level]) for level in levels),
        )
        for variant, judged in summary["levels"].items()
    ]
    heads = [f"ms an image, {name.removeprefix('in ')}" for name in batches]
    return Table(
        "Prompt accuracy",
        ("variant", "parameters", "steps", "guidance", *heads, *levels),
        rows,
        "Share of right images as the slot checker sees them. Times on one thread.",
    )


def _distances(summary: Mapping[str, Any], features: str) -> Table:
    distances = summary["distances"]
    rows = []
    for name in ("real", *summary["levels"]):
        judged = summary["levels"].get(name)
        cells = ["-", "-", "-", f"{distances['real_to_reference']:.2f}"]
        if judged is not None:
            pairs = [(judge, level) for judge in _STRICT for level in ("one", "hard")]
            cells = [_spread(judged[judge][level]) for judge, level in pairs]
        label = f"`{name}`" if judged else "real images"
        frechet, kernel = distances[name]["frechet"], distances[name]["kernel"]
        rows.append((label, f"{frechet:.1f}", f"{1000 * kernel:.1f}", *cells))
    return Table(
        "Distance to real images",
        (
            "images",
            f"Fréchet distance, {features}",
            f"kernel distance, {features}, x1000",
            "strictly right: one",
            "strictly right: hard",
            "to the reference: one",
            "to the reference: hard",
        ),
        rows,
        f"{distances['images']} images each, against as many renders of other held-out prompts. "
        + _NO_FID,
    )


_STRICT = ("strict_accuracy", "reference_distance")


def _styles(summary: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"`{variant}`",
            style,
            f"{judged['accuracy']:.2f}",
            f"{judged['strict_accuracy']:.2f}",
            f"{judged['reference_distance']:.2f}",
        )
        for variant, styles in summary["styles"].items()
        for style, judged in styles.items()
    ]
    return Table(
        "Styles",
        ("variant", "style", "accuracy", "strictly right", "distance to the reference"),
        rows,
        "Of the prompts that name a style, all levels.",
    )


def _discriminators(summary: Mapping[str, Any]) -> Table:
    scores_ms = summary["device_ms"]["scores"]
    rows = [
        (
            f"`{folder}`",
            _ROUTERS[folder][0],
            f"{scores_ms[folder]:.0f}",
            *(_of_all(grades["auroc"][by]) for by in ("checker", "distance")),
            _of_all(grades["oracle_gain_share_at_40"]),
        )
        for folder, grades in summary["discriminators"].items()
    ]
    better = {by: _percent(share) for by, share in summary["clearly_better"].items()}
    return Table(
        "Discriminators",
        (
            "discriminator",
            "looks at",
            "ms a score",
            "AUROC: heavy clearly better, by the checker",
            "AUROC: the same, by the distance",
            "share of the oracle's gain, 40 % deferred",
        ),
        rows,
        "These are no medians: a figure is of all prompts together, put in one order by "
        "confidence, and may lie outside the brackets, which hold the least and largest of the "
        "seeds' prompts on their own. By the checker heavy is "
        f"clearly better where it is right and light wrong ({better['checker']} of the prompts); "
        "by the distance where light is at least 1.5 times as far from the reference "
        f"({better['distance']}). Random routing has 0 of the oracle's gain.",
    )


def _of_all(values: Sequence[float | None]) -> str:
    """Return the first value, of all prompts, with the range of the seeds' own in brackets."""
    overall, *by_seed = (math.nan if value is None else value for value in values)
    if math.isnan(overall):
        return "-"
    spread = Spread.of(by_seed)
    low, high = f"{spread.low:.2f}", f"{spread.high:.2f}"
    return f"{overall:.2f}" + (f" (seeds {low}-{high})" if low != high else "")


def _curves(summary: Mapping[str, Any]) -> Table:
    curves = summary["curves"]
    shown = [index for index in range(len(curves["fractions"])) if index % 2 == 0]
    rows = [
        (name, *(f"{curves[router][index]:.3f}" for index in shown))
        for router, (name, _) in _ROUTERS.items()
        if router in curves
    ]
    heads = [_percent(curves["fractions"][index]) for index in shown]
    return Table(
        "Accuracy against deferral",
        ("router", *heads),
        rows,
        f"Prompt accuracy of `{summary['light']}` and `{summary['heavy']}` together.",
    )


def _draw_curves(canvas: Canvas, summary: Mapping[str, Any]) -> None:
    axes = canvas.subplots()
    curves = summary["curves"]
    for router, (name, look) in _ROUTERS.items():
        if router in curves:
            axes.plot(
                curves["fractions"],
                curves[router],
                color=look.color,
                marker=look.marker,
                markevery=2,
                markersize=4,
                label=name,
            )
    axes.set_xlabel("share of images drawn again")
    axes.set_ylabel("prompt accuracy")
    axes.legend(loc="lower right")


def _draw_cascades(canvas: Canvas, summary: Mapping[str, Any]) -> None:
    axes = canvas.subplots()
    axes.fill_between([0.0, 0.6], 0.97, 1.05, color="#009E73", alpha=0.12, linewidth=0)
    for (name, points), look in zip(summary["cascades"].items(), _LOOKS, strict=False):
        xs, ys = points["device_time_vs_heavy"], points["accuracy_vs_heavy"]
        label = name.replace("sprite-", "").replace("->", "\N{RIGHTWARDS ARROW}")
        axes.plot(xs, ys, color=look.color, marker=look.marker, markersize=3, label=label)
    heavy = summary["heavy"]
    times = summary["device_ms"]["images"]["in batches of 1"]
    accuracy = {
        name: _mean_accuracy(judged["accuracy"]) for name, judged in summary["levels"].items()
    }
    for name in times:
        place = (times[name] / times[heavy], accuracy[name] / accuracy[heavy])
        axes.plot(*place, marker="x", color=INK, markersize=8, zorder=4)
        axes.annotate(name.replace("sprite-", ""), place, (6, -10), textcoords="offset points")
    axes.set_xlabel("device time of an image")
    axes.set_ylabel("prompt accuracy")
    axes.set_xlim(left=0.0)
    axes.set_ylim(0.0, 1.05)
    axes.legend(loc="lower right")


def _mean_accuracy(by_level: Mapping[str, Sequence[float]]) -> float:
    """Return the mean over the levels, which have equal numbers of prompts."""
    levels = [values for name, values in by_level.items() if name != "hard"]
    return sum(sum(values) / len(values) for values in levels) / len(levels)
