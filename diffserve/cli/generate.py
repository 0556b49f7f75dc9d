"""``diffserve generate``: images, with what happened on the way."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from diffserve.cli.connection import explain_error, loadbalancer_address
from diffserve.cli.output import CliError, duration, emit_json, percent, stderr, stdout, table
from diffserve.cli.writing import cannot_write, check_new
from diffserve.client import (
    Client,
    Deferred,
    Done,
    Event,
    GeneratedImage,
    Queued,
    Retries,
    Started,
    Wish,
)
from diffserve.client import Progress as Step
from diffserve.client.messages import request_of
from diffserve.errors import DiffServeError, InputError

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""File suffix -> format asked of the server."""

STAGES = {
    "light_queue": "light queue",
    "light_execution": "light draws",
    "scoring": "scoring",
    "heavy_queue": "heavy queue",
    "heavy_execution": "heavy draws",
}
"""Stage -> label."""

OPTIONS = {
    "prompt": "PROMPT",
    "negative_prompt": "--negative",
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "deadline_s": "--deadline",
    "preference": "--prefer",
}
"""Field of a wish -> what it is called on the command line; others keep their name."""

BAR_WIDTH = 30
SHOWN_S = 0.0005
"""A stage that took less is left out: it would read 0 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What the user asked for; numbers are checked by the server, which names the field."""

    prompt: str
    output: str
    seed: int | None
    deadline_s: float | None
    preference: str
    cascade_id: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float | None
    negative_prompt: str
    n: int = 1
    priority: str = "normal"
    tenant: str = ""


def run_generate(drawing: Drawing, address: str, *, as_json: bool) -> None:
    """Draw images, save them, and print how they came about.

    Raises:
        CliError: the service refused or failed, or a file cannot be written.
    """
    wish = wish_of(drawing)
    paths = paths_of(drawing.output, drawing.n)
    for path in paths:
        check_new("--output", path)
    address = loadbalancer_address(address)
    progress = Progress(None if as_json else stderr())
    try:
        with Client(address, retries=Retries(num_max=0)) as client, progress.shown():
            images = _images(client.stream(wish), progress, drawing.n)
    except DiffServeError as error:
        raise explain_error(error, address, "load balancer") from None
    for path, image in zip(paths, images, strict=True):
        try:
            image.save(path)
        except OSError as error:
            raise cannot_write("--output", path, error) from None
    if as_json:
        first, *others = map(document_of, images, paths)
        emit_json({**first, "others": others})
        return
    for image, path in zip(images, paths, strict=True):
        print_answer(image, path, stdout())


def wish_of(drawing: Drawing) -> Wish:
    """Return what to ask of the server.

    Raises:
        CliError: the file's suffix is unknown, or a value fits no field; names the option.
    """
    suffix = Path(drawing.output).suffix.lower()
    if suffix not in FORMATS:
        raise CliError(f"{drawing.output}: use one of {', '.join(FORMATS)} as suffix", exit_code=2)
    wish = Wish(
        prompt=drawing.prompt,
        negative_prompt=drawing.negative_prompt,
        seed=drawing.seed,
        width=drawing.width,
        height=drawing.height,
        num_inference_steps=drawing.num_inference_steps,
        guidance_scale=drawing.guidance_scale,
        output_format=FORMATS[suffix],
        cascade=drawing.cascade_id,
        preference=drawing.preference,
        deadline_s=drawing.deadline_s,
        n=drawing.n,
        priority=drawing.priority,
        tenant=drawing.tenant,
    )
    try:
        request_of(wish, "")
    except InputError as error:
        option = OPTIONS.get(error.field, f"--{error.field}")
        raise CliError(f"{option}: {error.problem}", exit_code=2) from None
    return wish


def paths_of(output: str, count: int) -> list[Path]:
    """Return where each image goes: ``owl.png``, or ``owl-0.png``, ``owl-1.png`` and so on."""
    path = Path(output)
    if count <= 1:
        return [path]
    return [path.with_name(f"{path.stem}-{index}{path.suffix}") for index in range(count)]


