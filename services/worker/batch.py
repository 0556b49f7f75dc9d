"""The batch as the worker sees it: every default filled in, every bound checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffserve.catalog import Catalog
from diffserve.core import PROMPT_BYTES_MAX, Variant
from diffserve.errors import ConfigError, InputError
from diffserve.rpc.v1 import common_pb2, worker_pb2

MEDIA_TYPES: Mapping[str, str] = {
    "": "image/png",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
SIDE_MAX = 2048
STEPS_MAX = 200
GUIDANCE_MAX = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One query of a batch.

    Attributes:
        query_id: Unique within the batch.
        prompt: What to draw.
        negative_prompt: What to avoid; empty means nothing.
        seed: Fixes the image, whatever its batch-mates.
        media_type: Encoding of the answer.
        budget_s: Seconds left until its deadline when the batch arrived.
        light: What the discriminator said of its light image, if this is the heavy one; handed
            back to the discriminator as it came.
        traceparent: Parent of its spans; empty when it is not traced.
    """

    query_id: str
    prompt: str
    negative_prompt: str
    seed: int
    media_type: str
    budget_s: float
    light: common_pb2.LightScore | None = None
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """What one execution runs: the settings all its queries share, and the queries.

    Attributes:
        batch_id: Number given by the load balancer.
        variant: What runs.
        width: Pixels.
        height: Pixels.
        num_inference_steps: Denoising steps.
        guidance_scale: Classifier-free guidance; 0 or 1 means none.
        drawings: One per query, at least one.
        discriminator: Scoring model; empty means do not score.
        reports_progress: Somebody wants to hear of its denoising steps.
        only_if_idle: Refuse it while anything is on the device.
        loadbalancer_id: Whose batch; its number is unique there only.
    """

    batch_id: int
    variant: Variant
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    drawings: tuple[Drawing, ...]
    discriminator: str = ""
    reports_progress: bool = False
    only_if_idle: bool = False
    loadbalancer_id: str = ""

    @property
    def is_native(self) -> bool:
        """Whether it runs at the variant's own operating point, as its profile was measured."""
        variant = self.variant
        return (
            (self.width, self.height) == (variant.width, variant.height)
            and self.num_inference_steps == variant.num_inference_steps
            and self.guidance_scale == variant.guidance_scale
        )


def warm_up_batch(variant: Variant, batch_size: int = 1) -> BatchSpec:
    """Return a batch at the variant's own operating point."""
    drawings = tuple(
        Drawing(
            query_id=f"warm-up-{index}",
            prompt="warm-up",
            negative_prompt="",
            seed=index,
            media_type="image/png",
            budget_s=math.inf,
        )
        for index in range(batch_size)
    )
    return BatchSpec(
        batch_id=0,
        variant=variant,
        width=variant.width,
        height=variant.height,
        num_inference_steps=variant.num_inference_steps,
        guidance_scale=variant.guidance_scale,
        drawings=drawings,
    )


def warm_up_failure(variant: Variant, problem: str) -> ConfigError:
    """Return the error of a variant that was loaded and does not run.

    Which of its fields is at fault nobody knows, so it tells all that count.
    """
    scheduler = f", {variant.scheduler}" if variant.scheduler else ""
    options = "".join(f", {name} = {value}" for name, value in variant.scheduler_options)
    return ConfigError(
        f"variant.{variant.variant_id}: {problem}; it was run as {variant.pipeline}, "
        f"{variant.width}x{variant.height}, {variant.num_inference_steps} steps, guidance "
        f"{variant.guidance_scale:g}, {variant.dtype}{scheduler}{options}"
    )


def known_variant(catalog: Catalog, variant_id: str) -> Variant:
    """Return a variant of the catalog.

    Raises:
        InputError: there is none of that name.
    """
    variant = catalog.variants.get(variant_id)
    if variant is None:
        raise InputError("variant_id", f"no variant {variant_id!r} in catalog {catalog.name!r}")
    return variant


