"""E7: the same cascade on peers that keep a static plan, and on DiffServe, which plans anew."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.doors import replay_http, serving
from benchmarks.peers.environments import Peer
from benchmarks.peers.processes import PeerError
from benchmarks.peers.static_plan import (
    Scene,
    StaticPlan,
    Trial,
    best_on_trace,
    plan_for_rate,
    slowed,
)
from benchmarks.peers.workload import bursty, confidences, ranks, threshold_for
from diffserve.catalog import Catalog, load_catalog
from diffserve.core import Outcome
from diffserve.profiles.latency import LatencyProfile
from diffserve.replay.client import Target, replay
from diffserve.replay.compression import compressed_settings, write_catalog
from diffserve.replay.deployment import DeploymentParameters, deployed
from diffserve.replay.open_loop import lag_quantile_s
from diffserve.sim.quality import WINDOW_S, QualityTable
from diffserve.sim.report import Recorder
from diffserve.sim.workload import Arrival

CATALOG = "paper-sdturbo"
NUM_WORKERS = 8
PEAK_QPS = 2.0 * NUM_WORKERS
"""As many per worker as on the paper's testbed, 32 for 16. Paper: §5."""
VIOLATIONS_MAX = 0.01
"""What the oracle of static plans accepts, in its model without overhead."""
NUM_BYTES = 300
"""Of an image, about what a mock's picture takes."""
WAIT_SHARE = 0.5
"""Wait for company, in executions of a full batch, where a peer must be given one.

Ray forms batches by the clock, also while its replica is busy: with short waits it stays with small
batches under load.
"""
ORACLE, MEAN = "oracle on the trace", "our solver at the mean rate"
CAUTIOUS = "cautious oracle"
ROOM = 1.2
"""The cautious oracle takes executions for this much longer, and accepts no violation."""

OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeParameters:
    """How E7 is run.

    Attributes:
        duration_s: Of the trace, before compression.
        time_compression: Divides all seconds.
        seed: Of the arrivals.
        rounds: Interleaved; each has arrivals of its own.
    """

    duration_s: float = 270.0
    time_compression: float = 2.0
    seed: int = 0
    rounds: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one system came to with one trace.

    Attributes:
        system: Title.
        planning: Who decides, in words.
        seed: Of the arrivals.
        metrics: ``metrics_of`` the run.
    """

    system: str
    planning: str
    seed: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All of E7.

    Attributes:
        runs: In the order in which they were made.
        skipped: Why a peer is missing, by title.
        plans: The static plans of each seed, by ``planning``.
        fronts: The plans of each seed that no static plan beats in the model.
    """

    runs: Sequence[Run]
    skipped: Mapping[str, str]
    plans: Mapping[int, Mapping[str, StaticPlan]]
    fronts: Mapping[int, Sequence[Trial]]


def scene_of(catalog: Catalog, arrivals: Sequence[Arrival], scores: Sequence[float]) -> Scene:
    """Return what static plans are tried on, in seconds of the trace."""
    cascade = catalog.cascades[CATALOG]
    return Scene(
        arrivals_s=[arrival.arrival_s for arrival in arrivals],
        ranks=ranks(scores),
        light=catalog.latency[cascade.light],
        heavy=catalog.latency[cascade.heavy],
        deferral=catalog.deferral[CATALOG],
        quality=catalog.quality[CATALOG],
        slo_s=cascade.slo_s,
        num_workers=NUM_WORKERS,
        window_s=WINDOW_S,
    )


def metrics_of(
    recorder: Recorder, table: QualityTable, lags_s: Sequence[float], duration_s: float
) -> dict[str, Any]:
    """Return the figures of a run; every query that has no answer in time is a violation.

    Refused ones too: what a refusal is worth to a client is told by ``refused_ratio``.
    """
    total = max(1, recorder.num_queries)
    refused = recorder.outcomes[Outcome.REJECTED]
    in_time = total - refused - recorder.num_violations
    return {
        **recorder.summary(table),
        "violation_ratio": 1.0 - in_time / total,
        "refused_ratio": refused / total,
        "goodput_qps": in_time / duration_s,
        "lag_s_p99": lag_quantile_s(lags_s, 0.99),
    }


