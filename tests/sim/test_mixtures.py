"""Request classes, bypass, time-shared workers and several types of devices, simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from diffserve.catalog import Catalog, load_catalog
from diffserve.core import Plan, RequestClass, WorkerInfo
from diffserve.planning.planner import make_plan
from diffserve.profiles.curves import BypassPoint
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim import ours
from diffserve.sim.faults import Faults
from diffserve.sim.hardware import HardwareParameters
from diffserve.sim.policies import POLICIES
from diffserve.sim.run import Simulation, simulate
from diffserve.sim.workload import WorkloadParameters
from tests.sim.runs import logged

MOCK = load_catalog("mock")
LOSS = Faults.model_validate({"worker_loss": [{"at_s": 5.0, "share": 0.4, "duration_s": 4.0}]})


def catalog(*, bypass: bool = False) -> Catalog:
    """Return three variants in a row in two cascades of one class."""
    mock = MOCK.cascades["mock"]
    cascades = {
        "near": replace(mock, cascade_id="near", heavy="mid"),
        "far": replace(mock, cascade_id="far", light="mid"),
    }
    mid = LatencyProfile({1: 0.06, 2: 0.1, 4: 0.18, 8: 0.34})
    quality = MOCK.quality["mock"]
    better = replace(quality, qualities=tuple(q + 0.05 for q in quality.qualities))
    return replace(
        MOCK,
        default_cascade="all",
        cascades=cascades,
        variants={**MOCK.variants, "mid": replace(MOCK.variants["mock-light"], variant_id="mid")},
        latency={**MOCK.latency, "mid": mid},
        latency_by_device={
            variant_id: {
                "fast": profile,
                "slow": LatencyProfile(
                    {size: 2.0 * s for size, s in profile.seconds_by_batch.items()}
                ),
            }
            for variant_id, profile in {**MOCK.latency, "mid": mid}.items()
        },
        deferral=dict.fromkeys(cascades, MOCK.deferral["mock"]),
        quality={"near": quality, "far": better},
        classes={"all": RequestClass(class_id="all", cascade_ids=("near", "far"))},
        bypass={"near": (BypassPoint(0.4, better),)} if bypass else {},
    )


def run(policy: str = "diffserve", **options: Any) -> Simulation:
    fields = {
        "catalog": catalog(),
        "workload": WorkloadParameters(trace="poisson", peak_qps=20.0, duration_s=15.0),
        "policy": policy,
        "num_workers": 4,
        **options,
    }
    return Simulation(**fields)  # type: ignore[arg-type]


class Forced:
    """Lets a test rewrite the plans of a run."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __call__(self, observation: Any, *rest: Any, **options: Any) -> Plan:
        plan = make_plan(observation, *rest, **options)
        cascades = {
            name: replace(
                cascade,
                class_share=self._changes.get("shares", {}).get(name, cascade.class_share),
                bypass_fraction=self._changes.get("bypass", cascade.bypass_fraction),
                deferral_target=self._changes.get("target", cascade.deferral_target),
            )
            for name, cascade in plan.cascades.items()
        }
        variants = ("mock-light", "mid", "mock-heavy")
        shared = {w: tuple(x for x in variants if x != v) for w, v in plan.placement.items()}
        caps = {v: plan.batch_size_max.get(v, 2) for v in variants}
        return replace(
            plan,
            cascades=cascades,
            batch_size_max=caps,
            coresident=shared if self._changes.get("shares_time") else plan.coresident,
        )


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_serves_a_class(policy: str) -> None:
    metrics = simulate(run(policy, faults=LOSS))
    assert sum(metrics["outcomes"].values()) == metrics["queries"] > 0
    assert metrics["cascade"] == "all"


@pytest.mark.parametrize("faults", [Faults(), LOSS])
def test_classes_are_divided_as_planned(monkeypatch: pytest.MonkeyPatch, faults: Faults) -> None:
    forced = Forced(shares={"near": 0.25, "far": 0.75}, shares_time=True)
    monkeypatch.setattr(ours, "make_plan", forced)
    log, metrics = logged(run(faults=faults))
    routed = [line.split()[-1] for line in log.splitlines() if " route " in line]
    assert len(routed) == metrics["queries"]
    assert routed.count("near") == pytest.approx(0.25 * len(routed), abs=2)
    assert log == logged(run(faults=faults))[0]


def test_the_hardest_bypass_and_the_rank_disturbs_no_other_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ours, "make_plan", Forced(shares={"near": 1.0, "far": 0.0}, bypass=0.4))
    ranked, metrics = logged(run(catalog=catalog(bypass=True)))
    plain, _ = logged(run())
    hard = [line for line in ranked.splitlines() if " bypass q" in line]
    assert 0.1 * metrics["queries"] < len(hard) < 0.6 * metrics["queries"]
    arrivals = [
        [line.split(" difficulty=")[0] for line in log.splitlines() if " arrive " in line]
        for log in (ranked, plain)
    ]
    assert arrivals[0] == arrivals[1]


@pytest.mark.parametrize("shares_time", [False, True])
def test_invariants_hold_whatever_the_plan_says(
    monkeypatch: pytest.MonkeyPatch, shares_time: bool
) -> None:
    forced = Forced(
        shares={"near": 0.5, "far": 0.5}, bypass=0.3, target=0.6, shares_time=shares_time
    )
    monkeypatch.setattr(ours, "make_plan", forced)
    hardware = HardwareParameters(num_resident_max=2, load_s=1.0, latency_cv=0.3)
    for seed in range(2):
        for machines in (HardwareParameters(), hardware):
            simulate(
                run(
                    catalog=catalog(bypass=True),
                    devices=(("fast", 2), ("slow", 2)),
                    faults=LOSS,
                    hardware=machines,
                    seed=seed,
                )
            )


def test_one_worker_serves_a_whole_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    forced = Forced(shares={"near": 1.0, "far": 0.0}, target=0.5, shares_time=True)
    monkeypatch.setattr(ours, "make_plan", forced)
    workload = WorkloadParameters(trace="poisson", peak_qps=5.0, duration_s=40.0)
    metrics = simulate(run(num_workers=1, workload=workload))
    assert metrics["slo_violation_ratio"] == metrics["rejected_ratio"] == 0.0
    assert metrics["heavy_share"] > 0.2


def test_slow_devices_are_worth_less() -> None:
    fast, slow = (
        simulate(run(devices=((kind, 4),), workload=BUSY, catalog=single())) for kind in KINDS
    )
    mixed = simulate(run(devices=(("fast", 2), ("slow", 2)), workload=BUSY, catalog=single()))
    assert fast["heavy_share"] > mixed["heavy_share"] > slow["heavy_share"]
    assert mixed["bound_quality_windowed"] is None
    assert slow["bound_quality_windowed"] < fast["bound_quality_windowed"]
    assert mixed["slo_violation_ratio"] <= 0.01


KINDS = ("fast", "slow")
BUSY = WorkloadParameters(trace="poisson", peak_qps=25.0, duration_s=30.0)


def single() -> Catalog:
    """Return the mock cascade on two types of devices."""
    both = catalog()
    return replace(MOCK, latency_by_device=both.latency_by_device)


def test_worker_tells_its_type() -> None:
    seen: list[tuple[WorkerInfo, ...]] = []

    def watching(observation: Any, *rest: Any, **options: Any) -> Plan:
        seen.append(observation.workers)
        return make_plan(observation, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "make_plan", watching)
        simulate(run(devices=(("fast", 1), ("slow", 3)), catalog=single()))
    assert [worker.kind for worker in seen[0]] == ["fast", "slow", "slow", "slow"]
