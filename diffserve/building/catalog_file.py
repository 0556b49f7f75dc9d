"""Writes cascades as a catalog that the services load; see ``diffserve.catalog`` for its meaning.

What ``load_catalog`` reads back is what was put in: every field of every variant.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffserve.building.calibration import deferral_profile, quality_curve
from diffserve.building.choice import Candidate, Choice, PairName, cascade_id
from diffserve.building.pairs import PairedOutcomes
from diffserve.catalog import Discriminator, Example
from diffserve.core import Lora, Variant

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a variant takes on the device at hand.

    Attributes:
        execution_s: Median seconds by batch size, not decreasing.
        execution_s_p95: 95th percentile by batch size.
        memory_bytes: Of its weights.
        load_s: Seconds to load them and run once.
    """

    execution_s: Mapping[int, float]
    execution_s_p95: Mapping[int, float]
    memory_bytes: int
    load_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A cascade of the catalog.

    Attributes:
        cascade_id: Its name.
        name: Its parts.
        outcomes: What its curves come from.
        slo_s: Its latency SLO, seconds.
        deferral_max: Share of the queries that plans may aim to defer, 0..1.
        remark: A line above it.
    """

    cascade_id: str
    name: PairName
    outcomes: PairedOutcomes
    slo_s: float
    deferral_max: float = 1.0
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What goes into a catalog.

    Attributes:
        head: Lines for people, at the top.
        served: The cascades, the default one first.
        class_id: Request class of all of them, which is the default then; empty: each is one of
            its own.
        variants: With sources as the catalog is to name them; see ``seen_from``.
        profiles: Every variant's costs, by ``variant_id``.
        discriminators: All that there are, so that cascades that use others can be activated
            later; sources as the catalog is to name them.
        metric: What qualities mean, for people.
        examples: Prompts that the web page offers to try.
    """

    head: Sequence[str]
    served: Sequence[Served]
    variants: Sequence[Variant]
    profiles: Mapping[str, Profile]
    discriminators: Sequence[Discriminator]
    metric: str
    examples: Sequence[Example]
    class_id: str = ""


def catalog_text(contents: Contents) -> str:
    """Return a catalog as TOML. Pure."""
    used = {cascade.name.discriminator for cascade in contents.served}
    return "\n".join(
        (
            *(f"# {line}" for line in contents.head),
            f"default_cascade = {_toml(contents.class_id or contents.served[0].cascade_id)}",
            _examples(contents.examples),
            *([_class(contents)] if contents.class_id else []),
            *(_variant(v, contents.profiles[v.variant_id]) for v in contents.variants),
            *(
                _discriminator(each, is_used=each.discriminator_id in used)
                for each in contents.discriminators
            ),
            *(_cascade(cascade, contents.metric) for cascade in contents.served),
        )
    )


def served_cascades(
    choice: Choice,
    slo_s: Callable[[Candidate], float],
    remark: Callable[[Candidate], str],
    *,
    is_class: bool = False,
) -> list[Served]:
    """Return the default cascade, or that and then all others that are kept, as one class.

    Cascades that are classes of their own would be placed on workers even while nobody asks for
    them: a small deployment would have none left for the default one's heavy variant.

    Args:
        choice: What was chosen.
        slo_s: Latency SLO of a cascade, seconds.
        remark: The line above it.
        is_class: All that are kept: plans may defer what the workers can carry, and all promise
            the longest SLO. Else the default one, of which plans may aim to defer no more than the
            share at which it was chosen.
    """
    others = [c for c in choice.candidates if c.is_kept and c is not choice.default]
    kept = (choice.default, *others) if is_class else (choice.default,)
    longest_s = max(map(slo_s, kept))
    return [
        Served(
            cascade_id=cascade_id(candidate.name),
            name=candidate.name,
            outcomes=candidate.outcomes,
            slo_s=longest_s if is_class else slo_s(candidate),
            deferral_max=1.0 if is_class else candidate.point.fraction,
            remark=remark(candidate),
        )
        for candidate in kept
    ]


def relative(target: Path, folder: Path) -> Path:
    """Return a file or folder as seen from the folder of a catalog."""
    return Path(os.path.relpath(target.resolve(), folder.resolve()))


def seen_from(variant: Variant, folder: Path) -> Variant:
    """Return a variant whose local sources are relative to the folder of a catalog.

    Reads of the disk only whether they are local; hub ids stay as they are.
    """

    def seen(source: str) -> str:
        path = Path(source)
        return str(relative(path, folder)) if path.is_absolute() and path.exists() else source

    return dataclasses.replace(
        variant,
        source=seen(variant.source),
        denoiser=seen(variant.denoiser),
        safety_checker=seen(variant.safety_checker),
        config=seen(variant.config),
        loras=tuple(dataclasses.replace(lora, source=seen(lora.source)) for lora in variant.loras),
    )


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    rows = (f"    {{ kind = {_toml(e.kind)}, text = {_toml(e.text)} }}," for e in examples)
    return "\n".join(("examples = [", *rows, "]\n"))


def _class(contents: Contents) -> str:
    rows = (f"    {_toml(cascade.cascade_id)}," for cascade in contents.served)
    return "\n".join((f"[class.{_key(contents.class_id)}]", "cascades = [", *rows, "]\n"))


def _variant(variant: Variant, profile: Profile) -> str:
    """Return a table of all fields that are not at their defaults; unknown costs are filled in."""
    profiled = dataclasses.replace(
        variant,
        memory_bytes=variant.memory_bytes or profile.memory_bytes,
        load_s=variant.load_s or round(profile.load_s, 3),
    )
    seconds = ", ".join(f"{size} = {s:.4g}" for size, s in profile.execution_s.items())
    lines = [f"[variant.{_key(variant.variant_id)}]"]
    for field in dataclasses.fields(profiled):
        value = getattr(profiled, field.name)
        if field.name != "variant_id" and value != field.default:
            spelled = dict(value) if field.name == "scheduler_options" else value
            lines.append(f"{field.name} = {_toml(spelled)}")
    return "\n".join((*lines, f"latency_s = {{ {seconds} }}", ""))


def _discriminator(discriminator: Discriminator, *, is_used: bool) -> str:
    remark = "" if is_used else "# No cascade here uses it; one that is activated later may.\n"
    return f"""{remark}[discriminator.{_key(discriminator.discriminator_id)}]
scorer = {_toml(discriminator.scorer)}
source = {_toml(discriminator.source)}
"""


def _cascade(served: Served, metric: str) -> str:
    outcomes, name = served.outcomes, _key(served.cascade_id)
    deferral = deferral_profile(outcomes.confidences.astype(np.float32))
    quality = quality_curve(outcomes, metric)
    cap = f"deferral_max = {served.deferral_max:.4f}\n" if served.deferral_max < 1.0 else ""
    remark = f"# {served.remark}\n" if served.remark else ""
    return f"""{remark}[cascade.{name}]
light = {_toml(served.name.light)}
heavy = {_toml(served.name.heavy)}
discriminator = {_toml(served.name.discriminator)}
slo_s = {served.slo_s}
{cap}
[cascade.{name}.deferral]
thresholds = {list(deferral.thresholds)}
fractions = {list(deferral.fractions)}

[cascade.{name}.quality]
metric = {_toml(quality.metric)}
fractions = {list(quality.fractions)}
qualities = {list(quality.qualities)}
"""


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _toml(value: Any) -> str:
    """Return a value of a variant's field as TOML spells it."""
    if isinstance(value, Lora):
        return _toml(dataclasses.asdict(value))
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # Strings, numbers and truth values are spelled as in JSON, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
