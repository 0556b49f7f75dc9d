"""The metrics of one process, made from the table, in a registry of their own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import prometheus_client as prometheus
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from diffserve.observability.table import METRICS, PREFIX, Kind, Metric

CONTENT_TYPE: Final = prometheus.CONTENT_TYPE_LATEST

Sample = tuple[str, tuple[str, ...], float]
"""Name in the table without its prefix, values of the labels, value."""


@dataclass(slots=True)
class _Distribution:
    """Observations so far: how many per bucket, one more bucket above the last bound."""

    counts: list[int]
    total: float = 0.0


class Instruments(Collector):
    """What one service counts as it goes, and what it reads when it is scraped.

    Counting is a dictionary look-up and an addition, under 1 microsecond: the client library's
    own instruments take a lock each time, and ten times as long. Every series must be counted by
    one thread only; any other may scrape.
    """

    def __init__(self, service: str, read: Callable[[], Iterable[Sample]]) -> None:
        """Start at nothing.

        Args:
            service: Key of ``METRICS``.
            read: Yields the samples of the metrics that are read, at every scrape.
        """
        self._metrics = {m.name.removeprefix(PREFIX): m for m in METRICS[service]}
        self._read = read
        self._sums: dict[tuple[str, tuple[str, ...]], float] = {}
        self._distributions: dict[tuple[str, tuple[str, ...]], _Distribution] = {}
        self._registry = prometheus.CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        prometheus.ProcessCollector(registry=self._registry)

    def count(self, name: str, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter."""
        key = (name, labels)
        self._sums[key] = self._sums.get(key, 0.0) + amount

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Add to a histogram."""
        key = (name, labels)
        bounds = self._metrics[name].buckets
        found = self._distributions.get(key)
        if found is None:
            found = self._distributions[key] = _Distribution([0] * (len(bounds) + 1))
        found.counts[bisect_left(bounds, value)] += 1
        found.total += value

    def exposition(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return prometheus.generate_latest(self._registry)

    def collect(self) -> Iterator[prometheus.Metric]:
        """Return every metric of the table, those without a sample too."""
        families = {short: _family(metric) for short, metric in self._metrics.items()}
        # Copied in one step each: another thread may add a series meanwhile.
        for (name, labels), value in [*self._read_keyed(), *list(self._sums.items())]:
            family = families[name]
            assert not isinstance(family, HistogramMetricFamily), name
            family.add_metric(labels, value)
        for (name, labels), found in list(self._distributions.items()):
            family = families[name]
            assert isinstance(family, HistogramMetricFamily), name
            bounds = [*map(str, self._metrics[name].buckets), "+Inf"]
            counts = accumulate(found.counts)
            family.add_metric(labels, list(zip(bounds, counts, strict=True)), found.total)
        yield from families.values()

    def _read_keyed(self) -> Iterator[tuple[tuple[str, tuple[str, ...]], float]]:
        for name, labels, value in self._read():
            yield (name, labels), value


def _family(
    metric: Metric,
) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    if metric.kind is Kind.COUNTER:
        return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    if metric.kind is Kind.GAUGE:
        return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
