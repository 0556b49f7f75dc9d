"""The `diffserve` command: names, flags and help of every subcommand.

Implementations are imported when their command runs, so that ``--help`` and completion stay fast.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from diffserve.cli.cascades import cascade_app
from diffserve.cli.models import register as register_models
from diffserve.cli.operators import register
from diffserve.cli.options import (
    DURATION_S_MAX,
    QPS_MAX,
    Admin,
    Cv,
    Duration,
    Json,
    PeakQps,
    Prompts,
    Slo,
    WorkerId,
)
from diffserve.cli.output import CliError
from diffserve.core import SLO_S_MAX
from diffserve.errors import DiffServeError

Port = Annotated[int | None, typer.Option(help="0 takes any free port.")]

app = typer.Typer(
    name="diffserve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
plan_app = typer.Typer(help="Plans of the controller.", no_args_is_help=True)
workers_app = typer.Typer(help="Workers of the deployment.", no_args_is_help=True)
planning_app = typer.Typer(help="Stop or resume re-planning.", no_args_is_help=True)
app.add_typer(plan_app, name="plan")
app.add_typer(workers_app, name="workers")
app.add_typer(cascade_app, name="cascade")
app.add_typer(planning_app, name="planning")


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        version()
        raise typer.Exit


@app.callback()
def program(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Serve text-to-image diffusion cascades: a light model first, a heavy one where it pays."""


@app.command()
def up(
    num_workers: Annotated[
        int | None, typer.Option("--workers", help="Worker processes; 0: one per core.")
    ] = None,
    catalog: Annotated[
        str | None,
        typer.Option(help="Shipped catalog (embedded, mock, paper-sdturbo, ...) or a TOML file."),
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="Use this Redis, start none.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    loadbalancer_port: Port = None,
    http_port: Port = None,
    controller_port: Port = None,
    worker_port: Port = None,
    discriminator_port: Port = None,
    redis_port: Port = None,
    grace_s: Annotated[float | None, typer.Option(help="Seconds to drain on stop.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    run_dir: Annotated[str, typer.Option(help="For logs; default: build/run/<time>.")] = "",
    as_json: Json = False,
) -> None:
    """Run everything on this machine until Ctrl-C: Redis, controller, workers, load balancer."""
    options = dict(locals())
    from diffserve.cli.up import run_up

    run_directory, as_json = options.pop("run_dir"), options.pop("as_json")
    flags = {name: value for name, value in options.items() if value is not None}
    raise typer.Exit(run_up(flags, run_directory, as_json=as_json))


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    output: Annotated[str, typer.Option("-o", "--output", help="FILE.png, .jpg or .webp.")],
    seed: Annotated[int | None, typer.Option(help="Reproduces an image.")] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds to wait, at most.")] = None,
    prefer: Annotated[str, typer.Option(help="auto, light or heavy.")] = "auto",
    cascade: Annotated[str, typer.Option(help="Which cascade; default: the catalog's.")] = "",
    width: Annotated[int, typer.Option(help="Pixels; 0: native.")] = 0,
    height: Annotated[int, typer.Option(help="Pixels; 0: native.")] = 0,
    steps: Annotated[int, typer.Option(help="Denoising steps; 0: the variant's own.")] = 0,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    negative: Annotated[str, typer.Option(help="What to avoid.")] = "",
    n: Annotated[int, typer.Option("--n", min=1, max=10, help="Images; FILE-0.png, ...")] = 1,
    priority: Annotated[str, typer.Option(help="low, normal or high.")] = "normal",
    tenant: Annotated[str, typer.Option(help="On whose account.")] = "",
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Load balancer.")] = "",
    as_json: Json = False,
) -> None:
    """Draw images and show how they came about."""
    from diffserve.cli.generate import Drawing, run_generate

    drawing = Drawing(
        prompt=prompt,
        output=output,
        seed=seed,
        deadline_s=deadline,
        preference=prefer,
        cascade_id=cascade,
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=guidance,
        negative_prompt=negative,
        n=n,
        priority=priority,
        tenant=tenant,
    )
    run_generate(drawing, address, as_json=as_json)


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Show the whole deployment on one page."""
    from diffserve.cli.status import show_status, watch_status

    if watch and as_json:
        raise CliError("--watch and --json exclude each other", exit_code=2)
    if watch:
        watch_status(address)
    else:
        show_status(address, as_json=as_json)


@app.command()
def simulate(
    trace: Annotated[
        str,
        typer.Option(
            help="Trace file (arrival_ms,prompt_id or a public format: see docs/traces.md); or "
            "generated: azure, poisson, gamma, steps, flash."
        ),
    ] = "azure",
    trace_format: Annotated[
        str,
        typer.Option(
            help="auto (by name or header), plain, gentd26, azure-functions-2021, "
            "azure-functions-2019, azure-lmm-2025, diffusiondb, decisions, katz."
        ),
    ] = "auto",
    speedup: Annotated[
        float, typer.Option(min=0.001, max=1e9, help="Replay a file this many times as fast.")
    ] = 1.0,
    cascade: Annotated[str, typer.Option(help="Catalog: a shipped name or a TOML file.")] = (
        "paper-sdturbo"
    ),
    policy: Annotated[
        list[str] | None, typer.Option(help="Serving system; repeat it to compare several.")
    ] = None,
    num_workers: Annotated[int, typer.Option("--workers", min=1, help="Devices.")] = 16,
    devices: Annotated[
        str,
        typer.Option(
            metavar="TYPE=COUNT,...",
            help="Devices by type, in place of --workers; for catalogs that know several types.",
        ),
    ] = "",
    slo: Slo = None,
    peak_qps: PeakQps = None,
    cv: Cv = None,
    duration: Duration = 350.0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn.")] = 0,
    faults: Annotated[str, typer.Option(metavar="FILE", help="TOML: what breaks when.")] = "",
    log: Annotated[str, typer.Option(metavar="FILE", help="Write every decision here.")] = "",
    load_balancers: Annotated[
        int, typer.Option(min=1, help="How many share the workers, clients taking turns.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Simulate a serving system on a trace: the live decisions, virtual time, no devices."""
    from diffserve.cli.simulate import Request, run_simulate

    request = Request(
        trace=trace,
        trace_format=trace_format,
        speedup=speedup,
        cascade=cascade,
        policies=tuple(policy or ["diffserve"]),
        num_workers=num_workers,
        devices=devices,
        slo_s=slo,
        peak_qps=peak_qps,
        cv=cv,
        duration_s=duration,
        seed=seed,
        faults=faults,
        log=log,
        num_loadbalancers=load_balancers,
    )
    run_simulate(request, as_json=as_json)


@app.command()
def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes in all: fewer points, one seed.")
    ] = False,
    data: Annotated[
        str, typer.Option(metavar="DIR", help="Also serve the paper's authors' traces in DIR.")
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of --list; may be repeated.")
    ] = None,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where pages go.")] = "docs/results",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Repetitions; default: 5, with --quick 1.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Simulations at the same time.")] = 2,
    list_names: Annotated[
        bool, typer.Option("--list", help="List the experiments and run none.")
    ] = False,
) -> None:
    """Run the paper's experiments in simulation and write docs/results: pages, numbers, figures.

    Finished simulations are kept in build/reproduce, so an interrupted run goes on where it was.
    """
    from diffserve.cli.reproduce import Request, list_experiments, run_reproduce

    if list_names:
        list_experiments()
        return
    run_reproduce(
        Request(quick=quick, data=data, only=tuple(only or ()), out=out, seeds=seeds, jobs=jobs)
    )


