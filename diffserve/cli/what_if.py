"""``diffserve what-if``: the planner's answer and a short simulation's, side by side."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffserve.activation import Activation, extended
from diffserve.catalog import Catalog, load_catalog
from diffserve.cli.assumed_plan import plan_for
from diffserve.cli.connection import admin
from diffserve.cli.output import (
    CliError,
    duration,
    emit_json,
    joined,
    percent,
    stdout,
    table,
    to_document,
)
from diffserve.cli.simulate import progress
from diffserve.config import ControllerSettings, load_settings
from diffserve.errors import ConfigError
from diffserve.profiles.latency import LatencyProfile
from diffserve.rpc.v1 import admin_pb2, controller_pb2
from diffserve.sim.run import Simulation, simulate
from diffserve.sim.workload import WorkloadParameters

CALL_TIMEOUT_S = 60.0
"""The planner solves anew for each question."""
QPS_MAX = 1_000_000
"""More is asked about by mistake."""
NUM_WORKERS_MAX = 10_000
"""That the controller answers for, too."""
NUM_QUERIES_MAX = 500_000
"""Of one simulation: a minute or two."""
METRICS = (
    "slo_violation_ratio",
    "rejected_ratio",
    "heavy_share",
    "quality_metric",
    "is_lower_better",
    "quality_overall",
    "device_busy",
    "latency_s_p50",
    "latency_s_p99",
    "queries",
    "swaps",
)
"""What a simulation answers here, of all that it knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line.

    Attributes:
        qps: Rates, comma-separated; empty: as estimated now.
        workers: Numbers of workers, comma-separated; empty: those that are there.
        cascade_id: Which cascade or request class; empty: the default.
        catalog: Ask no deployment but this catalog.
        duration_s: Of each simulation; 0: none.
        seed: Of the simulated arrivals.
        address: Controller.
    """

    qps: str
    workers: str
    cascade_id: str
    catalog: str
    duration_s: float
    seed: int
    address: str


@dataclass(frozen=True, slots=True)
class Row:
    """One question and its two answers."""

    qps: float
    num_workers: int
    plan: controller_pb2.Plan
    simulated: Mapping[str, Any] | None


def run_what_if(request: Request, *, as_json: bool) -> None:
    """Answer for every combination of the given rates and numbers of workers."""
    qps = parse_list("--qps", request.qps)
    workers = [int(n) for n in parse_list("--workers", request.workers, is_integer=True)]
    _check_length(max(qps, default=0.0), request.duration_s)
    catalog, plans = (_offline if request.catalog else _live)(request, qps, workers)
    rows = [
        Row(answer.qps, answer.num_workers, answer.plan, _simulated(request, catalog, answer))
        for answer in plans
    ]
    if as_json:
        emit_json({"catalog": catalog.name, "rows": [_document(row) for row in rows]})
    else:
        _show(rows, is_live=not request.catalog)


def _check_length(qps: float, duration_s: float) -> None:
    """Refuse a simulation of minutes before anything is planned.

    Raises:
        CliError: it would have too many queries.
    """
    if qps * duration_s > NUM_QUERIES_MAX:
        raise CliError(
            f"--qps: {qps:g} per second for {duration_s:g} s are {qps * duration_s:.3g} queries, "
            f"of which no simulation takes more than {NUM_QUERIES_MAX}; lower --duration, or set "
            "it to 0 for the plan alone",
            exit_code=2,
        )


def parse_list(flag: str, text: str, *, is_integer: bool = False) -> list[float]:
    """Return the numbers of a comma-separated list; none for an empty text.

    Raises:
        CliError: one is no number above 0, or absurdly large.
    """
    numbers = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        try:
            number = int(part) if is_integer else float(part)
        except ValueError:
            number = -1
        largest = NUM_WORKERS_MAX if is_integer else QPS_MAX
        if not 0 < number <= largest:
            kind = "whole numbers" if is_integer else "numbers"
            problem = f"is not one of {kind} above 0, up to {largest}"
            raise CliError(f"{flag}: {part!r} {problem}", exit_code=2)
        numbers.append(float(number))
    return numbers


def _live(
    request: Request, qps: Sequence[float], workers: Sequence[int]
) -> tuple[Catalog, list[admin_pb2.WhatIfResponse]]:
    """Ask the controller, and return its catalog with what it has measured since."""
    rates: list[float | None] = [*qps] or [None]
    counts: list[int | None] = [*workers] or [None]
    with admin(request.address) as stub:
        known = stub.ListCascades(admin_pb2.ListCascadesRequest(), timeout=CALL_TIMEOUT_S)
        answers = [
            stub.WhatIf(
                admin_pb2.WhatIfRequest(cascade_id=request.cascade_id, qps=rate, num_workers=count),
                timeout=CALL_TIMEOUT_S,
            )
            for rate, count in itertools.product(rates, counts)
        ]
    settings = load_settings(ControllerSettings, environ=os.environ)
    catalog = as_activated(load_catalog(settings.catalog), answers[0].plan.activation)
    return as_measured(catalog, known.cascades), answers


def as_activated(catalog: Catalog, activation: str) -> Catalog:
    """Return a catalog with what a plan says is activated beside it, where that fits."""
    if not activation:
        return catalog
    try:
        return extended(catalog, Activation.from_json(activation))
    except ConfigError:
        return catalog  # it is not the deployment's, and `as_measured` says so


def as_measured(catalog: Catalog, live: Sequence[admin_pb2.CascadeInfo]) -> Catalog:
    """Return a catalog with the latencies and SLOs that are in force.

    Raises:
        CliError: the deployment runs something else.
    """
    unknown = [info.cascade_id for info in live if info.cascade_id not in catalog.cascades]
    if unknown:
        raise CliError(
            f"the deployment serves {joined(unknown)}, which catalog {catalog.name} does not have; "
            "set DIFFSERVE_CATALOG to the deployment's, so that it can be simulated",
            exit_code=2,
        )
    measured = {
        variant.variant_id: LatencyProfile(dict(variant.execution_s))
        for info in live
        for variant in (info.light, info.heavy)
    }
    slos = {i.cascade_id: replace(catalog.cascades[i.cascade_id], slo_s=i.slo_s) for i in live}
    return replace(
        catalog,
        latency={**catalog.latency, **measured},
        latency_by_device={},
        cascades={**catalog.cascades, **slos},
    )


def _offline(
    request: Request, qps: Sequence[float], workers: Sequence[int]
) -> tuple[Catalog, list[admin_pb2.WhatIfResponse]]:
    """Ask no deployment: plan here, by the catalog's profiles."""
    if not (qps and workers):
        raise CliError("--catalog needs --qps and --workers", exit_code=2)
    catalog = load_catalog(request.catalog)
    answers = [
        plan_for(catalog, request.cascade_id, rate, count)
        for rate, count in itertools.product(qps, workers)
    ]
    return catalog, answers


