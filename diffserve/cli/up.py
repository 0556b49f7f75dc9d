"""``diffserve up``: the whole deployment on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from diffserve.catalog import load_catalog
from diffserve.cli.fleet import Fleet, checkout_root, plan_fleet
from diffserve.cli.output import emit_json, stderr, stdout
from diffserve.cli.supervisor import Supervisor, stop_signals
from diffserve.cli.writing import make_folder
from diffserve.config import PREFIX, SECTIONS, UpSettings, load_settings
from diffserve.errors import ConfigError

ANY_PROMPT = "an owl"
"""Proposed where a catalog has no examples."""


def run_up(flags: Mapping[str, Any], run_directory: str, *, as_json: bool) -> int:
    """Run everything until a signal asks to stop; return the exit status.

    Args:
        flags: Fields of ``UpSettings`` that were given on the command line.
        run_directory: Where logs go; empty means ``build/run/<time>`` of the checkout.
        as_json: Print one document when ready; everything else goes to standard error.

    Raises:
        CliError: something did not start, or the run directory cannot be written.
        ConfigError: a setting is wrong, a port is taken, or there is no checkout.
    """
    root = checkout_root()
    settings = _settings(flags)
    directory = Path(run_directory or root / "build" / "run" / time.strftime("%Y%m%d-%H%M%S"))
    directory = directory.resolve()
    fleet = plan_fleet(settings, flags, directory, os.cpu_count() or 1)
    if settings.redis_url:
        _check_redis(settings.redis_url)
    make_folder("--run-dir", directory)
    console = stderr() if as_json else stdout()
    console.print(f"starting {len(fleet.children())} processes; logs in {directory}")
    supervisor = Supervisor(fleet, root, directory, settings.grace_s, console.print)
    return asyncio.run(_run(supervisor, fleet, directory, console, as_json=as_json))


def _settings(flags: Mapping[str, Any]) -> UpSettings:
    """Load the settings, and check those of every service before any is started."""
    _absolute_paths()
    for section in SECTIONS.values():
        load_settings(section, environ=os.environ)
    settings = load_settings(UpSettings, environ=os.environ, flags=flags)
    if settings.catalog.endswith(".toml"):
        settings = settings.model_copy(update={"catalog": str(Path(settings.catalog).resolve())})
    load_catalog(settings.catalog)
    return settings


def _absolute_paths() -> None:
    """Make the settings file absolute: the services run in another directory."""
    config = os.environ.get(f"{PREFIX}CONFIG")
    if config:
        os.environ[f"{PREFIX}CONFIG"] = str(Path(config).resolve())


def _check_redis(url: str) -> None:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2.0, socket_timeout=2.0) as client:
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        raise ConfigError(f"up.redis_url: no answer from {url}: {error}") from None


async def _run(
    supervisor: Supervisor, fleet: Fleet, directory: Path, console: Console, *, as_json: bool
) -> int:
    async with stop_signals() as received:
        work = asyncio.create_task(_serve(supervisor, fleet, directory, console, as_json=as_json))
        asked = asyncio.create_task(received.get())
        await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        work.cancel()
        console.print("stopping; once more kills everything at once")
        ending = asyncio.create_task(supervisor.stop())
        again = asyncio.create_task(received.get())
        await asyncio.wait({ending, again}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            supervisor.kill()
        await ending
        again.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        console.print("stopped")
    return 0


async def _serve(
    supervisor: Supervisor, fleet: Fleet, directory: Path, console: Console, *, as_json: bool
) -> None:
    async with _progress(supervisor, console):
        await supervisor.start()
    document = _ready_document(supervisor, fleet, directory)

    def write() -> None:
        _write_document(document | {"pids": _pids(supervisor)}, directory, console)

    write()
    if as_json:
        emit_json(document)
    else:
        _print_ready(document, console)
    await supervisor.keep(on_restart=write)


@contextlib.asynccontextmanager
async def _progress(supervisor: Supervisor, console: Console) -> AsyncIterator[None]:
    """Show on a terminal what is being waited for, by its newest line of log."""

    async def refresh(status: Status) -> None:
        while True:
            lines = [
                f"{child.spec.name} [dim]{escape(child.last_words()[:90])}[/dim]"
                for child in sorted(supervisor.waiting, key=lambda child: child.spec.name)
            ]
            status.update("waiting for " + "\n  ".join(lines))
            await asyncio.sleep(0.25)

    with console.status("starting") as status:
        task = asyncio.create_task(refresh(status))
        try:
            yield
        finally:
            task.cancel()


def _ready_document(supervisor: Supervisor, fleet: Fleet, directory: Path) -> dict[str, Any]:
    return {
        "ready": True,
        "pid": os.getpid(),
        "run_directory": str(directory),
        "redis_url": fleet.redis_url,
        "endpoints": {child.name: child.address for child in fleet.children()},
        "http": f"http://{fleet.http}",
        "metrics": {
            child.name: f"http://{child.metrics}/metrics"
            for child in fleet.children()
            if child.metrics
        },
        "pids": _pids(supervisor),
        "first_command": _first_command(fleet),
    }


def _first_command(fleet: Fleet) -> str:
    """Return what draws a first image, to be pasted into a shell."""
    examples = load_catalog(fleet.catalog).examples
    prompt = examples[0].text if examples else ANY_PROMPT
    address = "" if fleet.loadbalancer == "127.0.0.1:50051" else f" --address {fleet.loadbalancer}"
    return f"{_own_command()} generate {shlex.quote(prompt)} -o image.png{address}"


def _pids(supervisor: Supervisor) -> dict[str, int]:
    return {child.spec.name: child.pid for child in supervisor.children}


def _write_document(document: Mapping[str, Any], directory: Path, console: Console) -> None:
    """Write ``up.json``, whole at any time; a full disk is told and ends nothing."""
    path, partial = directory / "up.json", directory / "up.json.partial"
    try:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        console.print(f"cannot write {path}: {error.strerror}")


def _own_command() -> str:
    """Return how this program is called from the directory where it was started."""
    if shutil.which("diffserve"):
        return "diffserve"
    script = Path(sys.executable).with_name("diffserve")
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def _print_ready(document: Mapping[str, Any], console: Console) -> None:
    endpoints = document["endpoints"]
    workers = [address for name, address in endpoints.items() if name.startswith("worker")]
    console.print()
    console.print("ready  ", style="bold green", end="")
    console.print(f"page     {document['http']}/")
    console.print(f"       images   {document['http']}/v1/images/generations (OpenAI)")
    console.print(f"       images   {endpoints['loadbalancer']} (gRPC)")
    console.print(f"       admin    {endpoints['controller']} (gRPC)")
    console.print(f"       workers  {', '.join(workers)}")
    console.print(f"       Redis    {document['redis_url']}")
    console.print("\ntry    ", end="")
    console.print(document["first_command"], style="bold", soft_wrap=True)
    console.print("stop   Ctrl-C\n")
