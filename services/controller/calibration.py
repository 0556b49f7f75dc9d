"""What discriminators have learnt while serving, as the planner and people need it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from google.protobuf import json_format

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.errors import ProfileError
from diffserve.profiles.calibration import METRIC, recalibrated
from diffserve.profiles.curves import DeferralProfile, QualityCurve
from diffserve.profiles.drift import drift_sentence
from diffserve.rpc.v1 import common_pb2

logger = logging.getLogger(__name__)

NUM_SCORES_MIN = 256
"""Confidences from which on the live quantiles are better than the catalog's."""


class CalibrationBook:
    """The newest calibration of each population; the catalog's tables where there is none."""

    def __init__(self, catalog: Catalog, *, uses_online_quality: bool) -> None:
        self._catalog = catalog
        self._uses_online_quality = uses_online_quality
        self._newest: dict[Population, common_pb2.Calibration] = {}

    def follow(self, catalog: Catalog) -> None:
        """Answer for the cascades of another catalog from now on."""
        self._catalog = catalog

    @property
    def populations(self) -> tuple[Population, ...]:
        """Whose calibrations are of interest: of every cascade's light variant, in order."""
        return tuple(dict.fromkeys(c.population for c in self._catalog.cascades.values()))

    def take_in(self, documents: Mapping[Population, str]) -> None:
        """Take in a reading of Redis; discriminators that are silent are forgotten."""
        self._newest = {}
        for population, document in documents.items():
            message = common_pb2.Calibration()
            try:
                json_format.Parse(document, message, ignore_unknown_fields=True)
                _check(message)
            except (json_format.ParseError, ProfileError) as error:
                logger.warning(
                    "the calibration of %s in Redis is unreadable: %s", population, error
                )
                continue
            self._newest[population] = message

    def deferral(self, cascade_id: str) -> DeferralProfile:
        """Return the catalog's deferral profile, at live thresholds once there are enough."""
        profile = self._catalog.deferral[cascade_id]
        newest = self._of(cascade_id)
        if newest is None or not _has_thresholds(newest):
            return profile
        return recalibrated(profile, newest.fractions, newest.thresholds)

    def quality(self, cascade_id: str) -> QualityCurve:
        """Return the curve to plan with: the catalog's, unless a setting prefers the learnt one."""
        if self._uses_online_quality:
            newest = self._of(cascade_id)
            gains = newest.gains.get(cascade_id) if newest is not None else None
            if gains is not None and gains.is_complete:
                return _learnt_curve(gains)
        return self._catalog.quality[cascade_id]

    def message(self, cascade_id: str) -> common_pb2.Calibration | None:
        """Return what concerns one cascade; None when nothing is known."""
        newest = self._of(cascade_id)
        if newest is None:
            return None
        message = common_pb2.Calibration()
        message.CopyFrom(newest)
        for other in [name for name in message.gains if name != cascade_id]:
            del message.gains[other]
        return message

    def warnings(self) -> list[str]:
        """Return a sentence for every cascade whose confidences have drifted."""
        sentences = []
        for cascade_id in sorted(self._catalog.cascades):
            newest = self._of(cascade_id)
            if newest is not None and newest.drift.is_alarm:
                sentences.append(f"{cascade_id}: {drift_sentence(newest.drift.psi)}")
        return sentences

    def _of(self, cascade_id: str) -> common_pb2.Calibration | None:
        return self._newest.get(self._catalog.cascades[cascade_id].population)


def _has_thresholds(message: common_pb2.Calibration) -> bool:
    return message.num_scores >= NUM_SCORES_MIN


def _learnt_curve(gains: common_pb2.CascadeGains) -> QualityCurve:
    last = max(1, len(gains.qualities) - 1)
    fractions = tuple(index / last for index in range(len(gains.qualities)))
    return QualityCurve(fractions, tuple(gains.qualities), METRIC)


def _check(message: common_pb2.Calibration) -> None:
    """See that tables can be made of what is in use of a calibration.

    Raises:
        ProfileError: says what is wrong.
    """
    if _has_thresholds(message):
        QualityCurve(tuple(message.fractions), tuple(message.thresholds), "threshold")
    for gains in message.gains.values():
        if gains.is_complete:
            _learnt_curve(gains)
