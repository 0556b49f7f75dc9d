"""``diffserve bench``: open-loop load on any image server, and a report."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from diffserve import __version__
from diffserve.bench.doors import Door, OpenAiRequest, grpc_door, openai_door
from diffserve.bench.page import page_of, percent, seconds
from diffserve.bench.replies import Reply
from diffserve.bench.running import Schedule, run, schedule_of
from diffserve.bench.summary import LAG_S_MAX, summary
from diffserve.catalog import load_catalog
from diffserve.cli.connection import loadbalancer_address
from diffserve.cli.output import CliError, emit_json, stderr, stdout, table
from diffserve.cli.replay import prompts_of
from diffserve.cli.simulate import progress
from diffserve.cli.writing import cannot_write, check_writable
from diffserve.config import LoadBalancerSettings, load_settings
from diffserve.replay.client import Target
from diffserve.sim.workload import WorkloadParameters, make_workload

FOREIGN_SLO_S = 5.0
"""For servers of others, which have no catalog to look it up in."""
PATIENCE = 4.0
"""A client gives up on a server of others after this many SLOs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line of one bench.

    Attributes:
        workload: What to send.
        warm_up_s: Load before it, not reported.
        slo_s: What counts as in time; None: the cascade's.
        seed: Of the arrivals.
        prompts: File of prompts; empty: scenes of one to four things.
        address: Of a load balancer; empty: as configured.
        url: Of an OpenAI-compatible API instead; empty: gRPC.
        model: For ``url``.
        size: For ``url``.
        html: Where to write the report; empty: nowhere.
    """

    workload: WorkloadParameters
    warm_up_s: float
    slo_s: float | None
    seed: int
    prompts: str
    address: str
    url: str
    model: str
    size: str
    html: str


def run_bench(request: Request, *, as_json: bool) -> None:
    """Send the load and report.

    Raises:
        CliError: nobody answers, every query failed, or a file cannot be read or written.
        ConfigError: the trace or the catalog is not known.
    """
    if (request.model or request.size) and not request.url:
        raise CliError("--model and --size go with --url", exit_code=2)
    if request.url and request.address:
        raise CliError("--url and --address name two servers; give one of them", exit_code=2)
    check_writable("--html", request.html)
    slo_s = request.slo_s or (FOREIGN_SLO_S if request.url else _cascade_slo_s())
    workload = make_workload(request.workload, np.random.default_rng(request.seed))
    schedule = schedule_of(workload, request.warm_up_s)
    prompt_of = prompts_of(request.prompts)
    target = request.url or loadbalancer_address(request.address)
    door: AbstractAsyncContextManager[Door]
    if request.url:
        door = openai_door(
            OpenAiRequest(
                url=request.url,
                model=request.model,
                size=request.size,
                timeout_s=PATIENCE * slo_s,
                prompt_of=prompt_of,
            )
        )
    else:
        door = grpc_door(Target(address=target, slo_s=slo_s, prompt_of=prompt_of))
    with progress("bench") as on_progress:
        try:
            replies = asyncio.run(_replies(door, schedule, on_progress))
        except TimeoutError:
            raise CliError(f"nobody answers at {target}") from None
    if not replies:
        raise CliError("the load holds no query; raise --rate or --duration", exit_code=2)
    document = {
        "target": f"{target}, {request.model}" if request.model else target,
        "door": "openai" if request.url else "grpc",
        "trace": request.workload.trace,
        "seed": request.seed,
        "warm_up_s": request.warm_up_s,
        **summary(replies, slo_s, schedule.duration_s),
        "command": shlex.join(["diffserve", *sys.argv[1:]]),
        "made": f"diffserve {__version__}, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    }
    if as_json:
        emit_json(document)
    else:
        _show(document)
    # Last: the figures are worth more than the page.
    if request.html:
        _write(request.html, page_of(document, replies))
        if not as_json:
            stderr().print(f"report: {request.html}")
    if document["failed"] == document["queries"]:
        error, count = next(iter(document["errors"].items()))
        raise CliError(f"every query failed: {count} x {error}")


async def _replies(
    door: AbstractAsyncContextManager[Door],
    schedule: Schedule,
    on_progress: Callable[[float, float], None],
) -> list[Reply]:
    async with door as opened:
        return await run(opened, schedule, on_progress)


def _cascade_slo_s() -> float:
    """Return the SLO of the default cascade of the configured catalog."""
    settings = load_settings(LoadBalancerSettings, environ=os.environ)
    catalog = load_catalog(settings.catalog)
    return catalog.cascades[catalog.default_class.cascade_ids[0]].slo_s


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write("--html", path, error) from None


def _show(document: dict[str, Any]) -> None:
    console = stdout()
    console.print(
        f"{document['queries']} queries to {document['target']} in {document['duration_s']:g} s, "
        f"{document['offered_qps']:.3g} per second; SLO {document['slo_s']:g} s\n"
    )
    rows = table(
        *(">in time", ">goodput", ">late", ">refused", ">expired", ">failed"),
        *(">p50", ">p90", ">p99", ">first p50", ">heavy", ">lag p99"),
    )
    rows.add_row(
        percent(document["slo_attainment"]),
        f"{document['goodput_qps']:.3g} /s",
        *(str(document[name]) for name in ("late", "refused", "expired", "failed")),
        *(seconds(document[f"latency_s_p{share}"]) for share in (50, 90, 99)),
        seconds(document["first_image_s_p50"]),
        percent(document["heavy_share"]),
        seconds(document["client_lag_s_p99"]),
    )
    console.print(rows)
    for error, count in document["errors"].items():
        console.print(f"{count} x {error}", style="dim", soft_wrap=True)
    if document["client_lag_s_p99"] > LAG_S_MAX:
        stderr().print(
            f"the client was late itself (lag p99 {seconds(document['client_lag_s_p99'])}): part "
            "of these latencies is its own; lower the rate or use an idle machine"
        )
