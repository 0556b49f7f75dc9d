"""Expected waits in a queue before a pool of workers."""

from __future__ import annotations

import math


def little_wait_s(queue_length: float, rate_qps: float) -> float:
    """Return the wait of an arriving query by Little's law, L / lambda. Pure. Paper: §3.3.

    With the arrival rate this is the paper's estimate, an average over a stable period. With the
    throughput of the pool it is the time to drain what waits now, which also holds in a burst.

    Returns:
        Seconds; 0 for an empty queue, ``math.inf`` for one that nothing moves.
    """
    if queue_length <= 0.0:
        return 0.0
    return queue_length / rate_qps if rate_qps > 0.0 else math.inf


def expected_wait_s(
    *,
    arrival_qps: float,
    num_workers: int,
    batch_size: int,
    execution_s: float,
    arrival_scv: float = 1.0,
    service_scv: float = 0.0,
) -> float:
    """Return the mean wait in a G/G/c queue (Sakasegawa's approximation). Pure.

    With tau = execution / batch per query, R = lambda tau and rho = R / c:

        W = (Ca^2 + Cs^2) / 2 * rho^(sqrt(2 (c + 1)) - 1) / (c (1 - rho)) * tau

    Args:
        arrival_qps: lambda, queries per second into the queue.
        num_workers: c.
        batch_size: Queries per execution when the pool is busy.
        execution_s: Seconds per batch.
        arrival_scv: Squared coefficient of variation of the gaps; 1 is Poisson. Deferrals come in
            groups, see ``deferral_scv``.
        service_scv: The same for execution times; fixed step counts give nearly 0.

    Returns:
        Seconds; ``math.inf`` for a pool that cannot carry the rate.
    """
    if arrival_qps <= 0.0:
        return 0.0
    tau_s = execution_s / batch_size
    load = arrival_qps * tau_s
    if num_workers <= load:
        return math.inf
    utilisation = load / num_workers
    queueing = math.pow(utilisation, math.sqrt(2.0 * (num_workers + 1)) - 1.0)
    slack = num_workers * (1.0 - utilisation)
    return (arrival_scv + service_scv) / 2.0 * queueing / slack * tau_s


def deferral_scv(deferral_fraction: float, light_batch_size: int) -> float:
    """Return Ca^2 of arrivals at the heavy queue: light batches finish together. Pure."""
    return 1.0 + deferral_fraction * (light_batch_size - 1)
