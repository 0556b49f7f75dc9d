"""What this discriminator service counts, and what it reads when scraped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diffserve.core import Population
from diffserve.observability.instruments import Instruments, Sample
from services.discriminator.calibration import Learnt


class DiscriminatorMetrics:
    """Counted on the event loop.

    Attributes:
        instruments: Everything, for the scrape.
    """

    def __init__(self, learnt: Learnt) -> None:
        self.instruments = Instruments("discriminator", self._read)
        self._learnt = learnt

    def scored(
        self, name: str, num_images: int, batches_s: Iterable[float], *, is_heavy: bool
    ) -> None:
        """Count images, and the seconds that scoring each batch of them took."""
        stage = "heavy" if is_heavy else "light"
        self.instruments.count("discriminator_scores_total", name, stage, amount=num_images)
        for seconds in batches_s:
            self.instruments.observe("discriminator_scoring_seconds", seconds, name)

    def joined(self, population: Population, confidence: float) -> None:
        """Count a confidence that its population's sketch keeps."""
        labels = population.discriminator, population.variant_id
        self.instruments.observe("discriminator_confidence_ratio", confidence, *labels)

    def _read(self) -> Iterator[Sample]:
        for population, drift in self._learnt.drifts().items():
            labels = population.discriminator, population.variant_id
            yield "discriminator_drift_psi_ratio", labels, drift.psi
            yield "discriminator_drift_alarm", labels, float(drift.is_alarm)
