"""``python -m benchmarks.peers``: serves with DiffServe and its peers, writes ``docs/results``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.peers import serial, steadiness
from benchmarks.peers.cascade import CascadeParameters, Comparison, compare
from benchmarks.peers.environments import PEERS, Peer, install
from benchmarks.peers.hops import BATCHING, NOOP, OURS, HopRounds, hop_rounds
from benchmarks.peers.namespace import enter_own_network
from benchmarks.peers.processes import ROOT, PeerError
from benchmarks.peers.report import (
    batching_section,
    cascade_section,
    document_of,
    draw,
    footed,
    footprint_section,
    health_section,
    hops_section,
    leaving_section,
    overload_section,
    page_of,
    steadiness_document,
    stopping_section,
    wins,
)
from diffserve.cli.output import stderr, stdout

RESULTS = ROOT / "docs" / "results"
EXPERIMENTS = ("E7", "E1", "E2", "E3", "E4", "E5", "E6")
QUICK_CASCADE = CascadeParameters(duration_s=135.0, time_compression=4.0)
ROUNDS, SECONDS = 5, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 1.0
CAN_BE_TUNED = ("ray", "bentoml", "mosec", "pytriton")
"""Whose queue can be given a length."""


def _named(show: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda line: show(f"{name}: {line}")


@dataclass(slots=True)
class Findings:
    """What was measured; empty where nothing was asked for."""

    comparison: Comparison | None = None
    hops: dict[str, HopRounds] = field(default_factory=dict)
    leaving: dict[str, int] = field(default_factory=dict)
    overloads: dict[str, serial.Overload] = field(default_factory=dict)
    stops: dict[str, steadiness.Stopping] = field(default_factory=dict)
    kills: dict[str, steadiness.Stopping] = field(default_factory=dict)
    probes_s: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def chosen(text: str, known: Sequence[str], option: str) -> list[str]:
    """Return the names of a comma-separated list, all of them without one.

    Raises:
        BadParameter: one is not known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()] or list(known)
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{option}: {name!r} is none of {', '.join(known)}")
    return names


async def _measured(
    experiments: Sequence[str], peers: Sequence[Peer], parameters: CascadeParameters, quick: bool
) -> Findings:
    found = Findings()
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    with stderr().status("starting") as shown:
        if "E7" in experiments:
            with_cascade = [peer for peer in peers if peer.has_cascade]
            found.comparison = await compare(parameters, with_cascade, shown.update)
            found.skipped |= found.comparison.skipped
        for name, catalog, worker in (("E1", "noop", NOOP), ("E2", "batch", BATCHING)):
            if name not in experiments:
                continue
            able = [p for p in peers if name == "E1" or p.name != "kserve"]
            found.hops[name] = await hop_rounds(
                *(catalog, worker, able, rounds, seconds),
                on_progress=_named(shown.update, name),
            )
            found.skipped |= found.hops[name].skipped
        for peer in (None, *peers):
            title = peer.title if peer else OURS
            if "E3" in experiments:
                shown.update(f"E3: {title}")
                with _skipping(found, title):
                    async with _serial(peer, serial.LEAVING_S, 0) as system:
                        found.leaving[title] = await serial.executions_after_leaving(system)
            if "E4" in experiments:
                await _overloaded(found, peer, title, shown)
            if "E5" in experiments:
                shown.update(f"E5: {title}")
                await _harmed(found, peer, title)
            if "E6" in experiments:
                shown.update(f"E6: {title}")
                with _skipping(found, title):
                    async with _running(peer, steadiness.PROBE_EXECUTION_S) as running:
                        found.probes_s[title] = await steadiness.slowest_probe_s(running)
    return found


async def _harmed(found: Findings, peer: Peer | None, title: str) -> None:
    for harm, results in (
        (steadiness.stopped, found.stops),
        (steadiness.killed, found.kills),
    ):
        with _skipping(found, title):
            async with _running(peer, steadiness.EXECUTION_S) as running:
                results[title] = await harm(running)


def _running(
    peer: Peer | None, execution_s: float
) -> contextlib.AbstractAsyncContextManager[steadiness.Running]:
    if peer is None:
        return steadiness.diffserve_running(execution_s)
    return steadiness.peer_running(peer, execution_s)


