"""Two ways to ask for an image: DiffServe's gRPC, and any server with OpenAI's image API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from diffserve.bench.replies import Status, Told
from diffserve.client import AsyncClient
from diffserve.core import Outcome
from diffserve.errors import ConfigError
from diffserve.replay.client import CONNECT_TIMEOUT_S, ONCE, Call, Target
from diffserve.sim.workload import Arrival

if TYPE_CHECKING:
    import httpx

STAGES = ("light_queue", "light_execution", "scoring", "heavy_queue", "heavy_execution")
REFUSALS = (429, 503)
TIMEOUTS = (408, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one request ended.

    Attributes:
        status: In a word.
        error: What was said instead of an image.
        num_bytes: Of the image, as it came.
        told: What else the server says.
    """

    status: Status
    error: str = ""
    num_bytes: int = 0
    told: Told = field(default_factory=Told)


class Door(Protocol):
    """Asks one server for images."""

    async def ask(self, index: int, arrival: Arrival, began_s: float) -> Ending:
        """Ask for one image; every way in which that can end is an ending, none raises."""


@dataclass(frozen=True, slots=True)
class GrpcDoor:
    """DiffServe's own door; queries carry the SLO as their deadline."""

    client: AsyncClient
    target: Target

    async def ask(self, index: int, arrival: Arrival, began_s: float) -> Ending:
        """Ask by the Python client."""
        answer = await Call(self.client, self.target, began_s).made(index, arrival)
        if answer.outcome.is_answered:
            stages = {name: answer.stage_s[name] for name in STAGES}
            first = stages["light_queue"] + stages["light_execution"] + stages["scoring"]
            told = Told(
                outcome=answer.outcome,
                variant=answer.variant_id,
                first_image_s=None if answer.is_bypassed else first,
                stage_s=stages,
            )
            return Ending(status=Status.ANSWERED, num_bytes=answer.num_bytes, told=told)
        status = {Outcome.REJECTED: Status.REFUSED, Outcome.EXPIRED: Status.EXPIRED}
        return Ending(status=status.get(answer.outcome, Status.FAILED), error=answer.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiRequest:
    """What is asked of an OpenAI-compatible server.

    Attributes:
        url: Of the API, as ``http://host:port/v1``.
        model: Name of the model; empty leaves it out.
        size: ``WIDTHxHEIGHT``; empty leaves it out.
        timeout_s: After which the client gives up.
        prompt_of: Prompt by number.
    """

    url: str
    model: str
    size: str
    timeout_s: float
    prompt_of: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class OpenAiDoor:
    """``POST /images/generations`` of any server; only fields that all of them know are sent."""

    client: httpx.AsyncClient
    request: OpenAiRequest

    async def ask(self, index: int, arrival: Arrival, began_s: float) -> Ending:
        """Ask by HTTP."""
        import httpx

        body: dict[str, object] = {"prompt": self.request.prompt_of(arrival.prompt_id), "n": 1}
        if self.request.model:
            body["model"] = self.request.model
        if self.request.size:
            body["size"] = self.request.size
        try:
            # The client's own time-outs are of single reads, not of the whole.
            async with asyncio.timeout(self.request.timeout_s):
                answer = await self.client.post("/images/generations", json=body)
        except TimeoutError:
            return Ending(status=Status.EXPIRED, error=f"no answer in {self.request.timeout_s:g} s")
        except httpx.HTTPError as error:
            return Ending(status=Status.FAILED, error=f"{type(error).__name__}: {error}")
        return ending_of(answer.status_code, answer.content)


def ending_of(status: int, content: bytes) -> Ending:
    """Return what an HTTP answer means."""
    try:
        document = json.loads(content)
    except ValueError:
        document = {}
    if status != 200:
        kind = Status.FAILED
        kind = Status.REFUSED if status in REFUSALS else kind
        kind = Status.EXPIRED if status in TIMEOUTS else kind
        error = document.get("error") if isinstance(document, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        return Ending(status=kind, error=f"HTTP {status}: {message or 'no message'}")
    try:
        (image,) = document["data"]
        data = image.get("b64_json") or image["url"]
    except (KeyError, TypeError, ValueError, AttributeError):
        text = content[:80].decode(errors="replace")
        return Ending(status=Status.FAILED, error=f"HTTP 200 without one image: {text}")
    return Ending(status=Status.ANSWERED, num_bytes=len(data), told=_told(image.get("diffserve")))


def _told(story: object) -> Told:
    """Return what DiffServe tells beside OpenAI's fields; nothing for other servers."""
    if not isinstance(story, Mapping):
        return Told()
    outcomes = {outcome.value: outcome for outcome in Outcome}
    first = story.get("first_image_s")
    return Told(
        outcome=outcomes.get(str(story.get("outcome"))),
        variant=str(story.get("variant", "")),
        first_image_s=float(first) if isinstance(first, int | float) else None,
        stage_s={name: float((story.get("stage_s") or {}).get(name, 0.0)) for name in STAGES},
    )


@contextlib.asynccontextmanager
async def grpc_door(target: Target) -> AsyncIterator[Door]:
    """Connect to a load balancer.

    Raises:
        TimeoutError: nobody listens.
    """
    async with AsyncClient(target.address, retries=ONCE) as client:
        await client.connect(CONNECT_TIMEOUT_S)
        yield GrpcDoor(client, target)


@contextlib.asynccontextmanager
async def openai_door(request: OpenAiRequest) -> AsyncIterator[Door]:
    """Connect to an OpenAI-compatible server; ``OPENAI_API_KEY`` is sent where it is set.

    Raises:
        ConfigError: the HTTP client is not installed, or the URL is none.
        TimeoutError: nobody listens.
    """
    try:
        import httpx
    except ImportError:
        raise ConfigError("--url needs httpx; install `diffserve[bench]`") from None
    key = os.environ.get("OPENAI_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    _check_url(request.url)
    async with httpx.AsyncClient(
        base_url=request.url, headers=headers, limits=limits, timeout=None, trust_env=False
    ) as client:
        try:
            # Whatever it answers, somebody is there.
            await client.get("/models", timeout=CONNECT_TIMEOUT_S)
        except httpx.HTTPError:
            raise TimeoutError(request.url) from None
        yield OpenAiDoor(client, request)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(f"--url: {url!r} is no http://host:port/v1")
