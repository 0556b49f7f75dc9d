"""What operators ask and order: names, flags and help of these subcommands.

Implementations are imported when their command runs, as in ``main``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from diffserve.cli.options import DURATION_S_MAX, Admin, Json, WorkerId
from diffserve.cli.output import CliError
from diffserve.core import SLO_S_MAX

Cascade = Annotated[
    str,
    typer.Option(help="Cascade or class of `diffserve cascade list`; without: the default."),
]

NEGATIVE = {"ignore_unknown_options": True}
"""Lets a negative number reach the check that says what is wanted, instead of being an option."""

slo_app = typer.Typer(help="The promise made to clients.", no_args_is_help=True)
threshold_app = typer.Typer(help="The share of light images deferred.", no_args_is_help=True)
query_app = typer.Typer(help="Single queries.", no_args_is_help=True)


def register(app: typer.Typer, *, plan: typer.Typer, workers: typer.Typer) -> None:
    """Add the commands to the program and to its groups."""
    plan.command("why")(plan_why)
    plan.command("diff")(plan_diff)
    plan.command("history")(plan_history)
    workers.command("restart")(workers_restart)
    app.add_typer(slo_app, name="slo")
    app.add_typer(threshold_app, name="threshold")
    app.add_typer(query_app, name="query")
    app.command("what-if")(what_if)
    app.command("top")(top)


def plan_why(
    plan_id: Annotated[int, typer.Argument(min=0, help="0: the plan in force.")] = 0,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Say why a plan is what it is, and what it changed.

    Example: diffserve plan why
    """
    from diffserve.cli.plan_history import show_why

    show_why(plan_id, address, as_json=as_json)


def plan_diff(
    first: Annotated[int, typer.Argument(min=0, help="0: the decision before the second.")] = 0,
    second: Annotated[int, typer.Argument(min=0, help="0: the plan in force.")] = 0,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Show what one plan says otherwise than another.

    Examples: diffserve plan diff; diffserve plan diff 12 40
    """
    from diffserve.cli.plan_history import show_diff

    show_diff(first, second, address, as_json=as_json)


def plan_history(
    limit: Annotated[int, typer.Option(min=0, help="So many of the newest; 0: all 200.")] = 20,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """List the newest decisions; plans in a row that say the same are one.

    Example: diffserve plan history --limit 50
    """
    from diffserve.cli.plan_history import show_history

    show_history(limit, address, as_json=as_json)


def workers_restart(
    worker_id: WorkerId,
    wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait until it is back; 0: do not wait.")
    ] = 120.0,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Finish a worker's batches and end its process, for its supervisor to start it again.

    `diffserve up` and compose do; without a supervisor the worker stays away.

    Example: diffserve workers restart worker-0
    """
    from diffserve.cli.orders import restart_worker

    restart_worker(worker_id, wait, address, as_json=as_json)


@slo_app.command("set", context_settings=NEGATIVE)
def slo_set(
    seconds: Annotated[
        float, typer.Argument(help="Allowed duration, seconds, above 0, at most a day.")
    ],
    cascade: Cascade = "",
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Promise another duration to queries that arrive from now on; survives restarts.

    Example: diffserve slo set 4.5 --cascade sdturbo
    """
    from diffserve.cli.orders import set_slo

    if not 0.0 < seconds <= SLO_S_MAX:
        problem = f"must be above 0 and at most {SLO_S_MAX:g}, not {seconds:g}"
        raise CliError(f"SECONDS: {problem}", exit_code=2)
    set_slo(cascade, seconds, address, as_json=as_json)


@slo_app.command("reset")
def slo_reset(cascade: Cascade = "", address: Admin = "", as_json: Json = False) -> None:
    """Go back to the catalog's SLO.

    Example: diffserve slo reset
    """
    from diffserve.cli.orders import set_slo

    set_slo(cascade, None, address, as_json=as_json)


@threshold_app.command("pin", context_settings=NEGATIVE)
def threshold_pin(
    share: Annotated[float, typer.Argument(help="Share of light images to defer, 0 to 1.")],
    cascade: Cascade = "",
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Fix the share deferred, whatever the planner thinks of it; survives restarts.

    Deadlines still come first: a query that the heavy variant cannot finish keeps its light image.

    Example: diffserve threshold pin 0.3
    """
    from diffserve.cli.orders import pin_threshold

    if not 0.0 <= share <= 1.0:
        raise CliError(f"SHARE: must be from 0 to 1, not {share:g}", exit_code=2)
    pin_threshold(cascade, share, address, as_json=as_json)


@threshold_app.command("unpin")
def threshold_unpin(cascade: Cascade = "", address: Admin = "", as_json: Json = False) -> None:
    """Let the planner choose the share deferred again.

    Example: diffserve threshold unpin
    """
    from diffserve.cli.orders import pin_threshold

    pin_threshold(cascade, None, address, as_json=as_json)


@query_app.command("show")
def query_show(
    query_id: Annotated[str, typer.Argument(help="As `diffserve generate` tells it.")],
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Tell the story of one query: waits, batches, workers, scores, decisions and times.

    Example: diffserve query show 5f0c1d7e9a
    """
    from diffserve.cli.query import show_query

    show_query(query_id, address, as_json=as_json)


def what_if(
    qps: Annotated[
        str, typer.Option(metavar="N,...", help="Arrival rates; default: as estimated now.")
    ] = "",
    workers: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of workers; default: as there are.")
    ] = "",
    cascade: Cascade = "",
    catalog: Annotated[
        str, typer.Option(help="Ask no deployment but this catalog: a shipped name or TOML file.")
    ] = "",
    duration: Annotated[
        float,
        typer.Option(min=0.0, max=DURATION_S_MAX, help="Seconds of each simulation; 0: none."),
    ] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated arrivals.")] = 0,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Show what would be planned, and what a simulation makes of it; nothing changes.

    Examples: diffserve what-if --qps 50 --workers 8;
    diffserve what-if --qps 10,20,40 --workers 8,16 --catalog paper-sdturbo
    """
    from diffserve.cli.what_if import Request, run_what_if

    request = Request(
        qps=qps,
        workers=workers,
        cascade_id=cascade,
        catalog=catalog,
        duration_s=duration,
        seed=seed,
        address=address,
    )
    run_what_if(request, as_json=as_json)


def top(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between refreshes.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one page and end.")] = False,
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Watch the deployment: demand, plan, queues, workers, outcomes, SLO attainment, drift.

    Without a terminal it prints one page, as with --once.

    Example: diffserve top --every 2; q quits.
    """
    from diffserve.cli.top import run_top

    if as_json and not once:
        raise CliError("--json prints one page: add --once", exit_code=2)
    run_top(address, every_s=every, once=once, as_json=as_json)