async def _overloaded(found: Findings, peer: Peer | None, title: str, shown: Any) -> None:
    capacities = {title: 0}
    if peer and peer.name in CAN_BE_TUNED:
        capacities[f"{title}, tuned"] = serial.CAPACITY
    for row, capacity in capacities.items():
        shown.update(f"E4: {row}")
        with _skipping(found, title):
            async with _serial(peer, serial.AT_ONCE_S, capacity) as system:
                found.overloads[row] = await serial.overload(system)


@contextlib.contextmanager
def _skipping(found: Findings, title: str) -> Iterator[None]:
    try:
        yield
    except PeerError as failure:
        found.skipped[title] = str(failure)


@contextlib.asynccontextmanager
async def _serial(
    peer: Peer | None, execution_s: float, capacity: int
) -> AsyncIterator[serial.System]:
    """Run a serial worker: DiffServe's, or a peer's."""
    system = (
        serial.peer_system(peer, execution_s, capacity)
        if peer
        else serial.diffserve_system(execution_s)
    )
    async with system as running:
        yield running


def main(
    only: Annotated[str, typer.Option(help="experiments, e.g. E1,E7; default: all")] = "",
    peers: Annotated[str, typer.Option(help="e.g. ray,bentoml; default: all")] = "",
    quick: Annotated[bool, typer.Option(help="short and noisy, minutes")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="of E7, each with other arrivals")] = 1,
    time_compression: Annotated[
        float, typer.Option(min=1.0, help="of E7: divides all seconds")
    ] = CascadeParameters().time_compression,
    duration_s: Annotated[
        float, typer.Option(min=30.0, help="of E7's trace, before compression")
    ] = CascadeParameters().duration_s,
    output: Annotated[Path, typer.Option(help="the page")] = RESULTS / "peers.md",
    shared_network: Annotated[
        bool, typer.Option(help="no network namespace: Ray listens on every interface")
    ] = False,
) -> None:
    """Compare DiffServe with general servers, on mock models and the same load.

    All of it runs in a network namespace with nothing but loopback, unless told otherwise.

    E1 cost of a hop (E8, footprints, comes with it), E2 batching, E3 clients that leave, E4 too
    many at once, E5 a stop and a killed worker, E6 health during a batch, E7 the cascade under
    bursts. Experiments that are not made anew keep their sections of the page.

    Each peer is installed from its package into an environment of its own below build/peers; one
    that cannot be installed or started is left out and named. Takes about 25 minutes, 12 of them
    for a round of E7. Ends with status 1 where E7 was run and DiffServe did not beat every peer in
    violations and quality.
    """
    experiments = chosen(only, EXPERIMENTS, "--only")
    found_peers = [PEERS[name] for name in chosen(peers, tuple(PEERS), "--peers")]
    for peer in found_peers:  # needs the network that is out of reach afterwards
        with stderr().status(f"installing {peer.title}"), contextlib.suppress(PeerError):
            install(peer)
    if not shared_network:
        enter_own_network()
    parameters = (
        QUICK_CASCADE
        if quick
        else CascadeParameters(
            rounds=rounds, time_compression=time_compression, duration_s=duration_s
        )
    )
    found = asyncio.run(_measured(experiments, found_peers, parameters, quick))
    sections = []
    if found.comparison:
        draw(found.comparison, parameters, output.parent)
        sections.append(cascade_section(found.comparison, parameters))
    makers = {"E1": hops_section, "E2": batching_section}
    sections += [makers[name](rows) for name, rows in found.hops.items()]
    if "E1" in found.hops:
        sections.append(footprint_section(found.hops["E1"]))
    if found.leaving:
        sections.append(leaving_section(found.leaving))
    if found.overloads:
        sections.append(overload_section(found.overloads))
    if found.stops:
        sections.append(stopping_section(found.stops, found.kills))
    if found.probes_s:
        sections.append(health_section(found.probes_s))
    command = " ".join(["python -m benchmarks.peers", *sys.argv[1:]])
    sections = [footed(section, found.skipped, command) for section in sections]
    before = output.read_text(encoding="utf-8") if output.exists() else ""
    page = page_of(sections, before)
    output.write_text(page, encoding="utf-8")
    document = document_of(found.comparison, found.hops, found.leaving, found.overloads)
    document |= steadiness_document(found.stops, found.kills, found.probes_s)
    figures = output.with_suffix(".json")
    if figures.exists():
        document = json.loads(figures.read_text(encoding="utf-8")) | document
    figures.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    stdout().print(page, markup=False, highlight=False)
    sys.exit(found.comparison is not None and wins(found.comparison.runs) is False)


if __name__ == "__main__":
    typer.run(main)
