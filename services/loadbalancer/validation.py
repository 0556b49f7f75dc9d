"""Checks a client's request at the door; every refusal names the field."""

from __future__ import annotations

import math
import re

from diffserve.catalog import Catalog
from diffserve.core import NUM_IMAGES_MAX, PROMPT_BYTES_MAX, Cascade, Preference, Priority, Variant
from diffserve.errors import InputError
from diffserve.rpc import convert
from diffserve.rpc.v1 import common_pb2, generation_pb2

NUM_INFERENCE_STEPS_MAX = 200
GUIDANCE_SCALE_MAX = 50.0
OUTPUT_FORMATS = ("png", "jpeg", "webp")
SEED_MAX = 2**63 - 1
QUERY_ID_LENGTH_MAX = 128
NAME = re.compile(r"[A-Za-z0-9_-]+")
TENANT = re.compile(r"[A-Za-z0-9._-]{1,128}")


def check_request(request: generation_pb2.GenerateRequest, catalog: Catalog) -> str:
    """Check every field of a request; return the cascade or request class that it asks for.

    Raises:
        InputError: the first field found unusable.
    """
    name = request.cascade_id or catalog.default_cascade
    candidates = _candidates(name, catalog)
    preference(request)
    priority(request)
    _check_names(request)
    _check_number(request)
    if request.HasField("deadline_s"):
        deadline_s = request.deadline_s
        if not (math.isfinite(deadline_s) and deadline_s > 0):
            raise InputError("deadline_s", f"must be a finite number above 0, not {deadline_s}")
    _check_parameters(request.parameters)
    for cascade in candidates:
        for variant_id in (cascade.light, cascade.heavy):
            _check_size(request.parameters, catalog.variants[variant_id])
    return name


def _check_names(request: generation_pb2.GenerateRequest) -> None:
    length_max = QUERY_ID_LENGTH_MAX - (2 if request.n > 1 else 0)
    query_id = request.query_id
    if query_id and not (NAME.fullmatch(query_id) and len(query_id) <= length_max):
        raise InputError("query_id", f"must be 1 to {length_max} characters of A-Z a-z 0-9 _ -")
    if request.tenant and not TENANT.fullmatch(request.tenant):
        raise InputError("tenant", "must be 1 to 128 characters of A-Z a-z 0-9 . _ -")


def _check_number(request: generation_pb2.GenerateRequest) -> None:
    if not 0 <= request.n <= NUM_IMAGES_MAX:
        raise InputError("n", f"must be 0 to {NUM_IMAGES_MAX}, not {request.n}")
    if request.n > 1 and request.parameters.seed > SEED_MAX - request.n + 1:
        raise InputError("parameters.seed", f"is too large: {request.n} images count up from it")


def priority(request: generation_pb2.GenerateRequest) -> Priority:
    """Return which waiting queries go first; NORMAL when absent.

    Raises:
        InputError: a number that this version does not know.
    """
    known = convert.priority_from_proto(request.priority)
    if known is None:
        raise InputError("priority", f"unknown value {request.priority}")
    return known


def _candidates(name: str, catalog: Catalog) -> list[Cascade]:
    """Return the cascades that may answer a query that names one of them, or their class."""
    if name in catalog.cascades:
        return [catalog.cascades[name]]
    if name in catalog.classes:
        return [catalog.cascades[c] for c in catalog.classes[name].cascade_ids]
    raise unknown_cascade(name, catalog)


def unknown_cascade(name: str, catalog: Catalog) -> InputError:
    """Return the error of a name that is no cascade and no request class; it tells those known."""
    known = f"there is {', '.join(sorted(catalog.cascades))}"
    classes = sorted(set(catalog.classes) - set(catalog.cascades))
    if classes:
        known += f"; or, as a class of several, {', '.join(classes)}"
    return InputError("cascade_id", f"no cascade {name[:40]!r}; {known}")


def preference(request: generation_pb2.GenerateRequest) -> Preference:
    """Return the preference of a request.

    Raises:
        InputError: a number that this version does not know.
    """
    known = convert.preference_from_proto(request.preference)
    if known is None:
        raise InputError("preference", f"unknown value {request.preference}")
    return known


def _check_parameters(parameters: common_pb2.GenerationParameters) -> None:
    _check_text("parameters.prompt", parameters.prompt)
    if not parameters.prompt.strip():
        raise InputError("parameters.prompt", "must not be empty")
    _check_text("parameters.negative_prompt", parameters.negative_prompt)
    if parameters.HasField("seed") and parameters.seed < 0:
        raise InputError("parameters.seed", f"must be 0 or more, not {parameters.seed}")
    if not 0 <= parameters.num_inference_steps <= NUM_INFERENCE_STEPS_MAX:
        raise InputError(
            "parameters.num_inference_steps",
            f"must be 0 to {NUM_INFERENCE_STEPS_MAX}, not {parameters.num_inference_steps}",
        )
    guidance = parameters.guidance_scale
    if not (math.isfinite(guidance) and 0.0 <= guidance <= GUIDANCE_SCALE_MAX):
        raise InputError(
            "parameters.guidance_scale", f"must be 0 to {GUIDANCE_SCALE_MAX:g}, not {guidance}"
        )
    if parameters.output_format and parameters.output_format not in OUTPUT_FORMATS:
        raise InputError(
            "parameters.output_format",
            f"must be one of {', '.join(OUTPUT_FORMATS)}, not {parameters.output_format[:20]!r}",
        )


def _check_text(field: str, text: str) -> None:
    num_bytes = len(text.encode())
    if num_bytes > PROMPT_BYTES_MAX:
        raise InputError(field, f"must be at most {PROMPT_BYTES_MAX} bytes, not {num_bytes}")


def _check_size(parameters: common_pb2.GenerationParameters, variant: Variant) -> None:
    for name, value in (("width", parameters.width), ("height", parameters.height)):
        if value == 0:
            continue
        multiple, largest = variant.size_multiple, variant.size_max
        if value < multiple or value > largest or value % multiple:
            raise InputError(
                f"parameters.{name}",
                f"must be a multiple of {multiple} from {multiple} to {largest} "
                f"for {variant.variant_id}, not {value}",
            )
