"""What one plan says otherwise than another. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diffserve.cli.output import duration, joined, percent
from diffserve.rpc.v1 import controller_pb2

Value = str | float | bool | None


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        kind: "worker", "variant" or "cascade".
        name: Of the worker, variant or cascade.
        field: What differs, with its unit.
        before: In the first plan; None where it says nothing.
        after: In the second plan.
    """

    kind: str
    name: str
    field: str
    before: Value
    after: Value


_CASCADE_FIELDS = (
    "demand_qps",
    "slo_s",
    "deferral_fraction",
    "deferral_target",
    "pinned",
    "confidence_threshold",
    "expected_quality",
    "class_share",
    "bypass_fraction",
)
_DIGITS = 4
"""Smaller differences of figures are noise."""


def differences(before: controller_pb2.Plan, after: controller_pb2.Plan) -> list[Change]:
    """Return what differs: placements first, then variants, then cascades."""
    return [*_moved(before, after), *_variants(before, after), *_cascades(before, after)]


def sentence(change: Change) -> str:
    """Return a change for people."""
    return (
        f"{change.kind} {change.name}: {change.field.removesuffix('_s').replace('_', ' ')} "
        f"{_text(change.field, change.before)} -> {_text(change.field, change.after)}"
    )


def _moved(before: controller_pb2.Plan, after: controller_pb2.Plan) -> Iterator[Change]:
    old, new = _serving(before), _serving(after)
    for worker_id in sorted({*old, *new}):
        yield from _change("worker", worker_id, "runs", old.get(worker_id), new.get(worker_id))


def _serving(plan: controller_pb2.Plan) -> dict[str, str]:
    return {p.worker_id: joined([p.variant_id, *p.coresident]) for p in plan.placements}


def _variants(before: controller_pb2.Plan, after: controller_pb2.Plan) -> Iterator[Change]:
    counts = [Counter(p.variant_id for p in plan.placements) for plan in (before, after)]
    caps = [{v.variant_id: v.batch_size_max for v in plan.variants} for plan in (before, after)]
    for variant_id in sorted({*counts[0], *counts[1], *caps[0], *caps[1]}):
        yield from _change("variant", variant_id, "workers", *(c[variant_id] for c in counts))
        yield from _change("variant", variant_id, "batch_size_max", *_both(caps, variant_id))


def _both(rows: list[dict[str, int]], name: str) -> tuple[int | None, int | None]:
    return rows[0].get(name), rows[1].get(name)


def _cascades(before: controller_pb2.Plan, after: controller_pb2.Plan) -> Iterator[Change]:
    old: Mapping[str, controller_pb2.CascadePlan] = {c.cascade_id: c for c in before.cascades}
    new: Mapping[str, controller_pb2.CascadePlan] = {c.cascade_id: c for c in after.cascades}
    for cascade_id in sorted({*old, *new}):
        for name in _CASCADE_FIELDS:
            values = [
                getattr(rows[cascade_id], name) if cascade_id in rows else None
                for rows in (old, new)
            ]
            yield from _change("cascade", cascade_id, name, *values)


def _change(kind: str, name: str, field: str, before: Value, after: Value) -> Iterator[Change]:
    if _rounded(before) != _rounded(after):
        yield Change(kind, name, field, before, after)


def _rounded(value: Value) -> Value:
    return round(value, _DIGITS) if isinstance(value, float) else value


def _text(field: str, value: Value) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if field.endswith("_s"):
        return duration(value)
    is_share = field in ("deferral_fraction", "deferral_target", "class_share", "bypass_fraction")
    return percent(value) if is_share else f"{value:.4g}"
