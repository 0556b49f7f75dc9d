"""The client's values <-> protobuf messages."""

from __future__ import annotations

from diffserve.client.values import (
    Deferred,
    Done,
    Event,
    GeneratedImage,
    Progress,
    Queued,
    Started,
    Wish,
)
from diffserve.core import Outcome
from diffserve.errors import InputError
from diffserve.rpc import convert
from diffserve.rpc.v1 import common_pb2, generation_pb2

_STAGES = ("light_queue", "light_execution", "scoring", "heavy_queue", "heavy_execution", "total")


def request_of(wish: Wish, query_id: str) -> generation_pb2.GenerateRequest:
    """Return the request of a wish.

    Raises:
        InputError: a value fits no field of the message; the server checks everything else.
    """
    try:
        return generation_pb2.GenerateRequest(
            parameters=common_pb2.GenerationParameters(
                prompt=wish.prompt,
                negative_prompt=wish.negative_prompt,
                seed=wish.seed,
                width=wish.width,
                height=wish.height,
                num_inference_steps=wish.num_inference_steps,
                guidance_scale=wish.guidance_scale,
                output_format=wish.output_format,
            ),
            cascade_id=wish.cascade,
            preference=common_pb2.Preference.Value(f"PREFERENCE_{wish.preference.upper()}"),
            deadline_s=wish.deadline_s,
            query_id=query_id,
            n=wish.n,
            priority=generation_pb2.Priority.Value(f"PRIORITY_{wish.priority.name}"),
            tenant=wish.tenant,
        )
    except (ValueError, TypeError) as error:
        raise InputError("wish", f"cannot be sent: {error}") from None


def image_of(answer: generation_pb2.GenerateResponse) -> GeneratedImage:
    """Return an answer as a value."""
    is_scored = answer.HasField("confidence")
    return GeneratedImage(
        data=answer.image.data,
        media_type=answer.image.media_type,
        width=answer.image.width,
        height=answer.image.height,
        query_id=answer.query_id,
        outcome=convert.outcome_from_proto(answer.outcome) or Outcome.FAILED,
        variant=answer.variant_id,
        cascade=answer.cascade_id,
        confidence=answer.confidence if is_scored else None,
        percentile=answer.percentile if is_scored else None,
        seed=answer.seed,
        reason=answer.reason,
        unknown_words=tuple(answer.unknown_words),
        stage_s={stage: getattr(answer.times, f"{stage}_s") for stage in _STAGES},
        worker=answer.worker_id,
        plan_id=answer.plan_id,
    )


def event_of(event: generation_pb2.GenerateEvent) -> Event | None:
    """Return an event as a value; None for a kind that this version does not know."""
    match event.WhichOneof("event"):
        case "queued":
            return Queued(
                variant=event.queued.variant_id,
                position=event.queued.position,
                predicted_wait_s=event.queued.predicted_wait_s,
                index=event.index,
            )
        case "started":
            return Started(
                variant=event.started.variant_id,
                worker=event.started.worker_id,
                batch_size=event.started.batch_size,
                index=event.index,
            )
        case "progress":
            return Progress(
                variant=event.progress.variant_id,
                step=event.progress.step,
                num_steps=event.progress.num_steps,
                index=event.index,
            )
        case "preview":
            preview = event.preview
            return Deferred(
                data=preview.image.data,
                media_type=preview.image.media_type,
                confidence=preview.confidence if preview.HasField("confidence") else None,
                reason=preview.reason,
                index=event.index,
            )
        case "done":
            return Done(image_of(event.done), event.index)
        case _:
            return None