def parse_batch(request: worker_pb2.ExecuteRequest, catalog: Catalog) -> BatchSpec:
    """Check a request and fill in the variant's defaults.

    Raises:
        InputError: a field is out of bounds, or queries of one batch differ where they must not.
    """
    variant = known_variant(catalog, request.variant_id)
    _check_queries(request.queries, catalog.latency[variant.variant_id].batch_size_max)
    settings = [
        _run_settings(f"queries.{index}.parameters", query.parameters, variant)
        for index, query in enumerate(request.queries)
    ]
    for index, other in enumerate(settings):
        for name, value in other.items():
            if value != settings[0][name]:
                raise InputError(
                    f"queries.{index}.parameters.{name}",
                    f"{value:g} differs from the batch's {settings[0][name]:g}",
                )
    return BatchSpec(
        batch_id=request.batch_id,
        variant=variant,
        width=int(settings[0]["width"]),
        height=int(settings[0]["height"]),
        num_inference_steps=int(settings[0]["num_inference_steps"]),
        guidance_scale=settings[0]["guidance_scale"],
        drawings=tuple(_drawing(index, query) for index, query in enumerate(request.queries)),
        discriminator=request.discriminator,
        reports_progress=request.reports_progress,
        only_if_idle=request.only_if_idle,
        loadbalancer_id=request.loadbalancer_id,
    )


def _check_queries(queries: Sequence[worker_pb2.BatchQuery], batch_size_max: int) -> None:
    if not queries:
        raise InputError("queries", "a batch needs at least one")
    if len(queries) > batch_size_max:
        raise InputError("queries", f"{len(queries)} exceed the profiled batch of {batch_size_max}")
    seen: set[str] = set()
    for index, query in enumerate(queries):
        if not query.query_id or query.query_id in seen:
            raise InputError(f"queries.{index}.query_id", "is empty or not unique in the batch")
        seen.add(query.query_id)


def _run_settings(
    where: str, parameters: common_pb2.GenerationParameters, variant: Variant
) -> dict[str, float]:
    """Return what the pipeline call needs and all batch-mates must agree on."""
    given = parameters.guidance_scale
    has_guidance = parameters.HasField("guidance_scale")
    settings: dict[str, float] = {
        "width": parameters.width or variant.width,
        "height": parameters.height or variant.height,
        "num_inference_steps": parameters.num_inference_steps or variant.num_inference_steps,
        "guidance_scale": given if has_guidance else variant.guidance_scale,
    }
    for name in ("width", "height"):
        if not 8 <= settings[name] <= SIDE_MAX or settings[name] % 8:
            raise InputError(f"{where}.{name}", f"must be a multiple of 8, 8 to {SIDE_MAX}")
    if not 1 <= settings["num_inference_steps"] <= STEPS_MAX:
        raise InputError(f"{where}.num_inference_steps", f"must be 1 to {STEPS_MAX}")
    # Written so that NaN, which compares false with everything, is refused too.
    if not 0.0 <= settings["guidance_scale"] <= GUIDANCE_MAX:
        raise InputError(f"{where}.guidance_scale", f"must be 0 to {GUIDANCE_MAX:g}")
    return settings


def _drawing(index: int, query: worker_pb2.BatchQuery) -> Drawing:
    where = f"queries.{index}.parameters"
    parameters = query.parameters
    if not parameters.prompt.strip():
        raise InputError(f"{where}.prompt", "is blank")
    for name, text in (
        ("prompt", parameters.prompt),
        ("negative_prompt", parameters.negative_prompt),
    ):
        if len(text.encode()) > PROMPT_BYTES_MAX:
            raise InputError(f"{where}.{name}", f"is longer than {PROMPT_BYTES_MAX} bytes")
    if not parameters.HasField("seed"):
        raise InputError(f"{where}.seed", "is missing")
    media_type = MEDIA_TYPES.get(parameters.output_format)
    if media_type is None:
        raise InputError(f"{where}.output_format", "must be png, jpeg or webp")
    return Drawing(
        query_id=query.query_id,
        prompt=parameters.prompt,
        negative_prompt=parameters.negative_prompt,
        seed=parameters.seed,
        media_type=media_type,
        budget_s=query.budget_s,
        light=query.light if query.HasField("light") else None,
        traceparent=query.traceparent,
    )
