"""What this discriminator service counts, and what it reads when scraped."""

from __future__ import annotations

from collections.abc import Iterator

from diffserve.catalog import Catalog
from diffserve.observability.instruments import Instruments, Sample
from services.discriminator.calibration import Learnt


class DiscriminatorMetrics:
    """Counted on the event loop.

    Attributes:
        instruments: Everything, for the scrape.
    """

    def __init__(self, catalog: Catalog, learnt: Learnt) -> None:
        self.instruments = Instruments("discriminator", self._read)
        self._names = tuple(catalog.discriminators)
        self._learnt = learnt

    def scored(
        self, name: str, confidences: list[float], seconds: float, *, is_heavy: bool
    ) -> None:
        """Count the images of one request, and the seconds it took."""
        stage = "heavy" if is_heavy else "light"
        self.instruments.count("discriminator_scores_total", name, stage, amount=len(confidences))
        self.instruments.observe("discriminator_scoring_seconds", seconds, name)
        if not is_heavy:
            for confidence in confidences:
                self.instruments.observe("discriminator_confidence_ratio", confidence, name)

    def _read(self) -> Iterator[Sample]:
        for name in self._names:
            drift = self._learnt.drift(name)
            if drift is not None:
                yield "discriminator_drift_psi_ratio", (name,), drift.psi
                yield "discriminator_drift_alarm", (name,), float(drift.is_alarm)
