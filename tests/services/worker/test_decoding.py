"""Decoding beside the next batch: the order of things, with a stand-in for CUDA's streams."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffserve.core import Variant
from diffserve.errors import BackendError
from services.worker.backends.base import Interrupted, settled
from services.worker.batch import warm_up_batch
from tests.services.worker.harness import request, running_worker
from tests.services.worker.test_diffusers import catalog_of, pixels, run, variant

torch = pytest.importorskip("torch")
pipelines = pytest.importorskip("tests.services.worker.pipelines")
decoding = pytest.importorskip("services.worker.backends.decoding")
diffusers_backend = pytest.importorskip("services.worker.backends.diffusers")

# diffusers 0.42 makes an array of a tensor without the argument that numpy 2 wants.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("decoding")
    pipelines.save_stable_diffusion(folder / "sd", seed=0)
    return variant(folder / "sd", variant_id="v-0", num_inference_steps=2)


class FakeCuda:
    """Streams and events that do nothing but note what was asked of them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.current: Any = self.stream("denoising")

    def stream(self, name: str) -> Any:
        fake = type("Stream", (), {})()
        fake.name = name
        fake.synchronize = lambda: self.events.append(f"{name} done")
        return fake

    def event(self, blocking: bool = False) -> Any:
        assert blocking
        fake = type("Event", (), {})()
        fake.record = lambda stream: self.events.append(f"recorded on {stream.name}")
        fake.synchronize = lambda: self.events.append("arrived")
        return fake

    def use(self, stream: Any) -> None:
        self.current = stream
        self.events.append(f"on {stream.name}")

    @contextlib.contextmanager
    def using(self, stream: Any) -> Iterator[None]:
        yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: fake.stream("decoding"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: fake.current)
    monkeypatch.setattr(torch.cuda, "set_stream", fake.use)
    monkeypatch.setattr(torch.cuda, "stream", fake.using)
    monkeypatch.setattr(torch.cuda, "Event", fake.event)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return fake


def replica_of(saved: Variant) -> Any:
    pipeline = diffusers_backend.load_pipeline(saved, "cpu")
    return diffusers_backend.DiffusersReplica(
        saved, pipeline, pipeline.scheduler, "cpu", decoding=decoding.DecodeStream("cuda:0")
    )


@pytest.mark.usefixtures("cuda")
async def test_images_are_those_of_one_stream(saved: Variant, tmp_path: Path) -> None:
    asked = request("v-0", "a", "b", seed=5)
    async with running_worker(catalog_of(saved), preload="v-0") as worker:
        plain = await run(worker, asked)
        replica: Any = worker.application.executor.residency.use(saved)
        replica._decoding = decoding.DecodeStream("cuda:0")
        beside = await run(worker, asked)
    for query_id in "ab":
        assert np.abs(pixels(plain, query_id) - pixels(beside, query_id)).max() <= 1


def test_the_decoder_begins_when_the_denoiser_is_done(saved: Variant, cuda: FakeCuda) -> None:
    replica = replica_of(saved)
    vae = replica.pipeline.vae
    real = vae.decode

    def noted(*args: Any, **kwargs: Any) -> Any:
        cuda.events.append("decode")
        return real(*args, **kwargs)

    type(vae).decode, original = (lambda self, *a, **k: noted(*a, **k)), type(vae).decode
    try:
        first = replica.run(warm_up_batch(saved), threading.Event())
        second = replica.run(warm_up_batch(saved), threading.Event())
    finally:
        type(vae).decode = original
    once = ["on decoding", "decode", "on denoising", "recorded on decoding"]
    # The second batch is denoised before anybody waits for the first, and decoded after it.
    assert cuda.events == ["denoising done", *once, "denoising done", "arrived", *once]
    assert cuda.current.name == "denoising"
    assert settled(first[0]).shape == settled(second[0]).shape == (16, 16, 3)


def test_a_batch_that_is_stopped_leaves_the_streams_as_they_were(
    saved: Variant, cuda: FakeCuda
) -> None:
    replica, stop = replica_of(saved), threading.Event()
    before = replica.pipeline.vae.decode
    with pytest.raises(Interrupted):
        replica.run(warm_up_batch(saved), stop, lambda step, num_steps: stop.set())
    assert cuda.events == ["on denoising"]
    assert replica.pipeline.vae.decode == before


def test_weights_stay_until_the_last_image_has_arrived(saved: Variant, cuda: FakeCuda) -> None:
    replica = replica_of(saved)
    replica.run(warm_up_batch(saved), threading.Event())
    cuda.events.clear()
    replica.park()
    assert cuda.events == ["arrived"]
    replica.park()
    assert cuda.events == ["arrived"], "there was nothing more to wait for"


def test_an_image_that_is_no_image_fails_alone(cuda: FakeCuda) -> None:
    images = torch.rand(2, 3, 8, 8)
    images[1, 0, 0, 0] = float("nan")
    good, bad = decoding.DecodeStream("cuda:0").fetch(images)
    expected = (images[0].permute(1, 2, 0).numpy() * 255.0).round().astype(np.uint8)
    assert np.array_equal(good.result(), expected)
    with pytest.raises(BackendError, match="NaN"):
        bad.result()


@pytest.mark.parametrize(
    ("dtype", "force_upcast", "suits"),
    [("float16", True, False), ("bfloat16", True, True), ("float16", False, True)],
)
@pytest.mark.usefixtures("cuda")
def test_decoders_that_are_widened_for_the_call_stay_on_the_first_stream(
    saved: Variant, dtype: str, force_upcast: bool, suits: bool
) -> None:
    pipeline = diffusers_backend.load_pipeline(saved, "cpu")
    pipeline.vae.register_to_config(force_upcast=force_upcast)
    pipeline.vae.to(getattr(torch, dtype))
    stream = decoding.DecodeStream("cuda:0")
    assert stream.suits(pipeline) == suits
    assert not stream.suits(object()), "it decodes nothing"


@pytest.mark.usefixtures("cuda")
def test_a_safety_checker_sees_images_first(saved: Variant) -> None:
    class Checker:
        def withhold(self, images: list[Any]) -> list[Any]:
            return [BackendError("withheld") for _ in images]

    checked = dataclasses.replace(saved, safety_checker="somewhere")
    pipeline = diffusers_backend.load_pipeline(saved, "cpu")
    replica = diffusers_backend.DiffusersReplica(
        *(checked, pipeline, pipeline.scheduler, "cpu", Checker()),
        decoding=decoding.DecodeStream("cuda:0"),
    )
    (withheld,) = replica.run(warm_up_batch(checked), threading.Event())
    assert isinstance(withheld, BackendError)
