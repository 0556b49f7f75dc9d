"""HTTP bodies <-> the messages that the door takes and gives."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from diffserve.core import Outcome
from diffserve.rpc import convert
from diffserve.rpc.v1 import common_pb2, generation_pb2
from services.loadbalancer.http.schema import ImageDatum, ImageRequest, ImagesResponse, Story

_PREFERENCES = {
    "low": common_pb2.PREFERENCE_LIGHT,
    "light": common_pb2.PREFERENCE_LIGHT,
    "high": common_pb2.PREFERENCE_HEAVY,
    "hd": common_pb2.PREFERENCE_HEAVY,
    "heavy": common_pb2.PREFERENCE_HEAVY,
}
"""Quality -> preference; AUTO for all others."""
_STAGES = ("light_queue", "light_execution", "scoring", "heavy_queue", "heavy_execution", "total")


def request_of(body: ImageRequest, key: str = "") -> generation_pb2.GenerateRequest:
    """Return a body as a request.

    Args:
        body: Of the HTTP request.
        key: The client's idempotency key; empty: none.
    """
    width, height = (int(part) for part in _size(body).split("x"))
    return generation_pb2.GenerateRequest(
        parameters=common_pb2.GenerationParameters(
            prompt=body.prompt,
            negative_prompt=body.negative_prompt or "",
            seed=body.seed,
            width=width,
            height=height,
            num_inference_steps=body.num_inference_steps or 0,
            guidance_scale=body.guidance_scale,
            output_format=body.output_format or "",
        ),
        cascade_id=body.model or "",
        preference=_PREFERENCES.get(body.quality or "", common_pb2.PREFERENCE_AUTO),
        deadline_s=body.deadline_s,
        query_id=_key_id(key) if key else "",
        n=body.n or 1,
    )


def answer_of(
    answers: Sequence[generation_pb2.GenerateResponse],
    urls: Sequence[str],
    created: int,
) -> ImagesResponse:
    """Return the images as one body; as base64 where there is no URL."""
    data = [
        ImageDatum(
            b64_json=None if url else base64_of(answer.image.data),
            url=url or None,
            diffserve=story_of(answer),
        )
        for answer, url in zip(answers, urls, strict=True)
    ]
    return ImagesResponse(
        created=created,
        data=data,
        output_format=format_of(answers[0].image.media_type),
        quality=quality_of(answers),
        size=f"{answers[0].image.width}x{answers[0].image.height}",
    )


def story_of(answer: generation_pb2.GenerateResponse) -> Story:
    """Return how an image came about."""
    is_scored = answer.HasField("confidence")
    outcome = convert.outcome_from_proto(answer.outcome) or Outcome.FAILED
    return Story(
        query_id=answer.query_id,
        cascade=answer.cascade_id,
        variant=answer.variant_id,
        outcome=outcome.value,
        reason=answer.reason,
        confidence=answer.confidence if is_scored else None,
        percentile=answer.percentile if is_scored else None,
        seed=answer.seed,
        worker=answer.worker_id,
        unknown_words=list(answer.unknown_words),
        first_image_s=round(_first_image_s(answer), 6),
        stage_s={stage: round(getattr(answer.times, f"{stage}_s"), 6) for stage in _STAGES},
    )


def _first_image_s(answer: generation_pb2.GenerateResponse) -> float:
    """Return when a watching client saw an image: a deferred query's preview, or the answer."""
    times = answer.times
    has_preview = answer.outcome == common_pb2.OUTCOME_HEAVY and times.light_execution_s > 0
    if not has_preview:
        return times.total_s
    return times.light_queue_s + times.light_execution_s + times.scoring_s


def quality_of(answers: Sequence[generation_pb2.GenerateResponse]) -> str:
    """Return what was drawn in OpenAI's words: all light, all heavy, or some of each."""
    heavy = [answer.outcome == common_pb2.OUTCOME_HEAVY for answer in answers]
    if all(heavy):
        return "high"
    return "medium" if any(heavy) else "low"


def base64_of(data: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")


def format_of(media_type: str) -> str:
    """Return ``png`` for ``image/png``."""
    return media_type.removeprefix("image/")


def _size(body: ImageRequest) -> str:
    return body.size if body.size and body.size != "auto" else "0x0"


def _key_id(key: str) -> str:
    """Return an idempotency key, which may be any text, as an id."""
    return hashlib.blake2b(key.encode(errors="replace"), digest_size=16).hexdigest()
