"""Metrics as Prometheus sees them: exact counts, every metric declared, nothing unbounded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from diffserve.observability.instruments import Instruments, Sample
from diffserve.observability.table import METRICS, PREFIX, Kind

UNITS = ("_seconds", "_bytes", "_ratio", "_total", "_qps")
WITHOUT_UNIT = {
    *("queries_in_progress", "queries_waiting", "plan_id", "batch_size"),
    *("worker_variant_resident", "discriminator_drift_alarm", "controller_plan_id"),
    *("controller_workers", "controller_registered_workers", "controller_redis_connected"),
    "controller_planning_paused",
}
LABELS = {
    *("cascade", "variant", "discriminator", "request_class", "outcome", "stage"),
    *("solver", "status", "state", "moment", "result"),
}


def nothing() -> Iterator[Sample]:
    yield from ()


def samples(instruments: Instruments) -> dict[str, float]:
    text = instruments.exposition().decode()
    return {
        f"{s.name}{dict(sorted(s.labels.items()))}": s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_names_are_unique_and_end_with_their_unit() -> None:
    metrics = [metric for table in METRICS.values() for metric in table]
    assert Counter(m.name for m in metrics).most_common(1)[0][1] == 1
    for metric in metrics:
        short = metric.name.removeprefix(PREFIX)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", short), short
        assert short.endswith(UNITS) or short in WITHOUT_UNIT, short
        assert (metric.kind is Kind.COUNTER) == short.endswith("_total"), short
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets), short
        assert metric.help.endswith(".") or ":" in metric.help


def test_no_label_takes_the_id_of_a_query_a_worker_or_a_plan() -> None:
    used = {label for table in METRICS.values() for m in table for label in m.labels}
    assert used <= LABELS


@pytest.mark.parametrize("service", METRICS)
def test_every_metric_is_declared_before_anything_happened(service: str) -> None:
    text = Instruments(service, nothing).exposition().decode()
    for metric in METRICS[service]:
        assert f"# TYPE {metric.name} {metric.kind.value}\n" in text


def test_counters_and_histograms_add_up() -> None:
    instruments = Instruments("loadbalancer", nothing)
    instruments.count("queries_good_total", "a")
    instruments.count("queries_good_total", "a", amount=2.0)
    for size in (1, 2, 2, 100):
        instruments.observe("batch_size", size, "v")
    found = samples(instruments)
    assert found["diffserve_queries_good_total{'cascade': 'a'}"] == 3.0
    assert found["diffserve_batch_size_bucket{'le': '1.0', 'variant': 'v'}"] == 1.0
    assert found["diffserve_batch_size_bucket{'le': '2.0', 'variant': 'v'}"] == 3.0
    assert found["diffserve_batch_size_bucket{'le': '64.0', 'variant': 'v'}"] == 3.0
    assert found["diffserve_batch_size_bucket{'le': '+Inf', 'variant': 'v'}"] == 4.0
    assert found["diffserve_batch_size_count{'variant': 'v'}"] == 4.0
    assert found["diffserve_batch_size_sum{'variant': 'v'}"] == 105.0


def test_what_is_read_is_read_at_every_scrape() -> None:
    waiting = [3.0]
    instruments = Instruments("loadbalancer", lambda: [("queries_waiting", ("v",), waiting[0])])
    assert samples(instruments)["diffserve_queries_waiting{'variant': 'v'}"] == 3.0
    waiting[0] = 1.0
    assert samples(instruments)["diffserve_queries_waiting{'variant': 'v'}"] == 1.0


def test_a_metric_that_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        Instruments("worker", nothing).observe("batch_size", 1.0, "v")
