"""Every pipeline family loads, runs, batches, stops and swaps; parts that change a pipeline do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffserve.core import Lora, Variant
from diffserve.errors import ConfigError
from diffserve.rpc.v1 import worker_pb2
from tests.services.worker.harness import request, running_worker
from tests.services.worker.test_diffusers import (
    catalog_of,
    count_steps,
    pixels,
    refused_assignment,
    run,
    until_reaches,
    variant,
)

torch = pytest.importorskip("torch")
pipelines = pytest.importorskip("tests.services.worker.pipelines")
clips = pytest.importorskip("tests.unit.clips")
loading = pytest.importorskip("services.worker.backends.loading")

pytestmark = [
    # diffusers 0.42 makes an array of a tensor without the argument that numpy 2 wants.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

TRAILING = {
    "scheduler": "EulerDiscreteScheduler",
    "scheduler_options": (("timestep_spacing", "trailing"),),
}
FAMILIES: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "sd-turbo": (
        pipelines.save_stable_diffusion,
        {"num_inference_steps": 1, "guidance_scale": 0.0, **TRAILING},
    ),
    "sdxs": (pipelines.save_sdxs, {"num_inference_steps": 1, "guidance_scale": 0.0}),
    "sd-v1-5": (pipelines.save_stable_diffusion, {"num_inference_steps": 4}),
    "sdxl": (
        pipelines.save_stable_diffusion_xl,
        {"pipeline": "StableDiffusionXLPipeline", "num_inference_steps": 4},
    ),
    "sd3": (
        pipelines.save_stable_diffusion_3,
        {"pipeline": "StableDiffusion3Pipeline", "num_inference_steps": 4},
    ),
    "flux": (pipelines.save_flux, {"pipeline": "FluxPipeline", "num_inference_steps": 4}),
    "auto": (
        pipelines.save_stable_diffusion_3,
        {"pipeline": "AutoPipelineForText2Image", "num_inference_steps": 4},
    ),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variant]:
    """One variant of each family."""
    folder = tmp_path_factory.mktemp("families")
    variants = {}
    for name, (save, settings) in FAMILIES.items():
        save(folder / name)
        variants[name] = variant(folder / name, variant_id=name, base=name, **settings)
    return variants


@pytest.mark.parametrize("name", FAMILIES)
async def test_a_family_loads_runs_and_batches(saved: dict[str, Variant], name: str) -> None:
    async with running_worker(catalog_of(saved[name]), preload=name) as worker:
        alone = await run(worker, request(name, "a red cat", seed=5))
        among = await run(worker, request(name, "b", "a red cat", seed=5))
        other = await run(worker, request(name, "a red cat", seed=6))
        replica: Any = worker.application.executor.residency.use(saved[name])
        assert replica.pipeline.__class__.__name__ == EXPECTED[name]
    assert pixels(alone, "a red cat").shape == (16, 16, 3)
    # One 8-bit step: the same kernels round differently for other batch sizes.
    assert np.abs(pixels(alone, "a red cat") - pixels(among, "a red cat")).max() <= 1
    assert np.abs(pixels(alone, "a red cat") - pixels(other, "a red cat")).max() > 1


EXPECTED = {
    "sd-turbo": "StableDiffusionPipeline",
    "sdxs": "StableDiffusionPipeline",
    "sd-v1-5": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "auto": "StableDiffusion3Pipeline",
}


@pytest.mark.parametrize("name", ["sd-v1-5", "sdxl", "sd3", "flux"])
async def test_a_family_stops_at_the_next_denoising_step(
    saved: dict[str, Variant], name: str
) -> None:
    async with running_worker(catalog_of(saved[name]), preload=name) as worker:
        replica: Any = worker.application.executor.residency.use(saved[name])
        steps = count_steps(replica, pause_s=0.02)
        call = worker.stub.Execute(request(name, "cat", num_inference_steps=100))
        await until_reaches(steps, 3)
        call.cancel()
        await worker.application.executor.drain()
        worker.application.executor.resume()
        assert len(steps) < 50
        assert (await run(worker, request(name, "cat"))).results["cat"].image.data


async def test_families_swap_on_one_device(saved: dict[str, Variant]) -> None:
    names = ("sd-turbo", "flux", "sdxl")
    catalog = catalog_of(*(saved[name] for name in names))
    sizes = [loading.weight_bytes_on_disk(saved[name]) for name in names]
    async with running_worker(catalog, preload=names[0], memory_bytes_max=max(sizes) + 1) as worker:
        for plan_id, name in enumerate((*names, *names), start=1):
            assignment = worker_pb2.AssignRequest(variant_id=name, plan_id=plan_id)
            assert list((await worker.stub.Assign(assignment)).resident) == [name]
            assert (await run(worker, request(name, "cat"))).results["cat"].image.data


async def test_a_denoiser_of_its_own(saved: dict[str, Variant], tmp_path: Path) -> None:
    base = saved["sdxl"]
    file = tmp_path / "sdxl_lightning_2step_unet.safetensors"
    pipelines.save_denoiser(Path(base.source), file, seed=9)
    lightning = dataclasses.replace(
        base,
        variant_id="lightning",
        denoiser=str(file),
        num_inference_steps=2,
        guidance_scale=0.0,
        **TRAILING,
    )
    plain = dataclasses.replace(lightning, variant_id="plain", denoiser="")
    wrong = tmp_path / "wrong.safetensors"
    pipelines.save_denoiser(Path(saved["sd-v1-5"].source), wrong, seed=1)
    misfit = dataclasses.replace(lightning, variant_id="misfit", denoiser=str(wrong))
    absent = dataclasses.replace(lightning, variant_id="absent", denoiser="nowhere")
    async with running_worker(
        catalog_of(lightning, plain, misfit, absent), preload="lightning,plain"
    ) as worker:
        fast = await run(worker, request("lightning", "cat"))
        other = await run(worker, request("plain", "cat"))
        assert "does not fit UNet2DConditionModel" in await refused_assignment(worker, "misfit")
        assert "absent.denoiser: nothing at" in await refused_assignment(worker, "absent")
    assert np.abs(pixels(fast, "cat") - pixels(other, "cat")).max() > 1


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no hub be reached, wherever the tests run."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


async def test_a_single_file_takes_its_settings_from_a_folder(
    saved: dict[str, Variant], tmp_path: Path, offline: None
) -> None:
    whole = saved["sd-v1-5"]
    file = tmp_path / "model.safetensors"
    pipelines.save_single_file(Path(whole.source), file)
    single = dataclasses.replace(
        whole, variant_id="single", base="single", source=str(file), config=whole.source
    )
    changes = {
        "alone": {"config": ""},
        "lost": {"config": str(tmp_path / "nowhere")},
        "xl": {"config": saved["sdxl"].source},
    }
    wrong = [dataclasses.replace(single, variant_id=n, **change) for n, change in changes.items()]
    async with running_worker(
        catalog_of(whole, single, *wrong), preload="sd-v1-5,single"
    ) as worker:
        ours = await run(worker, request("single", "cat", seed=5))
        theirs = await run(worker, request("sd-v1-5", "cat", seed=5))
        problem = await refused_assignment(worker, "alone")
        assert problem.endswith("; the hub has its settings, or a folder that config names")
        assert "lost.config: nothing at" in await refused_assignment(worker, "lost")
        assert "has no use for text_encoder_2" in await refused_assignment(worker, "xl")
    assert np.array_equal(pixels(ours, "cat"), pixels(theirs, "cat"))


async def test_loras_count_and_scale(
    saved: dict[str, Variant], tmp_path: Path, offline: None
) -> None:
    base = saved["sd-v1-5"]
    attention = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    pipelines.save_lora(tmp_path / "good", attention)
    pipelines.save_lora(tmp_path / "stray", "no.such.layer")
    lora = Lora(source=str(tmp_path / "good"), scale=8.0)
    with_lora = dataclasses.replace(base, variant_id="lora", loras=(lora,))
    weak = dataclasses.replace(
        with_lora, variant_id="weak", loras=(dataclasses.replace(lora, scale=0.0),)
    )
    stray = dataclasses.replace(
        with_lora, variant_id="stray", loras=(Lora(source=str(tmp_path / "stray")),)
    )
    lost = dataclasses.replace(
        with_lora,
        variant_id="lost",
        loras=(lora, Lora(source="no/such", weight_name="x.safetensors")),
    )
    async with running_worker(
        catalog_of(base, with_lora, weak, stray, lost), preload="sd-v1-5,lora,weak"
    ) as worker:
        answers = [await run(worker, request(name, "cat")) for name in ("sd-v1-5", "lora", "weak")]
        assert f"loras.0: {tmp_path / 'stray'}: " in await refused_assignment(worker, "stray")
        problem = await refused_assignment(worker, "lost")
        assert "loras.1: no/such: is not here, and not to be had from the hub: " in problem
    plain, strong, none = (pixels(answer, "cat") for answer in answers)
    assert np.abs(plain - strong).max() > 1
    assert np.abs(plain - none).max() <= 1


async def test_flagged_images_are_withheld_with_a_reason(
    saved: dict[str, Variant], tmp_path: Path
) -> None:
    pipelines.save_safety_checker(tmp_path / "strict", flags_everything=True)
    pipelines.save_safety_checker(tmp_path / "lax", flags_everything=False)
    base = saved["sd-v1-5"]
    clips.save_clip(tmp_path / "blind")
    strict, lax, absent, blind = (
        dataclasses.replace(base, variant_id=name, safety_checker=str(tmp_path / name))
        for name in ("strict", "lax", "absent", "blind")
    )
    catalog = catalog_of(strict, lax, absent, blind)
    async with running_worker(catalog, preload="strict,lax") as worker:
        withheld = await run(worker, request("strict", "a", "b"))
        passed = await run(worker, request("lax", "a", "b"))
        assert "absent.safety_checker" in await refused_assignment(worker, "absent")
        assert "is no safety checker: it lacks" in await refused_assignment(worker, "blind")
    for result in withheld.results.values():
        assert result.error.startswith("withheld: the safety checker")
        assert not result.image.data
    assert all(result.image.data for result in passed.results.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"scheduler_options": (("no_such", True),)},
            "scheduler_options: DDIMScheduler has no no_such",
        ),
        ({"scheduler_options": (("self", 1),)}, "scheduler_options: DDIMScheduler has no self"),
        ({"scheduler": "UNet2DConditionModel"}, "scheduler: UNet2DConditionModel is no scheduler"),
        (
            {**TRAILING, "scheduler_options": (("beta_start", "x"),)},
            "scheduler_options: EulerDiscreteScheduler: TypeError: ",
        ),
    ],
)
async def test_a_wrong_scheduler_is_named(
    saved: dict[str, Variant], changes: dict[str, Any], message: str
) -> None:
    wrong = dataclasses.replace(saved["sd-v1-5"], variant_id="wrong", **changes)
    with pytest.raises(ConfigError, match=rf"^variant\.wrong\.{message}"):
        async with running_worker(catalog_of(wrong), preload="wrong"):
            pass
