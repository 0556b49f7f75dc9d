"""Reads and writes the keys of ``telemetry.keys`` on a real Redis server."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from diffserve.core import WorkerInfo
from diffserve.telemetry import keys
from diffserve.telemetry.records import CascadeReport, LoadBalancerReport, QueueReport

STORE_ERRORS = (RedisError, OSError, TimeoutError)
"""What a call may raise when Redis is gone, slow or paused; callers go on without it."""

TIMEOUT_S = 1.0


class TelemetryStore:
    """The only door to Redis. Every call is one round trip and takes at most about a second."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Raise one of ``STORE_ERRORS`` unless Redis answers."""
        await self._redis.ping()

    async def publish_report(self, report: LoadBalancerReport) -> None:
        """Write one load balancer's telemetry."""
        fields: dict[str, str | int | float] = {
            "incarnation": report.incarnation,
            "plan_id": report.plan_id,
        }
        for variant_id, queue in report.queues.items():
            fields[f"queue_length:{variant_id}"] = queue.length
            fields[f"oldest_age_s:{variant_id}"] = round(queue.oldest_age_s, 4)
        for cascade_id, cascade in report.cascades.items():
            fields[f"arrivals:{cascade_id}"] = cascade.num_arrivals
            fields[f"in_progress:{cascade_id}"] = cascade.num_in_progress
            for outcome, count in cascade.outcomes.items():
                fields[f"outcome:{cascade_id}:{outcome}"] = count
        name = keys.LOADBALANCER.of(report.loadbalancer_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(name)
            pipe.hset(name, mapping=fields)
            pipe.expire(name, keys.LOADBALANCER.ttl_s or 0)
            pipe.zadd(keys.LOADBALANCERS.of(), {report.loadbalancer_id: time.time()})
            await pipe.execute()

    async def read_reports(self) -> tuple[LoadBalancerReport, ...]:
        """Return the reports of all live load balancers, by id."""
        names = sorted(await self._redis.zrange(keys.LOADBALANCERS.of(), 0, -1))
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(keys.LOADBALANCER.of(name))
            hashes = await pipe.execute()
        return tuple(
            _parse_report(name, fields)
            for name, fields in zip(names, hashes, strict=True)
            if fields
        )

    async def next_plan_id(self) -> int:
        """Return a plan id larger than every earlier one."""
        return int(await self._redis.incr(keys.PLAN_NEXT_ID.of()))

    async def save_plan(self, plan_id: int, document: str) -> None:
        """Make a plan (protobuf JSON) the one in force and remember it."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(keys.PLAN_CURRENT.of(), document)
            pipe.set(keys.PLAN.of(plan_id), document, ex=keys.PLAN.ttl_s)
            await pipe.execute()

    async def load_plan(self, plan_id: int = 0) -> str | None:
        """Return a plan as protobuf JSON, or None; 0 means the one in force."""
        name = keys.PLAN.of(plan_id) if plan_id else keys.PLAN_CURRENT.of()
        document: str | None = await self._redis.get(name)
        return document

    async def save_workers(self, workers: Sequence[WorkerInfo]) -> None:
        """Replace the membership list."""
        name = keys.WORKERS.of()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(name)
            if workers:
                pipe.hset(name, mapping={w.worker_id: _worker_json(w) for w in workers})
            await pipe.execute()

    async def load_workers(self) -> tuple[WorkerInfo, ...]:
        """Return the membership list, by id."""
        rows = await self._redis.hgetall(keys.WORKERS.of())
        return tuple(_parse_worker(worker_id, rows[worker_id]) for worker_id in sorted(rows))

    async def save_profile(
        self, device: str, variant_id: str, seconds: Mapping[int, float]
    ) -> None:
        """Remember measured execution seconds by batch size."""
        name = keys.PROFILE.of(f"{device}:{variant_id}")
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(name, mapping={str(b): f"{s:.6f}" for b, s in seconds.items()})
            pipe.expire(name, keys.PROFILE.ttl_s or 0)
            await pipe.execute()

    async def load_profile(self, device: str, variant_id: str) -> dict[int, float]:
        """Return measured execution seconds by batch size; empty when unknown."""
        rows = await self._redis.hgetall(keys.PROFILE.of(f"{device}:{variant_id}"))
        return {int(b): float(s) for b, s in sorted(rows.items(), key=lambda row: int(row[0]))}

    async def save_sketch(self, discriminator_id: str, confidences: Sequence[float]) -> None:
        """Remember recent confidences, oldest first."""
        document = json.dumps([round(c, 6) for c in confidences])
        await self._redis.set(keys.SKETCH.of(discriminator_id), document, ex=keys.SKETCH.ttl_s)

    async def load_sketch(self, discriminator_id: str) -> list[float]:
        """Return remembered confidences, oldest first; empty when there are none."""
        document = await self._redis.get(keys.SKETCH.of(discriminator_id))
        return [float(c) for c in json.loads(document)] if document else []


def _parse_report(name: str, fields: Mapping[str, str]) -> LoadBalancerReport:
    queues: dict[str, QueueReport] = {}
    cascades: dict[str, CascadeReport] = {}
    for field in sorted(fields):
        kind, _, identity = field.partition(":")
        if kind == "queue_length":
            queues[identity] = QueueReport(
                length=int(fields[field]), oldest_age_s=float(fields[f"oldest_age_s:{identity}"])
            )
        elif kind == "arrivals":
            prefix = f"outcome:{identity}:"
            cascades[identity] = CascadeReport(
                num_arrivals=int(fields[field]),
                num_in_progress=int(fields[f"in_progress:{identity}"]),
                outcomes={
                    f.removeprefix(prefix): int(v)
                    for f, v in fields.items()
                    if f.startswith(prefix)
                },
            )
    return LoadBalancerReport(
        loadbalancer_id=name,
        incarnation=fields["incarnation"],
        plan_id=int(fields["plan_id"]),
        queues=queues,
        cascades=cascades,
    )


def _worker_json(worker: WorkerInfo) -> str:
    return json.dumps(
        {
            "address": worker.address,
            "device": worker.device,
            "resident": list(worker.resident),
            "draining": worker.is_draining,
        }
    )


def _parse_worker(worker_id: str, document: str) -> WorkerInfo:
    row = json.loads(document)
    return WorkerInfo(
        worker_id=worker_id,
        address=row["address"],
        device=row["device"],
        resident=tuple(row["resident"]),
        is_draining=row["draining"],
    )
