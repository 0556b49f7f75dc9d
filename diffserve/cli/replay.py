"""``diffserve replay``: a workload served by a running deployment, in the simulator's terms."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffserve.catalog import load_catalog
from diffserve.cli.connection import explain_error, loadbalancer_address
from diffserve.cli.output import CliError, duration, emit_json, percent, stdout, table
from diffserve.cli.simulate import progress
from diffserve.cli.writing import cannot_write, check_writable
from diffserve.config import LoadBalancerSettings, load_settings
from diffserve.embedded.captions import held_out_prompt
from diffserve.errors import DiffServeError, InputError
from diffserve.files import text_of
from diffserve.replay.client import Answer, Replayed, Target, replay
from diffserve.sim.run import Simulation, tables_of, workload_of
from diffserve.sim.workload import WorkloadParameters

COLUMNS = ("index", "prompt_id", "arrival_s", "lag_s", "latency_s", "outcome", "variant", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line of one replay."""

    workload: WorkloadParameters
    catalog: str
    slo_s: float | None
    seed: int
    prompts: str
    log: str
    address: str


def run_replay(request: Request, *, as_json: bool) -> None:
    """Serve the workload and print what it comes to.

    Raises:
        CliError: there is no deployment, it runs another catalog, or a file cannot be read or
            written.
        ConfigError: the trace or the catalog is not known.
    """
    check_writable("--log", request.log)
    settings = load_settings(LoadBalancerSettings, environ=os.environ)
    # What a simulation of the same would be given; nothing is simulated.
    twin = Simulation(
        catalog=load_catalog(request.catalog or settings.catalog),
        workload=request.workload,
        policy="diffserve",
        num_workers=1,
        slo_s=request.slo_s,
        seed=request.seed,
    )
    target = Target(
        address=loadbalancer_address(request.address),
        slo_s=twin.cascade.slo_s,
        prompt_of=prompts_of(request.prompts),
        cascade_id=twin.catalog.default_cascade,
        answering=frozenset(twin.catalog.default_class.cascade_ids),
    )
    workload = workload_of(twin)
    with progress("replay") as on_progress:
        try:
            replayed = asyncio.run(
                replay(
                    target, workload.arrivals, lambda now_s: on_progress(now_s, workload.duration_s)
                )
            )
        except TimeoutError:
            raise CliError(
                f"no load balancer answers at {target.address}; start one with `make serve`"
            ) from None
        except DiffServeError as error:
            raise _refused(error, target, twin.catalog.name) from None
    document = {
        "cascade": twin.catalog.default_cascade,
        "trace": request.workload.trace,
        "slo_s": target.slo_s,
        "seed": request.seed,
        **replayed.recorder.summary(tables_of(twin)),
        "client_lag_s_p99": replayed.lag_s(0.99),
    }
    if as_json:
        emit_json(document)
    else:
        _show(document, replayed)
    # Last: the report is worth more than the file.
    if request.log:
        write_log(request.log, replayed.answers)


def _refused(error: DiffServeError, target: Target, catalog: str) -> CliError:
    """Return in one sentence why the deployment is sent nothing, or nothing more."""
    if isinstance(error, InputError) and error.field == "cascade_id":
        return CliError(
            f"the deployment at {target.address} does not run catalog {catalog}: {error.problem}; "
            "name its own with --catalog",
            exit_code=2,
        )
    return explain_error(error, target.address, "load balancer")


def prompts_of(path: str) -> Callable[[int], str]:
    """Return prompts by number: the lines of a file, over and over; scenes without a file.

    The embedded models know the words of these scenes, and to others they are as good as any.
    Texts that the embedded models cannot know would look like drift to the discriminator.

    Raises:
        CliError: it cannot be read, or holds none.
        ConfigError: it is no UTF-8; names file and line.
    """
    if not path:
        return held_out_prompt
    try:
        lines = text_of(path).splitlines()
    except OSError as error:
        raise CliError(f"--prompts: cannot read {path}: {error.strerror}") from None
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise CliError(f"--prompts: {path} holds none")
    return lambda prompt_id: prompts[prompt_id % len(prompts)]


def write_log(path: str, answers: Sequence[Answer]) -> None:
    """Write a CSV row of ``COLUMNS`` per query; seconds since the start of the replay.

    Raises:
        CliError: it cannot be written.
    """
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for answer in answers:
                times = (answer.arrival_s, answer.lag_s, answer.latency_s)
                writer.writerow(
                    (
                        *(answer.index, answer.prompt_id, *(f"{t:.6f}" for t in times)),
                        *(answer.outcome.value, answer.variant_id, answer.error),
                    )
                )
    except OSError as error:
        raise cannot_write("--log", path, error) from None


def _show(document: dict[str, Any], replayed: Replayed) -> None:
    console = stdout()
    better = "lower" if document["is_lower_better"] else "higher"
    console.print(
        f"{document['queries']} queries in {duration(replayed.recorder.ended_s)}, cascade "
        f"{document['cascade']}, SLO {duration(document['slo_s'])}, seed {document['seed']}"
    )
    console.print(
        f"quality is {document['quality_metric']} by the cascade's table; {better} is better\n"
    )
    rows = table(
        ">violations", ">rejected", ">heavy", ">quality", ">windowed", ">p50", ">p99", ">lag p99"
    )
    rows.add_row(
        f"{100.0 * document['slo_violation_ratio']:.2f} %",
        f"{100.0 * document['rejected_ratio']:.2f} %",
        percent(document["heavy_share"]),
        f"{document['quality_overall']:.3f}",
        f"{document['quality_windowed']:.3f}",
        duration(document["latency_s_p50"]),
        duration(document["latency_s_p99"]),
        duration(document["client_lag_s_p99"]),
    )
    console.print(rows)
    errors = sorted({answer.error for answer in replayed.answers if answer.error})
    for error in errors[:3]:
        console.print(error, style="dim", soft_wrap=True)
