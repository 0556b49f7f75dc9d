"""A class of two cascades in a row: the middle variant is heavy in one and light in the other."""

from __future__ import annotations

from collections.abc import Mapping

from diffserve.core import Cascade, CascadePlan, Plan, RequestClass, WorkerInfo
from diffserve.policy.balancer import Balancer
from diffserve.policy.parameters import BalancerParameters
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.latency import LatencyProfile
from tests.unit.policy.harness import QUALITY, Harness

PROFILES = {
    "tiny": LatencyProfile({1: 0.1, 2: 0.15, 4: 0.25}),
    "mid": LatencyProfile({1: 0.3, 2: 0.5, 4: 0.9}),
    "big": LatencyProfile({1: 1.0, 2: 1.6}),
}
CASCADES = {
    "near": Cascade(cascade_id="near", light="tiny", heavy="mid", discriminator="d", slo_s=5.0),
    "far": Cascade(cascade_id="far", light="mid", heavy="big", discriminator="d", slo_s=5.0),
}
CLASS = RequestClass(class_id="k", cascade_ids=("near", "far"))
EVERYTHING = tuple(PROFILES)
CURVES = {"near": QUALITY, "far": QualityCurve((0.0, 0.5, 1.0), (1.0, 1.75, 2.0), "gain")}
"""In a row in what they give, too: the middle one is as good whichever stage it is."""


def plan(
    placement: Mapping[str, str],
    *,
    shares: Mapping[str, float] | None = None,
    fraction: float = 0.5,
    bypass: float = 0.0,
    demand_qps: float = 1.0,
    coresident: Mapping[str, tuple[str, ...]] | None = None,
    resident: tuple[str, ...] = EVERYTHING,
    kinds: Mapping[str, str] | None = None,
    plan_id: int = 1,
) -> Plan:
    shares = shares or {"near": 0.5, "far": 0.5}
    return Plan(
        plan_id=plan_id,
        placement=dict(placement),
        batch_size_max={"tiny": 4, "mid": 4, "big": 2},
        cascades={
            name: CascadePlan(
                cascade_id=name,
                demand_qps=demand_qps * share,
                deferral_fraction=fraction,
                deferral_target=fraction,
                confidence_threshold=0.5,
                expected_quality=0.0,
                class_share=share,
                bypass_fraction=bypass,
            )
            for name, share in shares.items()
        },
        coresident=dict(coresident or {}),
        workers={
            worker_id: WorkerInfo(
                worker_id=worker_id,
                address="",
                device="cpu",
                resident=resident,
                device_type=(kinds or {}).get(worker_id, ""),
            )
            for worker_id in placement
        },
    )


def make_balancer(
    devices: Mapping[str, Mapping[str, LatencyProfile]] | None = None,
) -> Balancer:
    return Balancer(
        CASCADES,
        PROFILES,
        BalancerParameters(),
        quality=CURVES,
        classes={"k": CLASS},
        devices=devices,
    )


def started(placement: Mapping[str, str], **options: object) -> Harness:
    harness = Harness(make_balancer(), profiles=dict(PROFILES))
    harness.perform(harness.balancer.apply_plan(plan(placement, **options), 0.0))  # type: ignore[arg-type]
    return harness
