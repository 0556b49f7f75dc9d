"""Variants that reuse attention from step to step share their weights with those that do not."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffserve.core import Variant
from diffserve.errors import ConfigError
from diffserve.registry import load_registry
from tests.services.worker.harness import request, running_worker
from tests.services.worker.test_diffusers import (
    catalog_of,
    count_steps,
    pixels,
    run,
    until_reaches,
    variant,
)

torch = pytest.importorskip("torch")
pipelines = pytest.importorskip("tests.services.worker.pipelines")
step_cache = pytest.importorskip("services.worker.backends.step_cache")

pytestmark = [
    # diffusers 0.42 makes an array of a tensor without the argument that numpy 2 wants.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
NUM_STEPS = 10
FAMILIES = {
    "sd-v1-5": (pipelines.save_stable_diffusion, "StableDiffusionPipeline"),
    "sdxl": (pipelines.save_stable_diffusion_xl, "StableDiffusionXLPipeline"),
    "sd3": (pipelines.save_stable_diffusion_3, "StableDiffusion3Pipeline"),
    "flux": (pipelines.save_flux, "FluxPipeline"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("step-cache")
    for name, (save, _) in FAMILIES.items():
        save(folder / name)
    return folder


def plain_and_cached(folder: Path, name: str, interval: int = 2) -> tuple[Variant, Variant]:
    plain = variant(
        folder / name,
        variant_id="v-plain",
        base=name,
        pipeline=FAMILIES[name][1],
        num_inference_steps=NUM_STEPS,
    )
    return plain, dataclasses.replace(plain, variant_id="v-cached", step_cache=interval)


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts how often attention is computed, by anybody."""
    count = [0]
    real = torch.nn.functional.scaled_dot_product_attention

    def counted(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    yield count


@pytest.mark.parametrize("name", FAMILIES)
async def test_attention_is_reused_by_the_variant_that_asks_for_it(
    folder: Path, name: str, attended: list[int]
) -> None:
    plain, cached = plain_and_cached(folder, name)
    async with running_worker(catalog_of(plain, cached), preload="v-plain,v-cached") as worker:
        residency = worker.application.executor.residency
        assert residency.use(plain).pipeline is residency.use(cached).pipeline  # type: ignore[attr-defined]
        counts, images = [], []
        for asked, num_steps in (
            ("v-plain", 10),
            ("v-cached", 10),
            ("v-plain", 11),
            ("v-plain", 10),
        ):
            attended[0] = 0
            wanted = request(asked, "a cat", seed=5, num_inference_steps=num_steps)
            images.append(pixels(await run(worker, wanted), "a cat"))
            counts.append(attended[0])
        among = await run(worker, request("v-cached", "b", "a cat", seed=5))
    a_step = counts[2] - counts[0]
    assert a_step > 0
    # Every second step is spared from 800 down to 100 of 1,000: at 700, 500 and 300.
    assert counts[0] - counts[1] == 3 * a_step
    assert np.array_equal(images[0], images[3]), "the other variant's hooks are still there"
    # As alone: what is reused does not depend on the company.
    assert np.abs(pixels(among, "a cat") - images[1]).max() <= 1


async def test_a_stopped_run_leaves_no_hooks_behind(folder: Path) -> None:
    plain, cached = plain_and_cached(folder, "sd-v1-5")
    async with running_worker(catalog_of(plain, cached), preload="v-plain,v-cached") as worker:
        executor = worker.application.executor
        before = await run(worker, request("v-plain", "cat", seed=5))
        replica: Any = executor.residency.use(cached)
        steps = count_steps(replica, pause_s=0.02)
        call = worker.stub.Execute(request("v-cached", "cat", num_inference_steps=100))
        await until_reaches(steps, 3)
        call.cancel()
        await executor.drain()
        executor.resume()
        after = await run(worker, request("v-plain", "cat", seed=5))
    assert np.array_equal(pixels(before, "cat"), pixels(after, "cat"))


async def test_where_networks_are_compiled_it_runs_them_as_they_were_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, attended: list[int]
) -> None:
    acceleration = pytest.importorskip("services.worker.backends.acceleration")
    monkeypatch.setattr(acceleration, "COMPILER", "eager")
    plain, cached = plain_and_cached(folder, "sd-v1-5")
    settings = {"preload": "v-plain,v-cached", "compile": "default"}
    async with running_worker(catalog_of(plain, cached), **settings) as worker:
        residency = worker.application.executor.residency
        assert len(residency.use(plain).warm_up_sizes) > 1
        assert residency.use(cached).warm_up_sizes == (1,)
        attended[0] = 0
        assert (await run(worker, request("v-cached", "a", "b"))).results["b"].image.data
    assert attended[0] > 0, "the compiled network ran, which calls what was there when compiled"


def test_a_denoiser_without_attention_is_refused() -> None:
    asked = variant("nowhere", variant_id="v", step_cache=3)
    convolution = types.SimpleNamespace(unet=torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(ConfigError, match=r"variant\.v\.step_cache: Conv2d has no attention"):
        step_cache.check_step_cache(asked, convolution)
    step_cache.check_step_cache(dataclasses.replace(asked, step_cache=1), convolution)


def test_the_shipped_registry_has_one() -> None:
    variants = load_registry("sd-turbo")
    cached = variants["sd-v1-5-cached"]
    plain = dataclasses.replace(cached, variant_id="sd-v1-5", step_cache=1)
    assert cached.step_cache == 2
    assert plain == variants["sd-v1-5"]
