"""Bodies of the HTTP API, as documented in ``/openapi.json``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from diffserve.core import NUM_IMAGES_MAX

SIZE_PATTERN = r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$"
SEED_MAX = 2**63 - 1 - NUM_IMAGES_MAX


def _encodable(text: str) -> str:
    """Refuse lone surrogates, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode text") from None
    return text


def _size(text: str) -> str:
    if re.fullmatch(SIZE_PATTERN, text) is None:
        raise ValueError("must be WIDTHxHEIGHT in pixels, or auto")
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Size = Annotated[
    str, AfterValidator(_size), WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})
]


class ImageRequest(BaseModel):
    """What to draw: OpenAI's fields first, then ours. Unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: Text = Field(min_length=1, description="What to draw.")
    model: Text | None = Field(
        None, description="A cascade or request class, see `/v1/models`; the default one if absent."
    )
    n: int | None = Field(None, ge=1, le=NUM_IMAGES_MAX, description="Number of images.")
    size: Size | None = Field(None, description="`WIDTHxHEIGHT` in pixels, or `auto`: native size.")
    quality: Literal["auto", "low", "medium", "high", "standard", "hd", "light", "heavy"] | None = (
        Field(
            None,
            description="`low` and `light` answer with the light variant, `high`, `hd` and `heavy` "
            "with the heavy one; otherwise the cascade decides.",
        )
    )
    response_format: Literal["url", "b64_json"] | None = Field(
        None, description="`b64_json` if absent; a `url` is good for some minutes."
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(None, description="Encoding.")
    background: Literal["auto", "opaque"] | None = Field(None, description="Always opaque.")
    moderation: Literal["auto"] | None = Field(None, description="No other level is offered.")
    stream: bool | None = Field(None, description="Send server-sent events.")
    partial_images: int | None = Field(
        None, ge=0, le=3, description="With `stream`: above 0, send the light image as preview."
    )
    user: Text | None = Field(None, max_length=128, description="Your name for your user.")
    negative_prompt: Text | None = Field(None, description="Ours: what to avoid.")
    seed: int | None = Field(
        None, ge=0, le=SEED_MAX, description="Ours: reproduces the image; the next ones add 1."
    )
    num_inference_steps: int | None = Field(
        None, ge=1, le=200, description="Ours: denoising steps of the final variant."
    )
    guidance_scale: float | None = Field(
        None, ge=0, le=50, allow_inf_nan=False, description="Ours: guidance of the final variant."
    )
    deadline_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Ours: seconds that the answer may take."
    )


class Story(BaseModel):
    """Ours: how an image came about."""

    query_id: str
    cascade: str
    variant: str = Field(description="Which variant drew the image.")
    outcome: str = Field(description="`light`, `heavy` or `light_fallback`.")
    reason: str = Field(description="One sentence: why this variant answered.")
    confidence: float | None = Field(description="Of the light image, 0 to 1; null if not scored.")
    percentile: float | None = Field(description="Its rank among recent ones; null if not scored.")
    seed: int = Field(description="Reproduces the image.")
    worker: str
    unknown_words: list[str] = Field(description="Words that the variant does not know.")
    first_image_s: float = Field(
        description="Seconds until an image could be shown: the light one unless skipped."
    )
    stage_s: dict[str, float] = Field(description="Seconds spent in each stage, and in total.")


class ImageDatum(BaseModel):
    """One image."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: None = None
    diffserve: Story


class ImagesResponse(BaseModel):
    """The answer of ``/v1/images/generations``."""

    created: int = Field(description="Seconds since 1970.")
    data: list[ImageDatum]
    background: Literal["opaque"] = "opaque"
    output_format: str
    quality: str = Field(description="`low`: all light; `high`: all heavy; else `medium`.")
    size: str


class Model(BaseModel):
    """A cascade or request class, in OpenAI's words."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "diffserve"


class Models(BaseModel):
    """The answer of ``/v1/models``."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = Field(None, description="Field of the request at fault.")
    code: str | None = None


class ErrorAnswer(BaseModel):
    """Body of every error."""

    error: ErrorBody
