"""Quality by the cascade's table, for reports: which curve applies, and in which sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diffserve.profiles.curves import BypassPoint, QualityCurve

WINDOW_S = 5.0
"""Length of the windows of arrival over which quality is averaged. Paper: §5 (5 s windows)."""


@dataclass(slots=True)
class Mix:
    """Answers in time of one cascade.

    Attributes:
        light: With a light image.
        heavy: With a heavy image, bypassed ones included.
        bypassed: Of these, those that never had a light image.
    """

    light: int = 0
    heavy: int = 0
    bypassed: int = 0

    @property
    def total(self) -> int:
        """All answers."""
        return self.light + self.heavy

    def __iadd__(self, other: Mix) -> Mix:
        self.light += other.light
        self.heavy += other.heavy
        self.bypassed += other.bypassed
        return self


@dataclass(frozen=True, slots=True)
class QualityTable:
    """Quality of answers of which a given share is heavy.

    The catalog's table was measured with routing by confidence. A system that routes without it
    gets the straight line between "all light" and "all heavy": the expected quality of an answer
    when prompts are drawn at random. (An FID of such a mixture is somewhat better than the line,
    because it is a distance of populations; nobody has published it for these cascades.)

    Attributes:
        curve: Of the catalog, higher is better.
        is_query_aware: Whether routing looks at confidences.
        bypass: What bypassing the light variant gives, by rising share, where it was measured.
    """

    curve: QualityCurve
    is_query_aware: bool = True
    bypass: tuple[BypassPoint, ...] = ()

    @property
    def metric(self) -> str:
        """Name of what is reported: without the sign that turned it upside down for planning."""
        return self.curve.metric.removeprefix("-")

    @property
    def is_lower_better(self) -> bool:
        """Whether the reported figure is a distance, such as FID."""
        return self.curve.metric.startswith("-")

    def reported(self, heavy_share: float) -> float:
        """Return the metric at a share of heavy answers, in its own sign."""
        quality = self._quality_at(heavy_share)
        return -quality if self.is_lower_better else quality

    def of(self, mixes: Mapping[str, Mix]) -> float | None:
        """Return the metric of answers that are all this cascade's; None without any."""
        mix = Mix()
        for part in mixes.values():
            mix += part
        if not mix.total:
            return None
        if not mix.bypassed or not self.bypass or not self.is_query_aware:
            return self.reported(mix.heavy / mix.total)
        quality = self._bypassed_quality(mix)
        return -quality if self.is_lower_better else quality

    def _bypassed_quality(self, mix: Mix) -> float:
        """Return the quality between the bypass shares that were measured, linear in the share."""
        share = mix.bypassed / mix.total
        rest = mix.total - mix.bypassed
        deferred = (mix.heavy - mix.bypassed) / rest if rest else 0.0
        points = [(0.0, self.curve.quality_at(deferred))]
        points += [(point.fraction, point.quality.quality_at(deferred)) for point in self.bypass]
        points.append((1.0, self.curve.qualities[-1]))
        right = next(i for i, (fraction, _) in enumerate(points) if i and fraction >= share)
        (low, start), (high, end) = points[right - 1], points[right]
        return start + (end - start) * (share - low) / (high - low)

    def _quality_at(self, heavy_share: float) -> float:
        if self.is_query_aware:
            return self.curve.quality_at(heavy_share)
        light, heavy = self.curve.qualities[0], self.curve.qualities[-1]
        return light + heavy_share * (heavy - light)


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Quality of the answers of a request class that several cascades serve.

    The mean of the cascades' tables, weighted by their answers. For a distance of populations,
    such as an FID, that is conservative: a mixture of two sets of images is no further from the
    real ones than the mean of the two distances says, and mostly nearer.

    Attributes:
        tables: By ``cascade_id``; of one metric, which the first one names.
    """

    tables: Mapping[str, QualityTable]

    @property
    def first(self) -> QualityTable:
        """Any one: they share metric and sign."""
        return next(iter(self.tables.values()))

    @property
    def metric(self) -> str:
        """Name of what is reported."""
        return self.first.metric

    @property
    def is_lower_better(self) -> bool:
        """Whether the reported figure is a distance."""
        return self.first.is_lower_better

    @property
    def is_query_aware(self) -> bool:
        """Whether routing looks at confidences."""
        return self.first.is_query_aware

    def of(self, mixes: Mapping[str, Mix]) -> float | None:
        """Return the metric of answers by cascade; None without any."""
        total = sum(mix.total for mix in mixes.values())
        if not total:
            return None
        parts = ((self.tables[name].of({name: mix}), mix) for name, mix in mixes.items())
        return sum(value * mix.total / total for value, mix in parts if value is not None)
