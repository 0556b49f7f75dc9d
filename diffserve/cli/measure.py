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
from typing import Any, Self

import numpy as np
from PIL import Image

from diffserve.catalog import load_catalog
from diffserve.cli.connection import CALL_TIMEOUT_S
from diffserve.cli.output import emit_json, percent, stdout, table
from diffserve.cli.progress import progress_bar
from diffserve.client import AsyncClient
from diffserve.client.values import GeneratedImage
from diffserve.core import Outcome, Preference
from diffserve.embedded.captions import Prompt
from diffserve.embedded.checker import SHIPPED_CHECKER, load_or_train_checker
from diffserve.embedded.evaluate import evaluation_prompts
from diffserve.embedded.scenes import Array, Level
from diffserve.replay.deployment import DeploymentParameters, deployed
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc

SETTLE_S = 5.0
"""For the plan with the pinned share to reach the load balancer; two planning periods."""
WARM_UP_QUERIES = 3
DEVICE_STAGES = ("light_execution", "scoring", "heavy_execution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line.

    Attributes:
        catalog: Name or file.
        share: Share of light images to defer; None: as the planner chooses.
        count: Prompts of each level of difficulty.
        num_workers: Of the deployment.
        seed: Of the prompts and the noise.
    """

    catalog: str
    share: float | None
    count: int
    num_workers: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One image as a client got it.

    Attributes:
        image: Pixels, (64, 64, 3).
        device_s: Execution and scoring, seconds.
        is_deferred: The heavy variant drew it.
    """

    image: Array
    device_s: float
    is_deferred: bool

    @classmethod
    def of(cls, answer: GeneratedImage) -> Self:
        """Return what counts of an answer."""
        with Image.open(io.BytesIO(answer.data)) as image:
            pixels = np.asarray(image.convert("RGB"))
        return cls(
            image=pixels,
            device_s=sum(answer.stage_s[stage] for stage in DEVICE_STAGES),
            is_deferred=answer.outcome is Outcome.HEAVY,
        )


def measure_cascade(request: Request, *, as_json: bool) -> None:
    """Serve the prompts, judge the images and print what came out."""
    prompts = prompts_of(request)
    with tempfile.TemporaryDirectory() as directory, progress_bar("prompts served") as on_progress:
        pairs = asyncio.run(_serve(request, prompts, Path(directory), on_progress))
    checker = load_or_train_checker(SHIPPED_CHECKER)
    cascade, heavy = ([pair[index] for pair in pairs] for index in (0, 1))
    right = [checker.are_right([one.image for one in side], prompts) for side in (cascade, heavy)]
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


def prompts_of(request: Request) -> list[Prompt]:
    """Return prompts of all levels, chosen as in ``diffserve evaluate``.

    Levels take turns: ranks are among recent images, which must be of all levels too.
    """
    levels = [evaluation_prompts(level, request.count, request.seed) for level in Level]
    return [prompt for in_turn in zip(*levels, strict=True) for prompt in in_turn]


def summary(
    cascade: Sequence[Drawn],
    heavy: Sequence[Drawn],
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
    device_s = float(np.mean([one.device_s for one in cascade]))
    heavy_s = float(np.mean([one.device_s for one in heavy]))
    return {
        "accuracy": accuracy,
        "accuracy_heavy": heavy_accuracy,
        "accuracy_vs_heavy": accuracy / heavy_accuracy if heavy_accuracy else float("nan"),
        "device_s": device_s,
        "device_s_heavy": heavy_s,
        "device_time_vs_heavy": device_s / heavy_s,
        "heavy_share": float(np.mean([one.is_deferred for one in cascade])),
    }


async def _serve(
    request: Request,
    prompts: Sequence[Prompt],
    directory: Path,
    on_progress: Callable[[int, int], None],
) -> list[tuple[Drawn, Drawn]]:
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
        async with AsyncClient(fleet.loadbalancer) as client:
            for index in range(WARM_UP_QUERIES):
                await _drawn_twice(client, "an owl", index)
            pairs = []
            for index, prompt in enumerate(prompts):
                pairs.append(await _drawn_twice(client, prompt.text, 1000 * request.seed + index))
                on_progress(len(pairs), len(prompts))
    return pairs


async def _drawn_twice(client: AsyncClient, text: str, seed: int) -> tuple[Drawn, Drawn]:
    """Return what the cascade and what the heavy variant alone answers, one after the other."""
    auto = await client.generate(text, seed=seed, preference=Preference.AUTO)
    heavy = await client.generate(text, seed=seed, preference=Preference.HEAVY)
    return Drawn.of(auto), Drawn.of(heavy)


async def _pin(controller: str, cascade_id: str, share: float) -> None:
    async with open_channel(controller) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        order = admin_pb2.PinThresholdRequest(cascade_id=cascade_id, share=share)
        await stub.PinThreshold(order, timeout=CALL_TIMEOUT_S)


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
