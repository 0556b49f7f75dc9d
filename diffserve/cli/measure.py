"""``diffserve cascade measure``: what a cascade of embedded models gives and costs, served live.

Every prompt is drawn twice by a running deployment, once as the cascade answers it and once by the
heavy variant alone, with the same seed. One query at a time, so that a batch is one image and its
execution the device time of that image.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from diffserve.catalog import load_catalog
from diffserve.cli.output import emit_json, percent, stdout, table
from diffserve.cli.simulate import progress
from diffserve.embedded.captions import Prompt, sample_prompt
from diffserve.embedded.checker import SHIPPED_CHECKER, load_or_train_checker
from diffserve.embedded.scenes import Array, Level
from diffserve.replay.deployment import DeploymentParameters, deployed
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc, common_pb2, generation_pb2
from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationStub

CALL_TIMEOUT_S = 120.0
SETTLE_S = 5.0
"""For the plan with the pinned share to reach the load balancer; two planning periods."""
WARM_UP_QUERIES = 3

Preference: TypeAlias = common_pb2.Preference.ValueType


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line.

    Attributes:
        catalog: Name or file.
        share: Share of light images to defer; None: as the planner chooses.
        num_prompts: Of all levels of difficulty together.
        num_workers: Of the deployment.
        seed: Of the prompts and the noise.
    """

    catalog: str
    share: float | None
    num_prompts: int
    num_workers: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One image as a client got it.

    Attributes:
        image: Pixels, (64, 64, 3).
        device_s: Execution and scoring, seconds.
        is_deferred: The heavy variant drew it.
    """

    image: Array
    device_s: float
    is_deferred: bool


def measure_cascade(request: Request, *, as_json: bool) -> None:
    """Serve the prompts, judge the images and print what came out."""
    prompts = held_out_prompts(request.num_prompts, request.seed)
    with tempfile.TemporaryDirectory() as directory, progress("prompts") as on_progress:
        pairs = asyncio.run(
            _serve(
                *(request, prompts, Path(directory)),
                lambda done: on_progress(done, len(prompts)),
            )
        )
    checker = load_or_train_checker(SHIPPED_CHECKER)
    cascade, heavy = ([pair[index] for pair in pairs] for index in (0, 1))
    right = [checker.are_right([o.image for o in side], prompts) for side in (cascade, heavy)]
    document = {
        "catalog": Path(request.catalog).stem,
        "prompts": len(prompts),
        "share_pinned": request.share,
        "seed": request.seed,
        **summary(cascade, heavy, right[0], right[1]),
    }
    if as_json:
        emit_json(document)
    else:
        _show(document)


def held_out_prompts(count: int, seed: int) -> list[Prompt]:
    """Return prompts of all levels in turn, with combinations that training never saw."""
    levels, rng = list(Level), np.random.default_rng(seed)
    return [
        sample_prompt(rng, levels[index % len(levels)], held_out=True) for index in range(count)
    ]


def summary(
    cascade: Sequence[Outcome],
    heavy: Sequence[Outcome],
    cascade_right: Sequence[bool],
    heavy_right: Sequence[bool],
) -> dict[str, float]:
    """Return accuracies and device times, and their ratios. Pure.

    Args:
        cascade: Answers of the cascade, one at least.
        heavy: Of the heavy variant to the same prompts.
        cascade_right: Whether each shows what its prompt asks for.
        heavy_right: The same of the heavy ones.
    """
    accuracy, heavy_accuracy = float(np.mean(cascade_right)), float(np.mean(heavy_right))
    device_s = float(np.mean([outcome.device_s for outcome in cascade]))
    heavy_s = float(np.mean([outcome.device_s for outcome in heavy]))
    return {
        "accuracy": accuracy,
        "accuracy_heavy": heavy_accuracy,
        "accuracy_vs_heavy": accuracy / heavy_accuracy if heavy_accuracy else float("nan"),
        "device_s": device_s,
        "device_s_heavy": heavy_s,
        "device_time_vs_heavy": device_s / heavy_s,
        "heavy_share": float(np.mean([outcome.is_deferred for outcome in cascade])),
    }


async def _serve(
    request: Request,
    prompts: Sequence[Prompt],
    directory: Path,
    on_progress: Callable[[int], None],
) -> list[tuple[Outcome, Outcome]]:
    parameters = DeploymentParameters(
        catalog=request.catalog,
        num_workers=request.num_workers,
        # Shadow runs would take devices and belong to no answer.
        environment={"DIFFSERVE_LOADBALANCER_SHADOW_SHARE": "0"},
        directory=directory,
    )
    catalog = load_catalog(request.catalog)
    async with deployed(parameters, lambda line: None) as fleet:
        if request.share is not None:
            await _pin(fleet.controller, catalog.default_cascade, request.share)
            await asyncio.sleep(SETTLE_S)
        async with open_channel(fleet.loadbalancer) as channel:
            stub = ImageGenerationStub(channel)
            for index in range(WARM_UP_QUERIES):
                await _drawn(stub, "an owl", index, common_pb2.PREFERENCE_AUTO)
                await _drawn(stub, "an owl", index, common_pb2.PREFERENCE_HEAVY)
            pairs = []
            for index, prompt in enumerate(prompts):
                seed = 1000 * request.seed + index
                auto = await _drawn(stub, prompt.text, seed, common_pb2.PREFERENCE_AUTO)
                heavy = await _drawn(stub, prompt.text, seed, common_pb2.PREFERENCE_HEAVY)
                pairs.append((auto, heavy))
                on_progress(index + 1)
    return pairs


async def _pin(controller: str, cascade_id: str, share: float) -> None:
    async with open_channel(controller) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        order = admin_pb2.PinThresholdRequest(cascade_id=cascade_id, share=share)
        await stub.PinThreshold(order, timeout=CALL_TIMEOUT_S)


async def _drawn(stub: Any, text: str, seed: int, preference: Preference) -> Outcome:
    request = generation_pb2.GenerateRequest(
        parameters=common_pb2.GenerationParameters(prompt=text, seed=seed), preference=preference
    )
    answer = await stub.Generate(request, timeout=CALL_TIMEOUT_S)
    times = answer.times
    with Image.open(io.BytesIO(answer.image.data)) as image:
        pixels = np.asarray(image.convert("RGB"))
    return Outcome(
        image=pixels,
        device_s=times.light_execution_s + times.scoring_s + times.heavy_execution_s,
        is_deferred=answer.outcome == common_pb2.OUTCOME_HEAVY,
    )


def _show(document: dict[str, Any]) -> None:
    console = stdout()
    pinned = document["share_pinned"]
    chosen = "the planner's" if pinned is None else f"pinned at {percent(pinned)}"
    console.print(
        f"{document['prompts']} held-out prompts through the services, share deferred: {chosen}"
    )
    rows = table("served by", ">accuracy", ">device time", ">drawn heavy")
    rows.add_row(
        "cascade",
        percent(document["accuracy"]),
        f"{1e3 * document['device_s']:.0f} ms",
        percent(document["heavy_share"]),
    )
    heavy_s = document["device_s_heavy"]
    rows.add_row("heavy alone", percent(document["accuracy_heavy"]), f"{1e3 * heavy_s:.0f} ms", "")
    console.print(rows)
    console.print(
        f"{percent(document['accuracy_vs_heavy'])} of heavy's accuracy at "
        f"{percent(document['device_time_vs_heavy'])} of its device time"
    )
