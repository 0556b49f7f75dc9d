"""``diffserve generate``: one image, with what happened on the way."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from rich.console import Console
from rich.markup import escape

from diffserve.cli.connection import connected, loadbalancer_address
from diffserve.cli.output import (
    CliError,
    duration,
    emit_json,
    percent,
    stderr,
    stdout,
    table,
    to_document,
)
from diffserve.core import Preference
from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""File suffix -> format asked of the server."""

CALL_TIMEOUT_S = 600.0
"""RPC deadline where the user gave none; the cascade's SLO is shorter."""

CALL_MARGIN_S = 5.0
"""The RPC outlives the query's deadline by this, to hear what became of it."""

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


def run_generate(drawing: Drawing, address: str, *, as_json: bool) -> None:
    """Draw one image, save it, and print how it came about.

    Raises:
        CliError: the service refused or failed, or the file cannot be written.
    """
    request = build_request(drawing)
    address = loadbalancer_address(address)
    progress = Progress(None if as_json else stderr())
    with connected(address, "load balancer") as channel, progress.shown():
        answer = _call(channel, request, progress)
    path = Path(drawing.output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer.image.data)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from None
    if as_json:
        emit_json({"file": str(path), **to_document(answer)})
    else:
        print_answer(answer, path, stdout())


def build_request(drawing: Drawing) -> generation_pb2.GenerateRequest:
    """Return the request of a drawing.

    Raises:
        CliError: the file's suffix or the preference is unknown, or a number fits no field.
    """
    suffix = Path(drawing.output).suffix.lower()
    if suffix not in FORMATS:
        raise CliError(f"{drawing.output}: use one of {', '.join(FORMATS)} as suffix", exit_code=2)
    if drawing.preference not in list(Preference):
        raise CliError(f"--prefer: one of {', '.join(Preference)}", exit_code=2)
    try:
        return generation_pb2.GenerateRequest(
            parameters=common_pb2.GenerationParameters(
                prompt=drawing.prompt,
                negative_prompt=drawing.negative_prompt,
                seed=drawing.seed,
                width=drawing.width,
                height=drawing.height,
                num_inference_steps=drawing.num_inference_steps,
                guidance_scale=drawing.guidance_scale,
                output_format=FORMATS[suffix],
            ),
            cascade_id=drawing.cascade_id,
            preference=common_pb2.Preference.Value(f"PREFERENCE_{drawing.preference.upper()}"),
            deadline_s=drawing.deadline_s,
        )
    except (ValueError, UnicodeEncodeError) as error:
        raise CliError(f"cannot be sent: {error}", exit_code=2) from None


def _call(
    channel: grpc.Channel, request: generation_pb2.GenerateRequest, progress: Progress
) -> generation_pb2.GenerateResponse:
    timeout_s = CALL_TIMEOUT_S
    if request.HasField("deadline_s") and math.isfinite(request.deadline_s):
        timeout_s = max(0.0, request.deadline_s) + CALL_MARGIN_S
    stub = generation_pb2_grpc.ImageGenerationStub(channel)
    for event in stub.GenerateStream(request, timeout=timeout_s):
        if event.WhichOneof("event") == "done":
            return event.done
        progress.tell(describe_event(event))
    raise CliError("the load balancer ended the call without an answer")


def describe_event(event: generation_pb2.GenerateEvent) -> str:
    """Return what happened as one line."""
    match event.WhichOneof("event"):
        case "queued":
            queued = event.queued
            return (
                f"waiting for {queued.variant_id}: {queued.position} ahead, "
                f"about {duration(queued.predicted_wait_s)}"
            )
        case "started":
            started = event.started
            return (
                f"{started.variant_id} draws on {started.worker_id} (batch of {started.batch_size})"
            )
        case "preview":
            preview = event.preview
            seen = f" with confidence {preview.confidence:.2f}" * preview.HasField("confidence")
            return f"light image arrived{seen}; drawn again: {preview.reason}"
    return "working"


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

    def tell(self, line: str) -> None:
        """Add one line, and keep it beside the spinner until the next one."""
        if self._console is not None:
            self._console.print(line, style="dim")
        if self._status is not None:
            self._status.update(escape(line))


def print_answer(answer: generation_pb2.GenerateResponse, path: Path, console: Console) -> None:
    """Print what was drawn, by whom, why, and where the time went."""
    image = answer.image
    rows = table("", "")
    rows.show_header = False
    rows.add_row("file", f"{path} ({image.width}x{image.height}, {len(image.data)} bytes)")
    rows.add_row("variant", f"{answer.variant_id} on {answer.worker_id}, plan {answer.plan_id}")
    rows.add_row("outcome", common_pb2.Outcome.Name(answer.outcome)[8:].lower())
    if answer.HasField("confidence"):
        rank = f", rank {percent(answer.percentile)} of recent" * answer.HasField("percentile")
        rows.add_row("confidence", f"{answer.confidence:.3f}{rank}")
    rows.add_row("reason", answer.reason)
    rows.add_row("seed", str(answer.seed))
    for label, seconds, bar in time_rows(answer.times):
        rows.add_row(label, f"{duration(seconds):>8} {bar}")
    console.print(rows)
    if answer.unknown_words:
        words = ", ".join(answer.unknown_words)
        console.print(f"hint: {answer.variant_id} does not know: {words}")


def time_rows(times: common_pb2.StageTimes) -> list[tuple[str, float, str]]:
    """Return label, seconds and bar of each stage that took time, and of the whole."""
    stages = [
        ("light queue", times.light_queue_s),
        ("light draws", times.light_execution_s),
        ("scoring", times.scoring_s),
        ("heavy queue", times.heavy_queue_s),
        ("heavy draws", times.heavy_execution_s),
    ]
    longest_s = max(times.total_s, 1e-9)
    rows = [
        (label, seconds, "█" * round(BAR_WIDTH * min(1.0, seconds / longest_s)))
        for label, seconds in stages
        if seconds >= SHOWN_S
    ]
    return [*rows, ("total", times.total_s, "")]
