"""Quality by the cascade's table, for reports: which curve applies, and in which sign."""

from __future__ import annotations

from dataclasses import dataclass

from diffserve.profiles.curves import QualityCurve

WINDOW_S = 5.0
"""Length of the windows of arrival over which quality is averaged. Paper: §5 (5 s windows)."""


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
    """

    curve: QualityCurve
    is_query_aware: bool = True

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

    def _quality_at(self, heavy_share: float) -> float:
        if self.is_query_aware:
            return self.curve.quality_at(heavy_share)
        light, heavy = self.curve.qualities[0], self.curve.qualities[-1]
        return light + heavy_share * (heavy - light)
