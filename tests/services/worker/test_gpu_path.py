"""What a GPU worker does more: fixed batch sizes for compiled networks, weights in host memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffserve.core import Variant
from diffserve.errors import ConfigError
from tests.services.worker.harness import request, running_worker
from tests.services.worker.test_diffusers import catalog_of, pixels, run, variant

torch = pytest.importorskip("torch")
pipelines = pytest.importorskip("tests.services.worker.pipelines")
acceleration = pytest.importorskip("services.worker.backends.acceleration")
diffusers_backend = pytest.importorskip("services.worker.backends.diffusers")

# diffusers 0.42 makes an array of a tensor without the argument that numpy 2 wants.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Variant]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("gpu-path")
    for seed in (0, 2):
        pipelines.save_stable_diffusion(folder / f"sd-{seed}", seed=seed)
    return [variant(folder / f"sd-{seed}", variant_id=f"v-{seed}") for seed in (0, 2)]


@pytest.fixture
def without_code_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and guard as the real compiler does, but run the trace as it is: no C++ compiler."""
    monkeypatch.setattr(acceleration, "COMPILER", "eager")


def test_batches_are_filled_up_to_the_next_planned_size() -> None:
    assert acceleration.filled_up("abc", (1, 2, 4, 8)) == ["a", "b", "c", "c"]
    assert acceleration.filled_up("ab", (1, 2, 4)) == ["a", "b"]
    assert acceleration.filled_up("abc", (1, 2)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("device", "setting", "mode"),
    [
        ("cuda:1", "auto", "reduce-overhead"),
        ("cuda:0", "off", ""),
        ("cpu", "auto", ""),
        ("cpu", "default", "default"),
    ],
)
def test_which_mode_a_setting_means(device: str, setting: str, mode: str) -> None:
    assert acceleration.mode_on(device, setting) == mode


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune", "default"])
def test_the_decoder_is_never_recorded(
    saved: list[Variant], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """It runs beside the denoiser, and recorded launches share their memory."""
    modes: list[str] = []

    def noted(forward: Any, **settings: Any) -> Any:
        modes.append(settings["mode"])
        return forward

    monkeypatch.setattr(torch, "compile", noted)
    acceleration.accelerate(diffusers_backend.load_pipeline(saved[0], "cpu"), mode)
    denoiser, decoder = modes
    assert denoiser == mode
    assert decoder in ("default", "max-autotune-no-cudagraphs")


@pytest.mark.usefixtures("without_code_generation")
async def test_a_compiled_network_meets_planned_batch_sizes_only(
    saved: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = dataclasses.replace(saved[0], num_inference_steps=2)
    compiled_for: list[int] = []
    real = torch.compile

    def traced(forward: Any, **settings: Any) -> Any:
        def count(graph: Any, inputs: Any) -> Any:
            shapes = [tuple(i.shape) for i in inputs if isinstance(i, torch.Tensor)]
            compiled_for.append(max(shape[0] for shape in shapes if shape[1:] == (4, 8, 8)))
            return graph.forward

        return real(forward, **{**settings, "backend": count})

    asked = request("v-0", "a", "b", "c", seed=5)
    wide = request("v-0", "a", width=32, seed=5)
    async with running_worker(catalog_of(one), preload="v-0") as worker:
        plain, plain_wide = await run(worker, asked), await run(worker, wide)
    monkeypatch.setattr(torch, "compile", traced)
    async with running_worker(catalog_of(one), preload="v-0", compile="default") as worker:
        at_start = sorted(compiled_for)
        filled, eager_wide = await run(worker, asked), await run(worker, wide)
        after = sorted(compiled_for)
    # The denoiser sees everything twice, for guidance; the decoder once.
    assert set(at_start) == {1, 2, 4, 8, 16}
    assert after == at_start, "something was compiled while serving"
    assert list(filled.results) == ["a", "b", "c"]
    for query_id in "abc":
        assert np.abs(pixels(plain, query_id) - pixels(filled, query_id)).max() <= 1
    assert np.abs(pixels(plain_wide, "a") - pixels(eager_wide, "a")).max() <= 1


def size_of(saved: Variant) -> int:
    return sum(file.stat().st_size for file in Path(saved.source).rglob("*.safetensors"))


@pytest.mark.parametrize("host_memory", [True, False])
async def test_weights_come_back_from_host_memory(
    saved: list[Variant], monkeypatch: pytest.MonkeyPatch, host_memory: bool
) -> None:
    one = size_of(saved[0])
    loads: list[str] = []
    real = diffusers_backend.load_pipeline

    def counted(wanted: Variant, device: str) -> Any:
        loads.append(wanted.variant_id)
        return real(wanted, device)

    monkeypatch.setattr(diffusers_backend, "load_pipeline", counted)
    settings = {
        "memory_bytes_max": one * 3 // 2,
        "host_memory_bytes_max": one * 3 // 2 if host_memory else 0,
    }
    async with running_worker(catalog_of(*saved), preload="v-0", **settings) as worker:
        residency = worker.application.executor.residency
        first: Any = residency.use(saved[0])
        first.parks = True  # as on CUDA
        before = await run(worker, request("v-0", "a", seed=5))
        await worker.application.executor.make_ready(saved[1])
        assert residency.resident == ("v-2",)
        assert (await run(worker, request("v-2", "a"))).results["a"].image.data
        await worker.application.executor.make_ready(saved[0])
        assert residency.resident == ("v-0",)
        after = await run(worker, request("v-0", "a", seed=5))
    assert loads == (["v-0", "v-2"] if host_memory else ["v-0", "v-2", "v-0"])
    assert np.array_equal(pixels(before, "a"), pixels(after, "a"))


async def test_what_does_not_fit_on_the_way_back_leaves_nothing_behind(
    saved: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def full(weights: Any, device: str) -> None:
        events.append("enter")
        raise torch.OutOfMemoryError("CUDA out of memory")

    one = size_of(saved[0])
    settings = {"memory_bytes_max": one * 3 // 2, "host_memory_bytes_max": one * 3 // 2}
    async with running_worker(catalog_of(*saved), preload="v-0", **settings) as worker:
        executor = worker.application.executor
        parked: Any = executor.residency.use(saved[0])
        parked.parks = True  # as on CUDA
        await executor.make_ready(saved[1])
        release = executor.residency.release
        monkeypatch.setattr(
            executor.residency, "release", lambda: (events.append("release"), release())
        )
        monkeypatch.setattr(diffusers_backend.HostWeights, "enter", full)
        with pytest.raises(ConfigError, match=r"variant\.v-0: out of memory"):
            await executor.make_ready(saved[0])
        assert events[-2:] == ["enter", "release"]
        await executor.make_ready(saved[0])
        assert executor.residency.resident == ("v-0",)


async def test_weights_are_back_though_the_sibling_that_wanted_them_fails(
    saved: list[Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ConfigError("variant.v-1: no such scheduler")

    sibling = dataclasses.replace(saved[0], variant_id="v-1")
    one = size_of(saved[0])
    settings = {"memory_bytes_max": one * 3 // 2, "host_memory_bytes_max": one * 3 // 2}
    async with running_worker(catalog_of(*saved, sibling), preload="v-0", **settings) as worker:
        executor = worker.application.executor
        parked: Any = executor.residency.use(saved[0])
        parked.parks = True  # as on CUDA
        await executor.make_ready(saved[1])
        monkeypatch.setattr(diffusers_backend, "make_scheduler", broken)
        with pytest.raises(ConfigError, match="no such scheduler"):
            await executor.make_ready(sibling)
        assert executor.residency.resident == ("v-0",)
        assert (await run(worker, request("v-0", "a"))).results["a"].image.data


def test_weights_that_left_the_device_are_not_shared_with_it(saved: list[Variant]) -> None:
    pipeline = diffusers_backend.load_pipeline(saved[0], "cpu")
    weight = next(pipeline.unet.parameters())
    kept = diffusers_backend.HostWeights(pipeline)
    original = weight.detach().clone()
    kept.leave()
    kept.enter("cpu")
    weight.data.zero_()
    kept.enter("cpu")
    assert torch.equal(weight, original)
