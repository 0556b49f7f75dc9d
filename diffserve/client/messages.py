"""The client's values <-> protobuf messages."""

from __future__ import annotations

import enum
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from diffserve.client.values import (
    Deferred,
    Done,
    Event,
    GeneratedImage,
    Progress,
    QueryRecord,
    QueryStep,
    Queued,
    Started,
    Wish,
)
from diffserve.core import NUM_IMAGES_MAX, Outcome, Preference, Priority
from diffserve.errors import InputError
from diffserve.rpc import convert
from diffserve.rpc.v1 import common_pb2, generation_pb2

_PARAMETERS = (
    "prompt",
    "negative_prompt",
    "seed",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "output_format",
)
"""Fields of a wish that have the same name in ``GenerationParameters``."""
_KINDS = {
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_INT32: "a whole number",
    FieldDescriptor.TYPE_INT64: "a whole number",
    FieldDescriptor.TYPE_DOUBLE: "a number",
}
_LARGEST = {FieldDescriptor.TYPE_INT32: 2**31 - 1, FieldDescriptor.TYPE_INT64: 2**63 - 1}
SHOWN_LENGTH_MAX = 60
"""Characters of a wrong value that an error repeats."""
_STAGES = ("light_queue", "light_execution", "scoring", "heavy_queue", "heavy_execution", "total")


def request_of(wish: Wish, query_id: str) -> generation_pb2.GenerateRequest:
    """Return the request of a wish.

    Args:
        wish: What is asked for.
        query_id: Its id, where the wish brings none.

    Raises:
        InputError: a value fits no field of the message; the server checks everything else.
    """
    request = generation_pb2.GenerateRequest()
    _set(request, "query_id", query_id if wish.query_id == "" else wish.query_id, "query_id")
    for field in _PARAMETERS:
        _set(request.parameters, field, getattr(wish, field), field)
    for field in ("deadline_s", "n", "tenant"):
        _set(request, field, getattr(wish, field), field)
    _set(request, "cascade_id", wish.cascade, "cascade")
    if not 1 <= request.n <= NUM_IMAGES_MAX:
        raise InputError("n", f"must be 1 to {NUM_IMAGES_MAX}, not {request.n}")
    preference = _name_of("preference", wish.preference, Preference)
    request.preference = common_pb2.Preference.Value(f"PREFERENCE_{preference}")
    priority = _name_of("priority", wish.priority, Priority)
    request.priority = generation_pb2.Priority.Value(f"PRIORITY_{priority}")
    return request


def query_request_of(query_id: str) -> generation_pb2.GetQueryRequest:
    """Return the question for a query.

    Raises:
        InputError: the id is no text.
    """
    request = generation_pb2.GetQueryRequest()
    _set(request, "query_id", query_id, "query_id")
    return request


def _set(message: Message, name: str, value: Any, field: str) -> None:
    """Set a field of a message; None leaves those absent that can be.

    Raises:
        InputError: it does not hold such a value; names the wish's ``field``.
    """
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    if value is None and descriptor.has_presence:
        return
    try:
        setattr(message, name, value)
    except UnicodeError:
        problem = "must be Unicode text"
    except (OverflowError, TypeError, ValueError) as error:
        problem = f"must be {_KINDS[descriptor.type]}"
        if isinstance(error, ValueError) and descriptor.type in _LARGEST:
            problem += f" from 0 to {_LARGEST[descriptor.type]}"
    else:
        return
    raise InputError(field, f"{problem}, not {_shown(value)}")


def _name_of(field: str, value: Any, kind: type[enum.Enum]) -> str:
    """Return the name of a member, which may be given by its name in small letters.

    Raises:
        InputError: it is neither a member nor such a name.
    """
    if isinstance(value, kind):
        return value.name
    choices = {member.name.lower(): member.name for member in kind}
    if isinstance(value, str) and value in choices:
        return choices[value]
    raise InputError(field, f"must be one of {', '.join(choices)}, not {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH_MAX else text[:SHOWN_LENGTH_MAX] + "…"


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
        stage_s=_stage_s(answer.times),
        worker=answer.worker_id,
        plan_id=answer.plan_id,
    )


def _stage_s(times: common_pb2.StageTimes) -> dict[str, float]:
    return {stage: getattr(times, f"{stage}_s") for stage in _STAGES}


def record_of(record: generation_pb2.QueryRecord) -> QueryRecord:
    """Return where a query stands as a value."""
    return QueryRecord(
        query_id=record.query_id,
        outcome=convert.outcome_from_proto(record.outcome),
        phase=record.phase,
        cascade=record.cascade_id,
        confidence=record.confidence if record.HasField("confidence") else None,
        percentile=record.percentile if record.HasField("percentile") else None,
        age_s=record.age_s,
        stage_s=_stage_s(record.times),
        reason=record.reason,
        steps=tuple(
            QueryStep(
                name=step.name,
                at_s=step.at_s,
                variant=step.variant_id,
                worker=step.worker_id,
                batch_size=step.batch_size,
                plan_id=step.plan_id,
                detail=step.detail,
            )
            for step in record.steps
        ),
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