def _simulated(
    request: Request, catalog: Catalog, answer: admin_pb2.WhatIfResponse
) -> Mapping[str, Any] | None:
    if request.duration_s <= 0.0 or answer.qps <= 0.0 or answer.num_workers == 0:
        return None
    named = replace(catalog, default_cascade=request.cascade_id or catalog.default_cascade)
    simulation = Simulation(
        catalog=named,
        workload=WorkloadParameters(
            trace="poisson", peak_qps=answer.qps, duration_s=request.duration_s
        ),
        policy="diffserve",
        num_workers=answer.num_workers,
        seed=request.seed,
        pins={c.cascade_id: c.deferral_target for c in answer.plan.cascades if c.pinned},
    )
    with progress(f"{answer.qps:g} qps on {answer.num_workers}") as on_progress:
        metrics = simulate(simulation, on_progress=on_progress)
    return {name: metrics[name] for name in METRICS}


def _document(row: Row) -> dict[str, Any]:
    return {
        "qps": row.qps,
        "workers": row.num_workers,
        "plan": to_document(row.plan),
        "simulation": row.simulated,
    }


def _show(rows: Sequence[Row], *, is_live: bool) -> None:
    console, found = stdout(), next((r.simulated for r in rows if r.simulated), None)
    if found:
        better = "lower" if found["is_lower_better"] else "higher"
        console.print(f"quality is {found['quality_metric']}; {better} is better")
    if is_live:
        console.print("planned by the controller with the profiles of now; nothing changes")
    columns = table(
        *(">qps", ">workers", "placed", ">deferred", ">quality"),
        *(">violations", ">rejected", ">sim. heavy", ">sim. quality", ">busy", ">p99"),
    )
    for row in rows:
        columns.add_row(*_cells(row))
    console.print("", columns, sep="\n")
    for row in rows:
        console.print(f"\n{row.qps:g} qps, {row.num_workers} workers: {row.plan.reason}")


def _cells(row: Row) -> tuple[str, ...]:
    plan, simulated = row.plan, row.simulated
    served = [c for c in plan.cascades if c.class_share > 0.0]
    placed = Counter(" + ".join((p.variant_id, *p.coresident)) for p in plan.placements)
    sign = -1.0 if simulated and simulated["is_lower_better"] else 1.0
    planned = (
        f"{row.qps:g}",
        str(row.num_workers),
        joined(f"{variant} {count}" for variant, count in sorted(placed.items())),
        joined(percent(c.deferral_fraction) for c in served),
        joined(f"{sign * c.expected_quality:.4g}" for c in served),
    )
    if simulated is None:
        return (*planned, *("-" for _ in range(6)))
    return (
        *planned,
        f"{100.0 * simulated['slo_violation_ratio']:.2f} %",
        f"{100.0 * simulated['rejected_ratio']:.2f} %",
        percent(simulated["heavy_share"]),
        f"{simulated['quality_overall']:.4g}",
        percent(simulated["device_busy"]),
        duration(simulated["latency_s_p99"]),
    )
