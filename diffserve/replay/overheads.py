"""What a deployment of mocks takes beyond its profiles, measured while nothing else runs on it.

The simulator gets these figures for the machines that it simulates. They come from single queries
to an idle deployment, never from the replay that the simulation is compared with: what the load
does to them is part of the difference.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from diffserve.catalog import Catalog
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc, common_pb2, generation_pb2
from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationStub
from diffserve.sim.hardware import HardwareParameters

NUM_PROBES = 40
CALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheads:
    """Medians over single light queries, seconds.

    Attributes:
        network_s: One way between load balancer and worker, serialising included: half of what
            is left of a query's time at the load balancer after queue, execution and scoring.
        scoring_s: From the image leaving the device to its score, copies and two calls included.
        execution_excess_s: Execution beyond the profile: waking up a thread.
        execution_cv: Coefficient of variation of the execution times.
        plan_delay_s: Time of a solve; writing the plan to Redis and sending it adds milliseconds.
    """

    network_s: float
    scoring_s: float
    execution_excess_s: float
    execution_cv: float
    plan_delay_s: float

    def hardware(self) -> HardwareParameters:
        """Return machines with these overheads."""
        return HardwareParameters(
            latency_cv=self.execution_cv,
            scoring_s=self.scoring_s,
            network_s=self.network_s,
            plan_delay_s=self.plan_delay_s,
        )


async def measure(loadbalancer: str, controller: str, catalog: Catalog) -> Overheads:
    """Measure an idle deployment, query by query.

    It leaves traces in the deployment (confidences, latencies, arrivals), so it comes last.
    """
    probes = await _probe(loadbalancer)
    profiled_s = catalog.latency[probes[0].variant_id].execution_s(1)
    times = [probe.times for probe in probes]
    return summary(times, profiled_s, await _solve_s(controller))


async def _probe(loadbalancer: str) -> list[generation_pb2.GenerateResponse]:
    async with open_channel(loadbalancer) as channel:
        stub = ImageGenerationStub(channel)
        probes = []
        for index in range(NUM_PROBES):
            request = generation_pb2.GenerateRequest(
                parameters=common_pb2.GenerationParameters(prompt="probe", seed=index),
                preference=common_pb2.PREFERENCE_LIGHT,
            )
            probes.append(await stub.Generate(request, timeout=CALL_TIMEOUT_S))
    return probes


async def _solve_s(controller: str) -> list[float]:
    """Return how long the solves of the latest plans took."""
    async with open_channel(controller) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        newest = await stub.GetPlan(admin_pb2.GetPlanRequest(), timeout=CALL_TIMEOUT_S)
        first = max(1, newest.plan_id - NUM_PROBES)
        plans = [
            await stub.GetPlan(admin_pb2.GetPlanRequest(plan_id=plan_id), timeout=CALL_TIMEOUT_S)
            for plan_id in range(first, newest.plan_id + 1)
        ]
    return [plan.solve_s for plan in plans]


def summary(
    probes: Sequence[common_pb2.StageTimes], profiled_s: float, solves_s: Sequence[float]
) -> Overheads:
    """Return the overheads behind some probes. Pure.

    Args:
        probes: Where the time of each went, two at least.
        profiled_s: Execution of a batch of one by the catalog.
        solves_s: Durations of solves, one at least.
    """
    executions_s = [times.light_execution_s for times in probes]
    left_s = [
        times.total_s - times.light_queue_s - times.light_execution_s - times.scoring_s
        for times in probes
    ]
    return Overheads(
        network_s=max(0.0, statistics.median(left_s) / 2.0),
        scoring_s=statistics.median(times.scoring_s for times in probes),
        execution_excess_s=statistics.median(executions_s) - profiled_s,
        execution_cv=statistics.stdev(executions_s) / statistics.fmean(executions_s),
        plan_delay_s=statistics.median(solves_s),
    )