@app.command()
def replay(
    trace: Annotated[str, typer.Option(help="As for `diffserve simulate`.")] = "azure",
    catalog: Annotated[
        str,
        typer.Option(
            help="What the deployment runs, for its default cascade, SLO and quality table; "
            "default: by settings."
        ),
    ] = "",
    slo: Slo = None,
    peak_qps: PeakQps = None,
    cv: Cv = None,
    duration: Duration = 350.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the arrivals.")] = 0,
    prompts: Prompts = "",
    log: Annotated[str, typer.Option(metavar="FILE", help="CSV of every query.")] = "",
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Load balancer.")] = "",
    as_json: Json = False,
) -> None:
    """Serve a trace on a running deployment: the arrivals and the report of the simulator."""
    from diffserve.cli.replay import Request, run_replay
    from diffserve.sim.workload import WorkloadParameters

    workload = WorkloadParameters(trace=trace, peak_qps=peak_qps, cv=cv, duration_s=duration)
    request = Request(
        workload=workload,
        catalog=catalog,
        slo_s=slo,
        seed=seed,
        prompts=prompts,
        log=log,
        address=address,
    )
    run_replay(request, as_json=as_json)


@app.command()
def bench(
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, max=QPS_MAX, help="Queries per second; of a trace: its peak."),
    ] = None,
    trace: Annotated[
        str, typer.Option(help="poisson, or any trace of `diffserve simulate`.")
    ] = "poisson",
    duration: Annotated[
        float, typer.Option(min=1, max=DURATION_S_MAX, help="Seconds measured; files: own.")
    ] = 30.0,
    warm_up: Annotated[
        float, typer.Option(min=0, max=DURATION_S_MAX, help="Seconds before that, discarded.")
    ] = 5.0,
    cv: Cv = None,
    slo: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=SLO_S_MAX, help="Seconds; default: the cascade's, or with --url 5."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the arrivals.")] = 0,
    prompts: Prompts = "",
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Load balancer (gRPC).")] = "",
    url: Annotated[
        str, typer.Option(metavar="URL", help="OpenAI-compatible API: http://host:port/v1.")
    ] = "",
    model: Annotated[str, typer.Option(help="Name of the model, with --url.")] = "",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT, with --url.")] = "",
    html: Annotated[str, typer.Option(metavar="FILE", help="Write a report with plots.")] = "",
    as_json: Json = False,
) -> None:
    """Load an image server, open loop, and report latencies, SLO attainment and goodput.

    Drives a DiffServe load balancer by gRPC, or with --url any server with OpenAI's image API.
    """
    from diffserve.cli.bench import Request, run_bench
    from diffserve.sim.shapes import SHAPES
    from diffserve.sim.workload import WorkloadParameters

    # Shapes have no rate of their own; files do.
    peak_qps = rate or (4.0 if trace in SHAPES else None)
    request = Request(
        workload=WorkloadParameters(trace=trace, peak_qps=peak_qps, cv=cv, duration_s=duration),
        warm_up_s=warm_up,
        slo_s=slo,
        seed=seed,
        prompts=prompts,
        address=address,
        url=url.rstrip("/"),
        model=model,
        size=size,
        html=html,
    )
    run_bench(request, as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine and say how to mend what is wrong."""
    from diffserve.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


@app.command()
def version(as_json: Json = False) -> None:
    """Show the version."""
    from diffserve import __version__
    from diffserve.cli.output import emit_json

    if as_json:
        emit_json({"version": __version__})
    else:
        typer.echo(f"diffserve {__version__}")


@plan_app.command("show")
def plan_show(
    plan_id: Annotated[int, typer.Argument(min=0, help="0: the plan in force.")] = 0,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Show a plan: which worker runs what, how much is deferred, and why."""
    from diffserve.cli.plan import show_plan

    show_plan(plan_id, address, as_json=as_json)


@planning_app.command("pause")
def planning_pause(address: Admin = "", as_json: Json = False) -> None:
    """Keep the plan in force until resumed."""
    from diffserve.cli.plan import set_planning

    set_planning(address, paused=True, as_json=as_json)


@planning_app.command("resume")
def planning_resume(address: Admin = "", as_json: Json = False) -> None:
    """Plan again, every planning period."""
    from diffserve.cli.plan import set_planning

    set_planning(address, paused=False, as_json=as_json)


@workers_app.command("list")
def workers_list(address: Admin = "", as_json: Json = False) -> None:
    """List registered workers."""
    from diffserve.cli.workers import list_workers

    list_workers(address, as_json=as_json)


@workers_app.command("drain")
def workers_drain(worker_id: WorkerId, address: Admin = "", as_json: Json = False) -> None:
    """Take a worker out of the plan; what it runs is finished first."""
    from diffserve.cli.workers import drain_worker

    drain_worker(worker_id, address, resume=False, as_json=as_json)


@workers_app.command("resume")
def workers_resume(worker_id: WorkerId, address: Admin = "", as_json: Json = False) -> None:
    """Take a drained worker back into the plan."""
    from diffserve.cli.workers import drain_worker

    drain_worker(worker_id, address, resume=True, as_json=as_json)


@workers_app.command("scale")
def workers_scale(
    num_workers: Annotated[int, typer.Argument(min=1, help="How many containers to run.")],
    project: Annotated[str, typer.Option(help="Compose project.")] = "diffserve",
    as_json: Json = False,
) -> None:
    """Run this many worker containers in a compose deployment."""
    from diffserve.cli.scale import scale_workers

    scale_workers(num_workers, project, as_json=as_json)


register_models(app)
register(app, plan=plan_app, workers=workers_app)


def main() -> None:
    """Run the command line; every expected error is one line on standard error."""
    try:
        # Commands raise typer.Exit for a status; without standalone mode it is returned.
        status = app(prog_name="diffserve", standalone_mode=False)
    except CliError as error:
        _fail(str(error), error.exit_code)
    except DiffServeError as error:
        _fail(str(error), 2)
    except typer.TyperException as error:
        # Asked for nothing, the help was the answer and there is no message.
        said = error.format_message().rstrip(".")
        _fail(f"{said}; see --help" if said else "what shall be done?", error.exit_code)
    except BrokenPipeError:
        # The reader left (`| head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, exit_code: int) -> None:
    sys.stderr.write(f"diffserve: {message}\n")
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
