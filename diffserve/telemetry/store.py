"""Reads and writes the keys of ``telemetry.keys`` on a real Redis server."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from diffserve.core import Population, WorkerInfo
from diffserve.telemetry import fields, keys
from diffserve.telemetry.records import LoadBalancerReport

logger = logging.getLogger(__name__)

STORE_ERRORS = (RedisError, OSError, TimeoutError)
"""What a call may raise when Redis is gone, slow or paused; callers go on without it."""

TIMEOUT_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")


def _bounded(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Give a call ``TIMEOUT_S`` in all; raises ``TimeoutError`` after that.

    In place of redis-py's ``socket_timeout``: that sends by ``asyncio.wait_for``, which before
    Python 3.12 loses a cancellation that arrives as the send completes, and a background task that
    missed its cancellation never ends.
    """

    @functools.wraps(method)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        async with asyncio.timeout(TIMEOUT_S):
            return await method(*args, **kwargs)

    return wrapped


class TelemetryStore:
    """The only door to Redis. A call either answers or raises within about a second.

    Every write is one round trip; nothing is retried here, callers try again next period.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=None,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    @_bounded
    async def ping(self) -> None:
        """Raise one of ``STORE_ERRORS`` unless Redis answers."""
        await self._redis.ping()

    @_bounded
    async def publish_report(self, report: LoadBalancerReport) -> None:
        """Write one load balancer's telemetry."""
        name = keys.LOADBALANCER.of(report.loadbalancer_id)
        now_unix_s = time.time()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(name)
            pipe.hset(name, mapping=fields.report_fields(report))
            pipe.expire(name, keys.LOADBALANCER.ttl_s or 0)
            pipe.zadd(keys.LOADBALANCERS.of(), {report.loadbalancer_id: now_unix_s})
            await pipe.execute()

    @_bounded
    async def read_reports(self) -> tuple[LoadBalancerReport, ...]:
        """Return the reports of all live load balancers, by id; those that make no sense are not.

        Planning for the others goes on. Those whose report has expired leave the list; who reports
        again is on it again. By Redis's clock alone: those of the writers may differ by anything.
        """
        rows = await self._redis.zrange(keys.LOADBALANCERS.of(), 0, -1, withscores=True)
        reported = sorted(cast("list[tuple[str, float]]", rows))
        if not reported:
            return ()
        async with self._redis.pipeline(transaction=False) as pipe:
            for name, _ in reported:
                pipe.hgetall(keys.LOADBALANCER.of(name))
            hashes = await pipe.execute()
        gone = [name for (name, _), row in zip(reported, hashes, strict=True) if not row]
        if gone:
            await self._redis.zrem(keys.LOADBALANCERS.of(), *gone)
        found = (
            _readable_report(name, unix_s, row)
            for (name, unix_s), row in zip(reported, hashes, strict=True)
            if row
        )
        return tuple(report for report in found if report is not None)

    @_bounded
    async def next_plan_id(self, after: int = 0) -> int:
        """Return a plan id larger than every earlier one, and than ``after``.

        ``after`` is the newest id that the caller knows: a Redis that lost its data counts on
        from there instead of from 1.
        """
        name = keys.PLAN_NEXT_ID.of()
        plan_id = int(await self._redis.incr(name))
        if plan_id <= after:
            plan_id = int(await self._redis.incrby(name, after - plan_id + 1))
        return plan_id

    @_bounded
    async def save_plan(self, plan_id: int, document: str) -> None:
        """Make a plan (protobuf JSON) the one in force and remember it."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(keys.PLAN_CURRENT.of(), document)
            pipe.set(keys.PLAN.of(plan_id), document, ex=keys.PLAN.ttl_s)
            await pipe.execute()

    @_bounded
    async def load_plan(self, plan_id: int = 0) -> str | None:
        """Return a plan as protobuf JSON, or None; 0 means the one in force."""
        name = keys.PLAN.of(plan_id) if plan_id else keys.PLAN_CURRENT.of()
        document = await self._redis.get(name)
        return None if document is None else _text(document)

    @_bounded
    async def plan_age_s(self, plan_id: int) -> float:
        """Return the seconds since a plan was saved; its whole time to live once forgotten.

        Read off the remaining time to live, so no wall clock is compared between machines.
        """
        ttl_s = float(keys.PLAN.ttl_s or 0)
        remaining_ms = await self._redis.pttl(keys.PLAN.of(plan_id))
        return ttl_s - max(float(remaining_ms), 0.0) / 1000.0

    @_bounded
    async def save_paused(self, paused: bool) -> None:
        """Remember whether an operator has paused planning."""
        await self._redis.set(keys.PLANNING_PAUSED.of(), int(paused))

    @_bounded
    async def load_paused(self) -> bool:
        """Return whether planning was paused; False when unknown."""
        return await self._redis.get(keys.PLANNING_PAUSED.of()) == "1"

    @_bounded
    async def save_overrides(self, document: str) -> None:
        """Remember what operators decided (JSON)."""
        await self._redis.set(keys.OVERRIDES.of(), document)

    @_bounded
    async def load_overrides(self) -> str | None:
        """Return what operators decided, or None."""
        document = await self._redis.get(keys.OVERRIDES.of())
        return None if document is None else _text(document)

    @_bounded
    async def save_workers(self, workers: Sequence[WorkerInfo]) -> None:
        """Replace the membership list."""
        name = keys.WORKERS.of()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(name)
            if workers:
                pipe.hset(name, mapping={w.worker_id: fields.worker_json(w) for w in workers})
            await pipe.execute()

    @_bounded
    async def load_workers(self) -> tuple[WorkerInfo, ...]:
        """Return the membership list, by id; without those that make no sense."""
        rows = await self._redis.hgetall(keys.WORKERS.of())
        documents = {_text(worker_id): _text(document) for worker_id, document in rows.items()}
        found = (_readable_worker(name, documents[name]) for name in sorted(documents))
        return tuple(worker for worker in found if worker is not None)

    @_bounded
    async def save_profile(
        self, device: str, variant_id: str, seconds: Mapping[int, float]
    ) -> None:
        """Remember measured execution seconds by batch size."""
        name = keys.PROFILE.of(f"{device}:{variant_id}")
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(name, mapping={str(b): f"{s:.6f}" for b, s in seconds.items()})
            pipe.expire(name, keys.PROFILE.ttl_s or 0)
            await pipe.execute()

    @_bounded
    async def load_profile(self, device: str, variant_id: str) -> dict[int, float]:
        """Return measured execution seconds by batch size; empty when unknown or unreadable."""
        name = f"{device}:{variant_id}"
        rows = await self._redis.hgetall(keys.PROFILE.of(name))
        try:
            return dict(sorted((int(b), float(s)) for b, s in rows.items()))
        except ValueError as error:
            logger.warning("redis: the profile %s cannot be read: %s", name, error)
            return {}

    @_bounded
    async def save_sketch(self, population: Population, confidences: Sequence[float]) -> None:
        """Remember recent confidences, oldest first."""
        document = json.dumps([round(c, 6) for c in confidences])
        await self._redis.set(keys.SKETCH.of(population), document, ex=keys.SKETCH.ttl_s)

    @_bounded
    async def load_sketch(self, population: Population) -> list[float]:
        """Return remembered confidences, oldest first; empty when there are none.

        Raises:
            TypeError, ValueError: something else is there.
        """
        document = await self._redis.get(keys.SKETCH.of(population))
        return [float(c) for c in json.loads(document)] if document else []

    @_bounded
    async def save_calibration(self, population: Population, document: str) -> None:
        """Publish what a discriminator has learnt of a population (protobuf JSON)."""
        key = keys.CALIBRATION
        await self._redis.set(key.of(population), document, ex=key.ttl_s)

    @_bounded
    async def load_calibrations(self, populations: Sequence[Population]) -> dict[Population, str]:
        """Return what discriminators published of late; where they are silent there is nothing."""
        if not populations:
            return {}
        documents = await self._redis.mget([keys.CALIBRATION.of(p) for p in populations])
        pairs = zip(populations, documents, strict=True)
        return {name: _text(document) for name, document in pairs if document is not None}


def _readable_report(
    name: str, reported_unix_s: float, row: Mapping[str, str]
) -> LoadBalancerReport | None:
    try:
        return fields.parse_report(name, reported_unix_s, row)
    except (KeyError, ValueError) as error:
        logger.warning("redis: the report of load balancer %s cannot be read: %r", name, error)
        return None


def _readable_worker(worker_id: str, document: str) -> WorkerInfo | None:
    try:
        return fields.parse_worker(worker_id, document)
    except (KeyError, TypeError, ValueError) as error:
        logger.warning("redis: worker %s cannot be read: %r", worker_id, error)
        return None


def _text(value: object) -> str:
    """Narrow a reply: redis-py's types do not know that ``decode_responses`` rules out bytes."""
    assert isinstance(value, str)
    return value
