"""What a discriminator learns while it serves: drift of its confidences, gains of the heavy one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from google.protobuf import json_format

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.profiles.calibration import GainCalibration, ScoredPair
from diffserve.profiles.drift import Drift, DriftMonitor, drift_sentence
from diffserve.profiles.sketch import QuantileSketch
from diffserve.rpc.v1 import common_pb2
from diffserve.scoring.profiles import deferral_profiles
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

logger = logging.getLogger(__name__)

PUBLISH_PERIOD_S = 2.0
NUM_STEPS = 20
"""Shares published: 0, 0.05, ..., 1."""


class Learnt:
    """Everything learnt by one process, by population and cascade; lives on the event loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._monitors: dict[Population, DriftMonitor] = {}
        self._populations: dict[str, Population] = {}
        self._gains: dict[str, GainCalibration] = {}
        self._num_scores: dict[Population, int] = {}
        self.add_cascades(catalog)

    def add_cascades(self, catalog: Catalog) -> None:
        """Learn about the cascades that a catalog has more; what is known of others stays."""
        for population, profile in deferral_profiles(catalog).items():
            self._monitors.setdefault(population, DriftMonitor(profile))
        for cascade_id, cascade in catalog.cascades.items():
            self._populations.setdefault(cascade_id, cascade.population)
            self._gains.setdefault(cascade_id, GainCalibration())

    def resume(self, population: Population, sketch: QuantileSketch) -> None:
        """Take in the confidences that an earlier process saw."""
        scores = sketch.scores()
        self._num_scores[population] = len(scores)
        if population in self._monitors:
            self._monitors[population].resume(scores, time.monotonic())

    def observe(self, population: Population, confidence: float) -> bool:
        """Take in the confidence of a light image, 0..1; return whether the alarm changed."""
        self._num_scores[population] = self._num_scores.get(population, 0) + 1
        monitor = self._monitors.get(population)
        if monitor is None or not monitor.observe(confidence, time.monotonic()):
            return False
        _log_change(population, monitor.drift)
        return True

    def pair(self, light: common_pb2.LightScore, heavy: float) -> None:
        """Take in the confidence of a heavy image, 0..1; unknown cascades are ignored."""
        population = self._populations.get(light.cascade_id)
        if population is not None and population.discriminator == light.discriminator:
            self._gains[light.cascade_id].add(
                ScoredPair(
                    rank=min(1.0, max(0.0, light.percentile)),
                    light=light.confidence,
                    heavy=heavy,
                    is_shadow=light.is_shadow,
                )
            )

    def drifts(self) -> dict[Population, Drift]:
        """Return how far recent confidences are from the profile, where there is one."""
        return {population: monitor.drift for population, monitor in self._monitors.items()}

    def message(self, population: Population, sketch: QuantileSketch) -> common_pb2.Calibration:
        """Return what is known of one population."""
        fractions = [index / NUM_STEPS for index in range(NUM_STEPS + 1)]
        message = common_pb2.Calibration(
            discriminator=population.discriminator,
            variant_id=population.variant_id,
            num_scores=min(self._num_scores.get(population, 0), len(sketch)),
            fractions=fractions,
            thresholds=[sketch.threshold(fraction) for fraction in fractions],
        )
        if population in self._monitors:
            message.drift.CopyFrom(_drift_message(self._monitors[population].drift))
        scores = sketch.scores()
        mean = sum(scores) / len(scores) if scores else 0.0
        for cascade_id, gains in self._gains.items():
            found = _gains_message(gains, mean)
            if self._populations[cascade_id] == population and found is not None:
                message.gains[cascade_id].CopyFrom(found)
        return message


class Publisher:
    """Writes what was learnt to Redis every few seconds; does without it when it is gone.

    It falls silent while nothing can be scored: silence is what operators are told of.
    """

    def __init__(
        self,
        store: TelemetryStore,
        learnt: Learnt,
        sketches: Mapping[Population, QuantileSketch],
        is_hung: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._is_hung = is_hung
        self._learnt = learnt
        self._sketches = sketches

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self.publish()
            await asyncio.sleep(PUBLISH_PERIOD_S)

    async def publish(self) -> None:
        """Publish once."""
        if self._is_hung():
            logger.error("a model does not come back from scoring; nothing is scored")
            return
        # A list: populations may come while Redis is waited for.
        for population, sketch in list(self._sketches.items()):
            document = json_format.MessageToJson(
                self._learnt.message(population, sketch),
                preserving_proto_field_name=True,
                indent=None,
            )
            try:
                await self._store.save_calibration(population, document)
            except STORE_ERRORS as error:
                logger.debug("calibration of %s not published: %s", population, error)
                return


def _drift_message(drift: Drift) -> common_pb2.Drift:
    return common_pb2.Drift(
        psi=drift.psi,
        ks=drift.ks,
        ks_p_value=drift.ks_p_value,
        num_samples=drift.num_samples,
        is_alarm=drift.is_alarm,
        for_s=time.monotonic() - drift.since_s if drift.since_s else 0.0,
    )


def _gains_message(gains: GainCalibration, light_mean: float) -> common_pb2.CascadeGains | None:
    fit, bad = gains.fit(), gains.bad_accepts()
    if fit is None:
        return None
    return common_pb2.CascadeGains(
        gains=fit.gains,
        num_pairs=fit.num_pairs,
        is_complete=fit.is_complete,
        qualities=fit.quality_curve(light_mean).qualities,
        num_shadows=bad.num_shadows,
        num_bad_accepts=bad.num_bad,
        bad_accept_share_max=bad.share_max,
    )


def _log_change(population: Population, drift: Drift) -> None:
    name, variant_id = population.discriminator, population.variant_id
    if drift.is_alarm:
        logger.warning(
            "discriminator %s, images of %s: %s (KS %.2f, p %.1g)",
            *(name, variant_id, drift_sentence(drift.psi), drift.ks, drift.ks_p_value),
        )
    else:
        logger.info(
            "discriminator %s, images of %s: confidences are as measured again (PSI %.2f)",
            *(name, variant_id, drift.psi),
        )