def _images(events: Iterator[Event], progress: Progress, count: int) -> list[GeneratedImage]:
    """Tell what happens; return the images in order."""
    images: dict[int, GeneratedImage] = {}
    for event in events:
        if isinstance(event, Done):
            images[event.index] = event.image
        else:
            which = f"image {event.index}: " if count > 1 else ""
            progress.tell(which + describe_event(event), is_passing=isinstance(event, Step))
    if len(images) < max(1, count):
        raise CliError("the load balancer ended the call without an answer")
    return [images[index] for index in sorted(images)]


def describe_event(event: Event) -> str:
    """Return what happened as one line."""
    match event:
        case Queued():
            wait_s = event.predicted_wait_s
            is_served = math.isfinite(wait_s)
            wait = f"about {duration(wait_s)}" if is_served else "and no worker draws it now"
            return f"waiting for {event.variant}: {event.position} ahead, {wait}"
        case Started():
            return f"{event.variant} draws on {event.worker} (batch of {event.batch_size})"
        case Step():
            return f"{event.variant} draws: step {event.step} of {event.num_steps}"
        case Deferred():
            seen = "" if event.confidence is None else f" with confidence {event.confidence:.2f}"
            return f"light image arrived{seen}; drawn again: {event.reason}"
    return "working"


def document_of(image: GeneratedImage, path: Path) -> dict[str, Any]:
    """Return an answer as JSON values, by the names of the API."""
    return {
        "file": str(path),
        "query_id": image.query_id,
        "image": {
            "data": len(image.data),
            "media_type": image.media_type,
            "width": image.width,
            "height": image.height,
        },
        "outcome": f"OUTCOME_{image.outcome.name}",
        "variant_id": image.variant,
        "cascade_id": image.cascade,
        "confidence": image.confidence,
        "percentile": image.percentile,
        "seed": image.seed,
        "times": {f"{stage}_s": seconds for stage, seconds in image.stage_s.items()},
        "plan_id": image.plan_id,
        "worker_id": image.worker,
        "reason": image.reason,
        "unknown_words": list(image.unknown_words),
    }


class Progress:
    """Tells events on standard error: a spinner on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._status = console.status("connecting") if console and console.is_terminal else None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the spinner while the call runs."""
        with self._status or contextlib.nullcontext():
            yield

    def tell(self, line: str, *, is_passing: bool = False) -> None:
        """Add one line, and keep it beside the spinner; a passing one is shown only there."""
        if self._console is not None and not is_passing:
            self._console.print(line, style="dim")
        if self._status is not None:
            self._status.update(escape(line))


def print_answer(image: GeneratedImage, path: Path, console: Console) -> None:
    """Print what was drawn, by whom, why, and where the time went."""
    rows = table("", "")
    rows.show_header = False
    rows.add_row("file", f"{path} ({image.width}x{image.height}, {len(image.data)} bytes)")
    rows.add_row("query", image.query_id)
    rows.add_row("variant", f"{image.variant} on {image.worker}, plan {image.plan_id}")
    rows.add_row("outcome", image.outcome.value)
    if image.confidence is not None:
        known = image.percentile is not None
        rank = f", rank {percent(image.percentile or 0.0)} of recent" * known
        rows.add_row("confidence", f"{image.confidence:.3f}{rank}")
    rows.add_row("reason", image.reason)
    rows.add_row("seed", str(image.seed))
    for label, seconds, bar in time_rows(image.stage_s):
        rows.add_row(label, f"{duration(seconds):>8} {bar}")
    console.print(rows)
    if image.unknown_words:
        words = ", ".join(image.unknown_words)
        console.print(f"hint: {image.variant} does not know: {words}")


def time_rows(stage_s: Mapping[str, float]) -> list[tuple[str, float, str]]:
    """Return label, seconds and bar of each stage that took time, and of the whole."""
    total_s = stage_s.get("total", 0.0)
    longest_s = max(total_s, 1e-9)
    rows = [
        (label, stage_s[stage], "█" * round(BAR_WIDTH * min(1.0, stage_s[stage] / longest_s)))
        for stage, label in STAGES.items()
        if stage_s.get(stage, 0.0) >= SHOWN_S
    ]
    return [*rows, ("total", total_s, "")]
