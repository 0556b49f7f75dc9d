"""Small joint problems, and a backend to solve them."""

from __future__ import annotations

from typing import Any

import pytest

from diffserve.core import Cascade, RequestClass, WorkerInfo
from diffserve.planning.fleet_problem import Candidate, ClassProblem, FleetProblem, RoutingPoint
from diffserve.planning.fleet_solver import Solve
from diffserve.planning.observation import CascadeObservation, FleetObservation
from diffserve.planning.solver import open_cbc
from diffserve.profiles.curves import BypassPoint, DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile

FAST = LatencyProfile({1: 0.1, 2: 0.15, 4: 0.25})
MEDIUM = LatencyProfile({1: 0.4, 2: 0.7})
SLOW = LatencyProfile({1: 1.0, 2: 1.8})
PROFILES = {"fast": FAST, "medium": MEDIUM, "slow": SLOW}
CURVES = {
    ("fast", "medium"): (0.0, 3.0, 4.0),
    ("fast", "slow"): (0.0, 4.0, 6.0),
    ("medium", "slow"): (4.0, 6.0, 6.5),
}
"""(light, heavy) -> quality at shares of 0, 0.5 and 1."""


def solve_with_cbc() -> Solve:
    backend = open_cbc() or pytest.skip("no CBC executable")
    return backend.solve


def candidate(light: str = "fast", heavy: str = "slow", name: str = "") -> Candidate:
    qualities = CURVES[light, heavy]
    return Candidate(
        cascade_id=name or f"{light}-{heavy}",
        light=light,
        heavy=heavy,
        points=tuple(RoutingPoint(0.0, i / 2, q) for i, q in enumerate(qualities)),
    )


def group(
    class_id: str = "main", *candidates: Candidate, demand_qps: float = 4.0, **changes: Any
) -> ClassProblem:
    fields: dict[str, Any] = {"slo_s": 5.0, "weight": 1.0}
    return ClassProblem(
        class_id=class_id,
        candidates=candidates or (candidate(),),
        demand_qps=demand_qps,
        **(fields | changes),
    )


def fleet(*classes: ClassProblem, **changes: Any) -> FleetProblem:
    """Eight devices of one type; device type ``quick`` is twice as fast."""
    fields: dict[str, Any] = {"devices": {"gpu": 8}, "staffing_beta": 1.5}
    fields |= changes
    latency = {}
    for variant, profile in PROFILES.items():
        for device in fields["devices"]:
            speed = 2.0 if device == "quick" else 1.0
            seconds = {b: s / speed for b, s in profile.seconds_by_batch.items()}
            latency[variant, device] = LatencyProfile(seconds)
    fields.setdefault("latency", latency)
    return FleetProblem(classes=classes or (group(),), **fields)


IDENTITY = DeferralProfile((0.0, 0.5, 1.0), (0.0, 0.5, 1.0))


def seen(light: str, heavy: str, demand_qps: float, **changes: Any) -> CascadeObservation:
    """Observe a cascade named after its variants."""
    name = changes.pop("name", f"{light}-{heavy}")
    slo_s = changes.pop("slo_s", 5.0)
    fields: dict[str, Any] = {
        "cascade": Cascade(
            cascade_id=name, light=light, heavy=heavy, discriminator="d", slo_s=slo_s
        ),
        "light": PROFILES[light],
        "heavy": PROFILES[heavy],
        "deferral": IDENTITY,
        "quality": QualityCurve((0.0, 0.5, 1.0), CURVES[light, heavy], "points"),
        "demand_qps": demand_qps,
    }
    return CascadeObservation(**(fields | changes))


def workers(num_workers: int, device_type: str = "gpu", **changes: Any) -> tuple[WorkerInfo, ...]:
    return tuple(
        WorkerInfo(
            worker_id=f"{device_type}-{i:02}",
            address=f"host:{i}",
            device="cuda:0",
            device_type=device_type,
            **changes,
        )
        for i in range(num_workers)
    )


def observed(
    *cascades: CascadeObservation, num_workers: int = 8, **changes: Any
) -> FleetObservation:
    """Observe cascades; all of one class where there are several."""
    names = tuple(c.cascade.cascade_id for c in cascades)
    classes = (RequestClass(class_id="main", cascade_ids=names),) if len(names) > 1 else ()
    fields: dict[str, Any] = {
        "workers": workers(num_workers),
        "cascades": dict(zip(names, cascades, strict=True)),
        "classes": classes,
    }
    return FleetObservation(**(fields | changes))


def bypass(fraction: float, *qualities: float) -> BypassPoint:
    return BypassPoint(fraction, QualityCurve((0.0, 0.5, 1.0), qualities, "points"))
