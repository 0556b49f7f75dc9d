"""Real diffusers pipelines with tiny random weights."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import io
import math
import shutil
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffserve.catalog import Catalog
from diffserve.core import Variant
from diffserve.errors import ConfigError
from diffserve.rpc.v1 import worker_pb2
from tests.services.worker.harness import (
    Answer,
    RunningWorker,
    collect,
    request,
    running_worker,
    with_variants,
)

torch = pytest.importorskip("torch")
pipelines = pytest.importorskip("tests.services.worker.pipelines")
parts = pytest.importorskip("services.worker.backends.parts")

# diffusers 0.42 makes an array of a tensor without the argument that numpy 2 wants.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

VARIANT = Variant(
    variant_id="v-sd",
    base="sd",
    pipeline="StableDiffusionPipeline",
    source="",
    num_inference_steps=pipelines.NUM_STEPS,
    guidance_scale=2.0,
    width=16,
    height=16,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("pipelines")
    pipelines.save_stable_diffusion(directory / "sd")
    pipelines.save_stable_diffusion(directory / "sd-2", seed=2)
    pipelines.save_stable_diffusion_xl(directory / "xl")
    return {path.name: path for path in directory.iterdir()}


@pytest.fixture
def catalog(saved: dict[str, Path]) -> Catalog:
    return catalog_of(
        variant(saved["sd"]),
        variant(saved["sd-2"], variant_id="v-sd-2", pipeline="AutoPipelineForText2Image"),
        variant(saved["xl"], variant_id="v-xl", pipeline="StableDiffusionXLPipeline"),
    )


def variant(source: Path | str, **changes: Any) -> Variant:
    base = changes.get("variant_id", VARIANT.variant_id)
    return dataclasses.replace(VARIANT, **{"base": base, "source": str(source), **changes})


def catalog_of(*variants: Variant) -> Catalog:
    return with_variants(variants, {v.variant_id: 0.1 for v in variants})


def pixels(answer: Answer, query_id: str) -> NDArray[np.int16]:
    with Image.open(io.BytesIO(answer.results[query_id].image.data)) as image:
        return np.asarray(image).astype(np.int16)


async def run(worker: RunningWorker, asked: worker_pb2.ExecuteRequest) -> Answer:
    return await collect(worker.stub.Execute(asked))


async def refused_assignment(worker: RunningWorker, variant_id: str) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await worker.stub.Assign(worker_pb2.AssignRequest(variant_id=variant_id, plan_id=1))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    return refused.value.details() or ""


@pytest.mark.parametrize("variant_id", ["v-sd", "v-sd-2", "v-xl"])
async def test_an_image_is_the_same_alone_and_in_a_batch(catalog: Catalog, variant_id: str) -> None:
    async with running_worker(catalog, preload=variant_id) as worker:
        alone = await run(worker, request(variant_id, "a red cat", seed=5))
        among = await run(worker, request(variant_id, "b", "a red cat", "c", seed=5))
        other = await run(worker, request(variant_id, "a red cat", seed=6))
    assert pixels(alone, "a red cat").shape == (16, 16, 3)
    # One 8-bit step: the same kernels round differently for other batch sizes.
    assert np.abs(pixels(alone, "a red cat") - pixels(among, "a red cat")).max() <= 1
    assert np.abs(pixels(alone, "a red cat") - pixels(other, "a red cat")).max() > 1


async def test_a_batch_mates_negative_prompt_changes_nobody_else(catalog: Catalog) -> None:
    async with running_worker(catalog, preload="v-xl") as worker:
        alone = await run(worker, request("v-xl", "cat"))
        mixed = request("v-xl", "cat", "dog")
        mixed.queries[1].parameters.negative_prompt = "hat"
        among = await run(worker, mixed)
        plain = await run(worker, request("v-xl", "dog"))
    assert np.abs(pixels(alone, "cat") - pixels(among, "cat")).max() <= 1
    assert np.abs(pixels(plain, "dog") - pixels(among, "dog")).max() > 1


async def test_overrides_reach_the_pipeline_and_leave_the_profile_alone(catalog: Catalog) -> None:
    async with running_worker(catalog, preload="v-sd") as worker:
        before = worker.application.executor.latencies.num_observed
        answer = await run(
            worker,
            request("v-sd", "cat", width=32, height=16, num_inference_steps=2, guidance_scale=0.0),
        )
        assert worker.application.executor.latencies.num_observed == before
        await run(worker, request("v-sd", "cat"))
        assert worker.application.executor.latencies.num_observed == before + 1
    assert pixels(answer, "cat").shape == (16, 32, 3)


async def test_variants_of_one_base_share_weights_but_not_schedulers(
    saved: dict[str, Path],
) -> None:
    first = variant(saved["sd"], base="sd")
    second = dataclasses.replace(
        first, variant_id="v-euler", scheduler="EulerDiscreteScheduler", num_inference_steps=2
    )
    async with running_worker(catalog_of(first, second)) as worker:
        residency = worker.application.executor.residency
        pipeline: Any = residency.use(first)
        sibling: Any = residency.use(second)
        assert pipeline.pipeline is sibling.pipeline
        used = []
        for variant_id in ("v-sd", "v-euler", "v-sd"):
            used.append(await run(worker, request(variant_id, "cat")))
            used_class = type(pipeline.pipeline.scheduler).__name__
            assert used_class == (
                "EulerDiscreteScheduler" if variant_id == "v-euler" else "DDIMScheduler"
            )
    assert np.array_equal(pixels(used[0], "cat"), pixels(used[2], "cat"))
    assert not np.array_equal(pixels(used[0], "cat"), pixels(used[1], "cat"))


async def test_cancelling_stops_at_the_next_denoising_step(catalog: Catalog) -> None:
    async with running_worker(catalog, preload="v-sd") as worker:
        replica: Any = worker.application.executor.residency.use(catalog.variants["v-sd"])
        steps = count_steps(replica, pause_s=0.02)
        call = worker.stub.Execute(request("v-sd", "cat", num_inference_steps=100))
        await until_reaches(steps, 3)
        assert await worker.is_serving()
        call.cancel()
        left_s = time.monotonic()
        await worker.application.executor.drain()
        worker.application.executor.resume()
        assert time.monotonic() - left_s < 0.5
        assert len(steps) < 50
        after = await run(worker, request("v-sd", "cat"))
    assert after.results["cat"].image.data


async def test_a_failing_pipeline_fails_its_batch_only(catalog: Catalog) -> None:
    async with running_worker(catalog, preload="v-sd") as worker:
        replica: Any = worker.application.executor.residency.use(catalog.variants["v-sd"])
        real = replica.pipeline.unet.forward

        def out_of_memory(*args: Any, **kwargs: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        replica.pipeline.unet.forward = out_of_memory
        failed = await run(worker, request("v-sd", "a", "b"))
        replica.pipeline.unet.forward = lambda *a, **k: 1 / 0
        broken = await run(worker, request("v-sd", "a"))
        replica.pipeline.unet.forward = real
        after = await run(worker, request("v-sd", "a", "b"))
    assert failed.kinds == ["started", "released", "result", "result"]
    for result in failed.results.values():
        assert result.error == "out of memory at batch size 2; a smaller batch may fit"
    assert broken.results["a"].error.startswith("ZeroDivisionError")
    assert all(result.image.data for result in after.results.values())


async def test_an_image_of_nan_is_an_error(catalog: Catalog) -> None:
    async with running_worker(catalog, preload="v-sd") as worker:
        replica: Any = worker.application.executor.residency.use(catalog.variants["v-sd"])
        real = replica.pipeline.__class__.__call__

        class Overflowing(replica.pipeline.__class__):  # type: ignore[name-defined, misc]
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                made = real(self, *args, **kwargs)
                made.images[0][0, 0, 0] = math.nan
                return made

        replica.pipeline.__class__ = Overflowing
        answer = await run(worker, request("v-sd", "a", "b"))
    assert "NaN" in answer.results["a"].error
    assert answer.results["b"].image.data


async def test_an_image_of_another_size_is_no_answer(catalog: Catalog) -> None:
    async with running_worker(catalog, preload="v-sd") as worker:
        replica: Any = worker.application.executor.residency.use(catalog.variants["v-sd"])

        class Rounding(replica.pipeline.__class__):  # type: ignore[misc]
            def __call__(self, *args: Any, height: int, **kwargs: Any) -> Any:
                return super().__call__(*args, height=height // 16 * 16, **kwargs)

        Rounding.__call__.__signature__ = inspect.signature(type(replica.pipeline).__call__)
        replica.pipeline.__class__ = Rounding
        assert (await run(worker, request("v-sd", "a"))).results["a"].image.data
        answer = await run(worker, request("v-sd", "a", height=24))
    expected = "16x16 pixels were drawn where 16x24 were asked for: the variant's size_multiple is"
    assert expected in answer.results["a"].error


async def test_swapping_twenty_times_keeps_memory_flat(
    catalog: Catalog, saved: dict[str, Path]
) -> None:
    one = sum(file.stat().st_size for file in saved["sd"].rglob("*.safetensors"))
    async with running_worker(catalog, preload="v-sd", memory_bytes_max=one * 3 // 2) as worker:
        used: list[int] = []
        for plan_id in range(1, 21):
            variant_id = ("v-sd-2", "v-sd")[plan_id % 2]
            response = await worker.stub.Assign(
                worker_pb2.AssignRequest(variant_id=variant_id, plan_id=plan_id)
            )
            assert list(response.resident) == [variant_id]
            answer = await run(worker, request(variant_id, "cat"))
            assert answer.results["cat"].image.data
            described = await worker.stub.Describe(worker_pb2.DescribeRequest())
            used.append(described.memory_used_bytes)
    assert max(used[10:]) <= 1.02 * max(used[:10])


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no hub be reached, wherever the tests run."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


async def test_what_cannot_be_loaded_names_the_field(
    saved: dict[str, Path], tmp_path: Path, offline: None
) -> None:
    (tmp_path / "empty").mkdir()
    single = tmp_path / "broken.safetensors"
    single.write_bytes(b"nonsense")
    pickled = tmp_path / "model.ckpt"
    pickled.write_bytes(b"nonsense")
    for name in ("cut", "partless"):
        shutil.copytree(saved["sd"], tmp_path / name)
    cut = tmp_path / "cut" / "text_encoder" / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    shutil.rmtree(tmp_path / "partless" / "tokenizer")
    catalog = catalog_of(
        variant(saved["sd"]),
        variant(tmp_path / "absent", variant_id="v-absent"),
        variant(tmp_path / "empty", variant_id="v-empty"),
        variant(single, variant_id="v-single"),
        variant(saved["sd"], variant_id="v-class", pipeline="no.such.module:Pipeline"),
        variant(saved["sd"], variant_id="v-name", pipeline="NoSuchPipeline"),
        variant(saved["sd"], variant_id="v-scheduler", scheduler="NoSuchScheduler"),
        variant(saved["sd"], variant_id="v-size", width=24, height=20),
        variant(
            saved["sd"],
            variant_id="v-flow",
            scheduler="FlowMatchEulerDiscreteScheduler",
            scheduler_options=(("shift", 3.0),),
        ),
        variant("", variant_id="v-blank"),
        variant("no/such", variant_id="v-hub"),
        variant(pickled, variant_id="v-pickled"),
        variant(tmp_path / "cut", variant_id="v-cut", memory_bytes=1),
        variant(tmp_path / "partless", variant_id="v-partless", memory_bytes=1),
        variant(saved["sd"], variant_id="v-xl", pipeline="StableDiffusionXLPipeline"),
        variant(saved["xl"], variant_id="v-v1", pipeline="StableDiffusionPipeline"),
        variant(saved["sd"], variant_id="v-image", pipeline="StableDiffusionImg2ImgPipeline"),
        variant(saved["sd"], variant_id="v-model", pipeline="UNet2DConditionModel"),
        variant(saved["sd"], variant_id="v-function", pipeline="os.path:join"),
    )
    async with running_worker(catalog, preload="v-sd") as worker:
        for variant_id, expected in {
            "v-absent": "source: nothing at",
            "v-empty": "model_index.json",
            "v-single": "source: ",
            "v-class": "pipeline: 'no.such.module:Pipeline'",
            "v-name": "pipeline: 'NoSuchPipeline'",
            "v-scheduler": "scheduler: diffusers has no 'NoSuchScheduler'",
            "v-size": "warm-up: ",
            "v-flow": "StableDiffusionPipeline, 16x16, 4 steps, guidance 2, float32, "
            "FlowMatchEulerDiscreteScheduler, shift = 3.0",
            "v-blank": "source: nothing at ''",
            "v-hub": "source: no/such is not here, and not to be had from the hub: ",
            "v-pickled": f"source: {pickled} is no .safetensors file",
            "v-cut": f"source: {cut} is cut short or otherwise damaged",
            "v-partless": f"source: {tmp_path / 'partless'} holds no tokenizer",
            "v-xl": "pipeline: StableDiffusionXLPipeline needs text_encoder_2, tokenizer_2, which",
            "v-v1": "pipeline: StableDiffusionPipeline has no use for text_encoder_2, tokenizer_2",
            "v-image": "pipeline: StableDiffusionImg2ImgPipeline does not draw from prompts alone",
            "v-model": "pipeline: UNet2DConditionModel does not draw from prompts alone",
            "v-function": "pipeline: os.path:join is no pipeline",
        }.items():
            text = await refused_assignment(worker, variant_id)
            assert text.startswith(f"variant.{variant_id}"), text
            assert expected in text
            assert worker.application.executor.residency.resident == ("v-sd",)
        assert (await run(worker, request("v-sd", "cat"))).results["cat"].image.data


async def test_weights_other_than_safetensors_are_refused(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(saved["sd"], pickled)
    weights = pickled / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ConfigError, match="v-sd"):
        async with running_worker(catalog_of(variant(pickled))):
            pass


async def test_a_device_that_is_not_there_ends_start_up(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="device"):
        async with running_worker(catalog, preload="v-sd", device="cuda:99"):
            pass


def count_steps(replica: Any, pause_s: float) -> list[float]:
    """Slow each denoising step down and remember when it was."""
    steps: list[float] = []
    network = getattr(replica.pipeline, parts.denoiser_name(replica.pipeline))
    real = network.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        steps.append(time.monotonic())
        time.sleep(pause_s)
        return real(*args, **kwargs)

    network.forward = forward
    return steps


async def until_reaches(steps: list[float], count: int) -> None:
    while len(steps) < count:
        await asyncio.sleep(0.01)
