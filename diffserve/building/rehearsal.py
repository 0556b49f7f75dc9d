"""What ``diffserve cascade build`` asks of a worker's loading code, and what it hears back.

The library knows no services, so variants are tried out by a process of the worker's:
``python -m services.worker.rehearsal``. It reads a ``Rehearsal`` from standard input and writes
events to standard output, one JSON document per line and one key per document: ``failed`` (why,
and nothing follows), ``profile``, ``drawn`` (images so far).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffserve.building.catalog_file import Profile
from diffserve.core import Lora, Variant

SCORED_SUFFIX = ".scored.png"
WITHHELD_SUFFIX = ".withheld"


@dataclass(frozen=True, slots=True)
class Order:
    """One image to draw.

    Attributes:
        path: Where it goes, without a suffix: ``.png`` is the image, ``.scored.png`` the copy
            that a discriminator would get of it, and ``.withheld`` says that there is none,
            because the variant's safety checker withheld it.
        prompt: What it is to show.
        seed: Of its noise.
    """

    path: str
    prompt: str
    seed: int

    @property
    def image(self) -> Path:
        """File of the image."""
        return Path(f"{self.path}.png")

    @property
    def scored(self) -> Path:
        """File of the copy for discriminators."""
        return Path(f"{self.path}{SCORED_SUFFIX}")

    @property
    def withheld(self) -> Path:
        """File that says that there is no image."""
        return Path(f"{self.path}{WITHHELD_SUFFIX}")

    @property
    def is_done(self) -> bool:
        """Whether it was drawn, or withheld, before."""
        return self.image.exists() or self.withheld.exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a process is to do with one variant.

    Attributes:
        variant: Which; local sources are absolute.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_sizes: To profile, ascending from 1; with a GPU its networks are compiled for these.
        is_profiled: Whether to time them.
        orders: Images to draw.
        drawn_at_once: Images per batch.
    """

    variant: Variant
    device: str
    batch_sizes: tuple[int, ...]
    is_profiled: bool
    orders: tuple[Order, ...] = ()
    drawn_at_once: int = 1

    def to_json(self) -> str:
        """Return it as one JSON document."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Rehearsal:
        """Return what ``to_json`` wrote."""
        values = json.loads(text)
        variant = values["variant"]
        loras = tuple(Lora(**lora) for lora in variant["loras"])
        options = tuple((name, value) for name, value in variant["scheduler_options"])
        return cls(
            **{
                **values,
                "variant": Variant(**{**variant, "loras": loras, "scheduler_options": options}),
                "batch_sizes": tuple(values["batch_sizes"]),
                "orders": tuple(Order(**order) for order in values["orders"]),
            }
        )


def profile_to_event(profile: Profile) -> dict[str, Any]:
    """Return a profile as the value of its event."""
    return dataclasses.asdict(profile)


def profile_from_event(value: dict[str, Any]) -> Profile:
    """Return what ``profile_to_event`` wrote: JSON has no numbers as keys."""
    seconds = {
        name: {int(size): s for size, s in value[name].items()}
        for name in ("execution_s", "execution_s_p95")
    }
    return Profile(**{**value, **seconds})