async def compare(
    parameters: CascadeParameters, peers: Sequence[Peer], on_progress: OnProgress
) -> Comparison:
    """Serve the trace with every system, one after the other, round after round."""
    catalog = load_catalog(CATALOG)
    runs: list[Run] = []
    skipped: dict[str, str] = {}
    plans: dict[int, dict[str, StaticPlan]] = {}
    fronts: dict[int, Sequence[Trial]] = {}
    for seed in range(parameters.seed, parameters.seed + parameters.rounds):
        arrivals = bursty(PEAK_QPS, parameters.duration_s, seed)
        scores = confidences(len(arrivals), catalog.deferral[CATALOG])
        scene = scene_of(catalog, arrivals, scores)
        on_progress("E7: trying static plans on the trace")
        best, fronts[seed] = await asyncio.to_thread(best_on_trace, scene, VIOLATIONS_MAX)
        cautious, _ = await asyncio.to_thread(best_on_trace, slowed(scene, ROOM), 0.0)
        at_mean = plan_for_rate(scene, len(arrivals) / parameters.duration_s)
        plans[seed] = {ORACLE: best.plan, CAUTIOUS: cautious.plan}
        if at_mean is not None:
            plans[seed][MEAN] = at_mean
        trace = Trace(parameters, seed, catalog, arrivals, scores)
        on_progress("E7: DiffServe")
        runs.append(await trace.by_diffserve())
        for planning, plan in plans[seed].items():
            for peer in peers:
                if peer.title in skipped:
                    continue
                on_progress(f"E7: {peer.title}, {planning}")
                try:
                    runs.append(await trace.by_peer(peer, planning, plan))
                except PeerError as failure:
                    skipped[peer.title] = str(failure)
    return Comparison(runs=runs, skipped=skipped, plans=plans, fronts=fronts)


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace, to be served by anybody.

    Attributes:
        parameters: Of the experiment.
        seed: Of the arrivals.
        catalog: Not compressed.
        arrivals: Not compressed.
        scores: Confidence of each arrival's light image.
    """

    parameters: CascadeParameters
    seed: int
    catalog: Catalog
    arrivals: Sequence[Arrival]
    scores: Sequence[float]

    async def by_diffserve(self) -> Run:
        """Serve it with a deployment as ``diffserve up`` starts it, and mock workers."""
        factor = self.parameters.time_compression
        environment = compressed_settings(factor)
        with tempfile.TemporaryDirectory(prefix="peers-") as directory:
            path = Path(directory) / "compressed.toml"
            write_catalog(CATALOG, factor, path)
            deployment = DeploymentParameters(
                catalog=str(path),
                num_workers=NUM_WORKERS,
                environment=environment,
                directory=Path(directory),
            )
            async with deployed(deployment, lambda line: None) as fleet:
                target = Target(
                    address=fleet.loadbalancer, slo_s=self._slo_s, window_s=self._window_s
                )
                replayed = await replay(target, self._compressed())
        lags_s = [answer.lag_s for answer in replayed.answers]
        return self._run("DiffServe", "plans anew", replayed.recorder, lags_s)

    async def by_peer(self, peer: Peer, planning: str, plan: StaticPlan) -> Run:
        """Serve it with a peer that keeps one plan."""
        cascade = self.catalog.cascades[CATALOG]
        light = self._seconds(self.catalog.latency[cascade.light])
        heavy = self._seconds(self.catalog.latency[cascade.heavy])
        config = {
            "plan": plan.document(),
            "light": light,
            "heavy": heavy,
            "confidences": self.scores,
            "threshold": threshold_for(plan.share, self.scores),
            "num_bytes": NUM_BYTES,
            "light_wait_s": WAIT_SHARE * light[plan.light_batch],
            "heavy_wait_s": WAIT_SHARE * heavy[plan.heavy_batch],
        }
        async with serving(peer, "cascade", config) as door:
            served = await replay_http(door, self._compressed(), self._slo_s, self._window_s)
        return self._run(peer.title, planning, served.recorder, served.lags_s)

    @property
    def _slo_s(self) -> float:
        return self.catalog.cascades[CATALOG].slo_s / self.parameters.time_compression

    @property
    def _window_s(self) -> float:
        return WINDOW_S / self.parameters.time_compression

    def _compressed(self) -> list[Arrival]:
        factor = self.parameters.time_compression
        return [Arrival(a.arrival_s / factor, a.prompt_id) for a in self.arrivals]

    def _seconds(self, profile: LatencyProfile) -> list[float]:
        """Return compressed execution times by batch size, from 0."""
        sizes = range(1, profile.batch_size_max + 1)
        factor = self.parameters.time_compression
        return [0.0, *(profile.execution_s(size) / factor for size in sizes)]

    def _run(self, system: str, planning: str, recorder: Recorder, lags_s: Sequence[float]) -> Run:
        table = QualityTable(self.catalog.quality[CATALOG])
        metrics = metrics_of(recorder, table, lags_s, self.parameters.duration_s)
        return Run(system=system, planning=planning, seed=self.seed, metrics=metrics)
