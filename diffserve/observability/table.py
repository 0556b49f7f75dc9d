"""The one table of metrics: names, kinds, labels and buckets of every service.

Units are base units and end the name: seconds, bytes, ``ratio`` for shares; counters end in
``total``. Labels take few values: ids of the catalog, words listed in this file, and the few names
of other variants that a discriminator keeps confidences of. Nothing is labelled by query, worker or
plan; Prometheus tells processes apart by ``instance``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "diffserve_"
SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0),
)
SWAP_SECONDS = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
BATCH_SIZES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
TWENTIETHS = tuple(index / 20 for index in range(1, 21))

STAGES = ("light_queue", "light_execution", "scoring", "heavy_queue", "heavy_execution")
"""Values of ``stage``: where the time of a query goes, in order."""


class Kind(enum.StrEnum):
    """How a metric behaves; Prometheus's own words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: With unit, as scraped.
        kind: How it behaves.
        help: What it says; shown by Prometheus.
        labels: Their names, in order.
        buckets: Upper bounds, of a histogram.
        is_read: Read from the service's state when scraped; others are counted as things happen.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    is_read: bool = False


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, Kind.COUNTER, text, labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(PREFIX + name, Kind.HISTOGRAM, text, labels, buckets)


def _read(name: str, text: str, *labels: str) -> Metric:
    kind = Kind.COUNTER if name.endswith("_total") else Kind.GAUGE
    return Metric(PREFIX + name, kind, text, labels, is_read=True)


LOADBALANCER = (
    _read("queries_arrived_total", "Queries that arrived, refused ones included.", "cascade"),
    _read("queries_finished_total", "Queries by outcome.", "cascade", "outcome"),
    _read("queries_in_progress", "Queries without an outcome yet.", "cascade"),
    _read("queries_waiting", "Queries in the queues of a variant, now.", "variant"),
    _read("queue_oldest_age_seconds", "How long the oldest of them has waited.", "variant"),
    _read("queue_due_qps", "The least rate that serves them by their deadlines.", "variant"),
    _read("deferral_target_ratio", "Share to defer by the plan in force.", "cascade"),
    _read("plan_id", "Plan that this load balancer follows; 0 before the first."),
    _counter(
        "slo_violations_total",
        "Queries rejected, expired, failed, or answered after their deadline.",
        "cascade",
    ),
    _counter("queries_good_total", "Queries answered by their deadline: goodput.", "cascade"),
    _counter("light_images_total", "Light images that came back, previews included.", "cascade"),
    _counter("queries_deferred_total", "Light images that were deferred.", "cascade"),
    _counter("queries_unscored_total", "Light images that have no confidence.", "cascade"),
    _histogram(
        "query_duration_seconds",
        "From arrival to outcome, answered queries only.",
        SECONDS,
        *("cascade", "outcome"),
    ),
    _histogram(
        "stage_duration_seconds",
        "Where the time went, queries that passed the stage only.",
        SECONDS,
        *("cascade", "stage"),
    ),
    _histogram("batch_size", "Queries per batch sent to a worker.", BATCH_SIZES, "variant"),
)

WORKER = (
    _counter(
        "worker_batches_total",
        "Batches that left the device; done, failed, or stopped because nobody waited.",
        *("variant", "result"),
    ),
    _histogram(
        "worker_execution_seconds", "Device time of a batch that was done.", SECONDS, "variant"
    ),
    _counter("worker_swaps_total", "Variants loaded, those at start included.", "variant"),
    _counter("worker_evictions_total", "Variants unloaded to make room.", "variant"),
    _histogram(
        "worker_swap_seconds", "Loading of a variant, without its warm-up.", SWAP_SECONDS, "variant"
    ),
    _read("worker_swap_memory_bytes", "Memory around the newest swap: before, after.", "moment"),
    _read("worker_memory_used_bytes", "Memory of the device in use."),
    _read("worker_memory_total_bytes", "Memory of the device."),
    _read("worker_variant_resident", "1 for variants in memory, 0 for the others.", "variant"),
    _counter("worker_queries_aborted_total", "Queries stopped because nobody waited."),
)

DISCRIMINATOR = (
    _counter(
        "discriminator_scores_total",
        "Images scored: light ones for a decision, heavy ones to learn from.",
        *("discriminator", "stage"),
    ),
    _histogram(
        "discriminator_scoring_seconds",
        "Time of one request, waiting included.",
        SECONDS,
        "discriminator",
    ),
    _histogram(
        "discriminator_confidence_ratio",
        "Confidences of a variant's light images.",
        TWENTIETHS,
        *("discriminator", "variant"),
    ),
    _read(
        "discriminator_drift_psi_ratio",
        "Population stability index of recent confidences.",
        *("discriminator", "variant"),
    ),
    _read(
        "discriminator_drift_alarm",
        "1 while confidences count as drifted.",
        *("discriminator", "variant"),
    ),
)

CONTROLLER = (
    _histogram(
        "controller_solve_seconds",
        "Making of a plan, by who solved it and how it went.",
        SECONDS,
        *("solver", "status"),
    ),
    _counter("controller_plans_total", "Plans put in force."),
    _counter("controller_swaps_ordered_total", "Assignments told to workers.", "variant"),
    _read("controller_plan_id", "Plan in force; 0 before the first."),
    _read("controller_demand_qps", "Estimated arrival rate of a request class.", "request_class"),
    _read("controller_arrival_qps", "Arrival rate in the newest interval.", "cascade"),
    _read("controller_planned_qps", "Arrival rate that the plan in force serves.", "cascade"),
    _read("controller_planned_deferral_ratio", "Share of it that is deferred.", "cascade"),
    _read("controller_workers", "Workers that the plan in force places on a variant.", "variant"),
    _read("controller_registered_workers", "Workers with a lease, by state.", "state"),
    _read("controller_telemetry_age_seconds", "Age of the newest telemetry."),
    _read("controller_redis_connected", "1 while Redis answers."),
    _read("controller_planning_paused", "1 while an operator has paused planning."),
)

METRICS: Mapping[str, tuple[Metric, ...]] = {
    "loadbalancer": LOADBALANCER,
    "worker": WORKER,
    "discriminator": DISCRIMINATOR,
    "controller": CONTROLLER,
}
"""Service -> its metrics; the only list of them."""
