"""What a client asks for and what it gets: plain values, no protobuf in sight."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from diffserve.core import Outcome, Preference, Priority

DEFAULT_ADDRESS = "127.0.0.1:50051"
"""Where ``make serve`` and the compose file put the load balancer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to draw and how. Unset fields are left to the deployment.

    Attributes:
        prompt: What to draw.
        negative_prompt: What to avoid.
        seed: Reproduces the image; None: the server chooses one and tells it.
        width: Pixels; 0 means the native size.
        height: Pixels; 0 means the native size.
        num_inference_steps: Denoising steps of the final variant; 0 means its own.
        guidance_scale: Of the final variant; None means its own.
        output_format: ``png``, ``jpeg`` or ``webp``.
        cascade: Name of a cascade or request class; empty means the default one.
        preference: AUTO lets the cascade decide; LIGHT and HEAVY pin a stage. Or as text:
            ``auto``, ``light``, ``heavy``.
        deadline_s: Seconds that the answer may take; None means the SLO of the cascade.
        n: Number of images, 1 to 10; their seeds count up.
        priority: Which waiting queries go first. Or as text: ``high``, ``normal``, ``low``.
        tenant: On whose account it is; empty is a name like others.
        query_id: Name of your own for the query, at most 128 characters of A-Z a-z 0-9 _ -; of
            several images, image i is the query ``query_id``-i. A wish that is sent again under
            its id joins the running query or gets its answer, and nothing is drawn twice; another
            one under that id is refused. Empty: each call is a query of its own.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int | None = None
    width: int = 0
    height: int = 0
    num_inference_steps: int = 0
    guidance_scale: float | None = None
    output_format: str = "png"
    cascade: str = ""
    preference: Preference | str = Preference.AUTO
    deadline_s: float | None = None
    n: int = 1
    priority: Priority | str = Priority.NORMAL
    tenant: str = ""
    query_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImage:
    """An answer.

    Attributes:
        data: Encoded image.
        media_type: ``image/png``, ``image/jpeg`` or ``image/webp``.
        width: Pixels.
        height: Pixels.
        query_id: Id of the query.
        outcome: LIGHT, HEAVY or LIGHT_FALLBACK.
        variant: Which variant drew it.
        cascade: Which cascade served it.
        confidence: Discriminator's confidence in the light image, 0..1; None when not scored.
        percentile: Rank of that confidence among recent ones, 0..1; None when not scored.
        seed: Reproduces the image.
        reason: One sentence: why this variant answered.
        unknown_words: Words of the prompt that the variant does not know.
        stage_s: Stage -> seconds: ``light_queue``, ``light_execution``, ``scoring``,
            ``heavy_queue``, ``heavy_execution``, ``total``.
        worker: Who drew it.
        plan_id: Plan in force at the decision; 0 before the first.
    """

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    query_id: str
    outcome: Outcome
    variant: str
    cascade: str
    confidence: float | None
    percentile: float | None
    seed: int
    reason: str
    unknown_words: tuple[str, ...]
    stage_s: dict[str, float]
    worker: str = ""
    plan_id: int = 0

    def save(self, path: str | Path) -> Path:
        """Write the encoded image to a file; return its path. Makes missing folders."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return path


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryStep:
    """One thing that happened to a query.

    Attributes:
        name: ``arrived``, ``light_batch``, ``light_image``, ``deferred``, ``heavy_batch``,
            ``heavy_image``, ``no_image``, ``batch_lost``, or an outcome, which is the last.
        at_s: Seconds after it arrived.
        variant: Variant at work; empty without.
        worker: Worker at work; empty without.
        batch_size: Queries in its batch; 0 when it was in none.
        plan_id: Plan in force; 0 before the first.
        detail: One sentence; empty when there is nothing to add.
    """

    name: str
    at_s: float
    variant: str = ""
    worker: str = ""
    batch_size: int = 0
    plan_id: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRecord:
    """Where a query stands, or how it ended.

    Attributes:
        query_id: Its id.
        outcome: None while it is in progress.
        phase: ``light_queue``, ``light_execution``, ``heavy_queue``, ``heavy_execution`` or
            ``done``.
        cascade: Which cascade serves it.
        confidence: Of its light image, 0..1; None when not scored, or not yet.
        percentile: Rank of that confidence among recent ones, 0..1; None likewise.
        age_s: Seconds since it arrived.
        stage_s: Stage -> seconds, as of ``GeneratedImage``; zero until the query ends.
        reason: One sentence: how it ended; empty until then.
        steps: What happened to it, in order.
    """

    query_id: str
    outcome: Outcome | None
    phase: str
    cascade: str
    confidence: float | None
    percentile: float | None
    age_s: float
    stage_s: dict[str, float]
    reason: str
    steps: tuple[QueryStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """The query waits for a variant.

    Attributes:
        variant: Which one.
        position: Queries ahead of it.
        predicted_wait_s: Expected wait, seconds.
        index: Which image of the call, from 0.
    """

    variant: str
    position: int
    predicted_wait_s: float
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A worker began to draw.

    Attributes:
        variant: With which variant.
        worker: Which worker.
        batch_size: Queries in the same batch.
        index: Which image of the call, from 0.
    """

    variant: str
    worker: str
    batch_size: int
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """The light image is here as a preview; the heavy variant draws the query again.

    Attributes:
        data: Encoded light image.
        media_type: Its encoding.
        confidence: 0..1; None when it was not scored.
        reason: One sentence: why it is drawn again.
        index: Which image of the call, from 0.
    """

    data: bytes = field(repr=False)
    media_type: str
    confidence: float | None
    reason: str
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A denoising step is done; at most about ten of these per second.

    Attributes:
        variant: Which variant draws.
        step: Steps done, from 1.
        num_steps: Steps in all.
        index: Which image of the call, from 0.
    """

    variant: str
    step: int
    num_steps: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The answer; always the last event of its image.

    Attributes:
        image: What was asked for.
        index: Which image of the call, from 0.
    """

    image: GeneratedImage
    index: int = 0


Event = Queued | Started | Progress | Deferred | Done
