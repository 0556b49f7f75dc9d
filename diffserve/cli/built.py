"""What ``diffserve cascade build`` says at its end, whichever variants it was about."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from diffserve.building.choice import Choice, cascade_id
from diffserve.building.pairs import OperatingPoint
from diffserve.cli.output import emit_json, stdout


def described(point: OperatingPoint, verb: str) -> str:
    """Return an operating point in words.

    Args:
        point: Of a cascade.
        verb: What is so of that many answers, e.g. "right".
    """
    return (
        f"{100 * point.quality:.1f} % {verb} in {1e3 * point.device_s:.0f} ms of device time, "
        f"deferring {100 * point.fraction:.0f} %"
    )


def meaning_of_default(class_id: str) -> str:
    """Return what the default of a built catalog is for."""
    if class_id:
        return f"of class {class_id} the planner takes the cascades that the load allows"
    return "the default keeps the quality at the least cost"


def tell(
    choice: Choice, catalog: Path, page: Path, verb: str, *, class_id: str, as_json: bool
) -> None:
    """Print what was chosen and where it stands."""
    default = choice.default
    if as_json:
        emit_json(
            {
                "catalog": str(catalog),
                "page": str(page),
                "default_cascade": class_id or cascade_id(default.name),
                "share_deferred": default.point.fraction,
                "expected": asdict(default.point),
                "kept": [cascade_id(c.name) for c in choice.candidates if c.is_kept],
            }
        )
        return
    console = stdout()
    console.print(f"{cascade_id(default.name)}: {described(default.point, verb)}")
    if class_id:
        kept = sum(c.is_kept or c is default for c in choice.candidates)
        console.print(f"{class_id}: the planner mixes it with {kept - 1} others, by load")
    if not default.is_good_enough:
        console.print(f"no cascade reaches {100 * choice.quality_min:.1f} %: this is the best one")
    console.print(
        f"{page} says why; serve it with: diffserve up --catalog {json.dumps(str(catalog))}"
    )
