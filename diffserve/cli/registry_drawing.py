"""Profiles a registry's variants and has them draw the prompts, one in memory at a time."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffserve.building.catalog_file import Profile
from diffserve.building.prompts import seed_of
from diffserve.building.rehearsal import Order, Rehearsal, profile_from_event
from diffserve.building.store import Store
from diffserve.cli.output import CliError
from diffserve.cli.progress import progress_bar
from diffserve.cli.registry_options import RegistryOptions
from diffserve.cli.rehearsing import rehearse
from diffserve.core import Variant
from diffserve.gain.training import NUM_PROMPTS_MIN

CACHE = Path("build/cascades")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be built from, checked.

    Attributes:
        options: The command line.
        variants: By name.
        prompts: All of them, in no order.
        sizes: Batch sizes to profile.
        store: Of finished steps.
    """

    options: RegistryOptions
    variants: Mapping[str, Variant]
    prompts: Sequence[str]
    sizes: tuple[int, ...]
    store: Store

    def orders(self, variant: Variant, prompts: Sequence[str]) -> list[Order]:
        """Return what a variant is to draw; images are kept by what they depend on."""
        folder = (CACHE / "images" / digest(fingerprint(variant))).resolve()
        return [
            Order(path=str(folder / digest(prompt)), prompt=prompt, seed=seed_of(prompt))
            for prompt in prompts
        ]


def profiled(work: Work) -> dict[str, Profile]:
    """Return what every variant takes, the fastest first."""
    found: dict[str, Profile] = {}
    with progress_bar("variants profiled") as on_progress:
        for name, variant in work.variants.items():
            on_progress(len(found), len(work.variants))
            make = functools.partial(_profile, work, variant)
            found[name] = work.store.remember(f"profile-{digest(name)}", make)
    return dict(sorted(found.items(), key=lambda item: item[1].execution_s[1]))


def _profile(work: Work, variant: Variant) -> Profile:
    heard: dict[str, Any] = {}
    rehearsal = Rehearsal(
        variant=variant,
        device=work.options.device,
        batch_sizes=work.sizes,
        is_profiled=True,
    )
    rehearse(rehearsal, _log(variant), heard.__setitem__)
    return profile_from_event(heard["profile"])


def drawn_prompts(work: Work, profiles: Mapping[str, Profile]) -> list[str]:
    """Draw as many of the prompts as there is time for; return those that all variants drew."""
    at_once = {name: _productive_size(profile) for name, profile in profiles.items()}
    costs_s = {name: profiles[name].execution_s[size] / size for name, size in at_once.items()}
    orders = {name: work.orders(work.variants[name], work.prompts) for name in profiles}
    missing_s = [
        sum(costs_s[name] for name, own in orders.items() if not own[row].is_done)
        for row in range(len(work.prompts))
    ]
    count = affordable(missing_s, work.options.budget_s)
    if count < NUM_PROMPTS_MIN:
        raise CliError(
            f"--budget-minutes: {count} prompts can be drawn in time; at least {NUM_PROMPTS_MIN} "
            f"are needed, which take {sum(missing_s[:NUM_PROMPTS_MIN]) / 60:.1f} minutes"
        )
    with progress_bar("images drawn") as on_progress:
        for index, (name, own) in enumerate(orders.items()):
            tell = functools.partial(_tell, on_progress, index * count, len(orders) * count)
            tell("drawn", 0)
            if all(order.is_done for order in own[:count]):
                continue
            rehearsal = Rehearsal(
                variant=work.variants[name],
                device=work.options.device,
                batch_sizes=tuple(profiles[name].execution_s),
                is_profiled=False,
                orders=tuple(own[:count]),
                drawn_at_once=at_once[name],
            )
            rehearse(rehearsal, _log(work.variants[name]), tell)
    rows = [row for row in range(count) if all(own[row].image.exists() for own in orders.values())]
    if len(rows) < NUM_PROMPTS_MIN:
        raise CliError(
            f"safety_checker: images of {count - len(rows)} of {count} prompts were withheld; at "
            f"least {NUM_PROMPTS_MIN} prompts are needed"
        )
    return [work.prompts[row] for row in rows]


def _tell(
    on_progress: Callable[[int, int], None], before: int, total: int, event: str, value: Any
) -> None:
    if event == "drawn":
        on_progress(before + value, total)


def affordable(costs_s: Sequence[float], budget_s: float) -> int:
    """Return how many things there is time for, from the first on. Pure.

    Args:
        costs_s: Seconds that each takes.
        budget_s: Seconds that there are.
    """
    return int(np.searchsorted(np.cumsum(costs_s), budget_s, side="right"))


def _productive_size(profile: Profile) -> int:
    """Return the batch size whose images take the least time."""
    return min(profile.execution_s, key=lambda size: profile.execution_s[size] / size)


def _log(variant: Variant) -> Path:
    """Return the file that gets what a rehearsal of the variant logs."""
    return CACHE / "logs" / f"{digest(variant.variant_id)}.log"


def fingerprint(variant: Variant) -> str:
    """Return all that a variant's images depend on: its settings, and weights that lie here."""
    sources = (
        variant.source,
        variant.denoiser,
        variant.safety_checker,
        variant.config,
        *(lora.source for lora in variant.loras),
    )
    return repr((variant, [local_files(source) for source in sources]))


def local_files(source: str) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of all files of a local source; none of a hub's.

    Not their content, as weights of many gigabytes would take minutes to read.
    """
    root = Path(source)
    if not source or not root.exists():
        return []
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    stats = [(str(file.relative_to(root)), file.stat()) for file in files if file.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def digest(*texts: str) -> str:
    """Return a short name for texts that are too long for one."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
