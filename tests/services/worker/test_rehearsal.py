"""A variant tried out without a deployment: profiled, drawn with, resumed; also as a process."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffserve.building.rehearsal import Order, Rehearsal, profile_from_event
from diffserve.cli import rehearsing
from diffserve.cli.output import CliError
from diffserve.config import WorkerSettings
from diffserve.core import Variant
from diffserve.errors import BackendError, ConfigError
from services.worker import rehearsal as rehearsals
from services.worker.encoding import SCORED_SIDE_MAX

torch = pytest.importorskip("torch")
pipelines = pytest.importorskip("tests.services.worker.pipelines")
backend = pytest.importorskip("services.worker.backends.diffusers")

# diffusers 0.42 makes an array of a tensor without the argument that numpy 2 wants.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SETTINGS = WorkerSettings(num_threads=1)
PROMPTS = ("an owl", "a cat", "a dog")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pipelines") / "sd"
    pipelines.save_stable_diffusion(directory)
    return directory


def rehearsal(source: Path | str, folder: Path | None = None, **changes: Any) -> Rehearsal:
    variant = Variant(
        variant_id="v-sd",
        base="sd",
        pipeline="StableDiffusionPipeline",
        source=str(source),
        num_inference_steps=2,
        guidance_scale=1.0,
        width=16,
        height=16,
    )
    orders = (Order(str(folder / text), text, seed) for seed, text in enumerate(PROMPTS))
    known: dict[str, Any] = {
        "variant": variant,
        "device": "cpu",
        "batch_sizes": (1, 2),
        "is_profiled": False,
        "orders": tuple(orders) if folder else (),
        "drawn_at_once": 2,
    }
    return Rehearsal(**{**known, **changes})


def run(wanted: Rehearsal) -> list[tuple[str, Any]]:
    events: list[tuple[str, Any]] = []
    rehearsals.rehearse(wanted, SETTINGS, lambda name, value: events.append((name, value)))
    return events


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_variant_is_profiled(saved: Path) -> None:
    ((name, value),) = run(rehearsal(saved, is_profiled=True))
    assert name == "profile"
    profile = profile_from_event(value)
    assert list(profile.execution_s) == list(profile.execution_s_p95) == [1, 2]
    assert 0.0 < profile.execution_s[1] <= profile.execution_s[2]
    assert profile.load_s > profile.execution_s[1]
    assert profile.memory_bytes > 100_000


def test_a_download_is_no_part_of_loading(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, loaded = backend.load_pipeline, []

    def slow_at_first(variant: Variant, device: str) -> Any:
        loaded.append(variant.source)
        if len(loaded) == 1:
            time.sleep(1.0)
        return load(dataclasses.replace(variant, source=str(saved)), device)

    run(rehearsal(saved, is_profiled=True))  # what is imported later takes its time too
    monkeypatch.setattr(backend, "load_pipeline", slow_at_first)
    ((_, value),) = run(rehearsal("owner/name", is_profiled=True))
    assert loaded == ["owner/name"] * 2
    assert profile_from_event(value).load_s < 1.0


def test_images_depend_on_prompt_and_seed_alone(saved: Path, tmp_path: Path) -> None:
    assert run(rehearsal(saved, tmp_path / "a")) == [("drawn", 2), ("drawn", 3)]
    run(rehearsal(saved, tmp_path / "b", drawn_at_once=1))
    for text in PROMPTS:
        one, other = (pixels(tmp_path / folder / f"{text}.png") for folder in "ab")
        assert one.shape == (16, 16, 3)
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_drawn_is_not_drawn_again(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(rehearsal(saved, tmp_path))
    (tmp_path / "a cat.png").unlink()
    drawn = []
    once = rehearsals._drawn

    def drawing(variant: Variant, replica: Any, orders: list[Order]) -> Any:
        drawn.extend(order.prompt for order in orders)
        return once(variant, replica, orders)

    monkeypatch.setattr(rehearsals, "_drawn", drawing)
    assert run(rehearsal(saved, tmp_path)) == [("drawn", 3)]
    assert drawn == ["a cat"]


def test_discriminators_copies_are_what_workers_send(saved: Path, tmp_path: Path) -> None:
    side = 2 * SCORED_SIDE_MAX
    pictures = [np.zeros((side, side, 3), np.float32), np.zeros((16, 16, 3), np.float32)]
    orders = rehearsal(saved, tmp_path).orders
    for order, picture in zip(orders, pictures, strict=False):
        rehearsals._save(order, picture)
    assert pixels(orders[0].image).shape == (side, side, 3)
    assert pixels(orders[0].scored).shape == (SCORED_SIDE_MAX, SCORED_SIDE_MAX, 3)
    assert pixels(orders[1].scored).shape == (16, 16, 3)


def test_withheld_images_are_told_from_missing_ones(saved: Path, tmp_path: Path) -> None:
    checker = tmp_path / "checker"
    pipelines.save_safety_checker(checker, flags_everything=True)
    wanted = rehearsal(saved, tmp_path / "images")
    strict = dataclasses.replace(wanted.variant, safety_checker=str(checker))
    run(dataclasses.replace(wanted, variant=strict))
    assert all(order.withheld.exists() and not order.image.exists() for order in wanted.orders)
    assert all(order.is_done for order in wanted.orders)


def failing_above(size: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_batch = backend.DiffusersReplica.run

    def fail(self: Any, batch: Any, stop: threading.Event, on_step: Any = None) -> Any:
        if len(batch.drawings) > size:
            raise BackendError(message)
        return run_batch(self, batch, stop, on_step)

    monkeypatch.setattr(backend.DiffusersReplica, "run", fail)


def test_batches_that_do_not_fit_are_left_out(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_above(2, "out of memory at batch size 4; a smaller batch may fit", monkeypatch)
    ((_, value),) = run(rehearsal(saved, is_profiled=True, batch_sizes=(1, 2, 4, 8)))
    assert list(profile_from_event(value).execution_s) == [1, 2]


@pytest.mark.parametrize(
    ("size", "message"), [(0, "out of memory at batch size 1"), (1, "ValueError: no such luck")]
)
def test_other_failures_are_not(
    saved: Path, size: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_above(size, message, monkeypatch)
    with pytest.raises(ConfigError, match=f"^variant.v-sd: {message}"):
        run(rehearsal(saved, is_profiled=True))


def test_images_that_are_no_numbers_are_named(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = np.full((16, 16, 3), np.nan, np.float32)
    monkeypatch.setattr(rehearsals, "_drawn", lambda variant, replica, orders: [nan] * len(orders))
    with pytest.raises(ConfigError, match=r"^variant.v-sd: drawing: .*try another dtype"):
        run(rehearsal(saved, tmp_path))


def test_variants_that_cannot_be_loaded_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^variant.v-sd.source: nothing at '/nowhere'"):
        run(rehearsal("/nowhere"))
    with pytest.raises(ConfigError, match=r"^variant.v-sd.source: .* holds no model_index.json"):
        run(rehearsal(tmp_path))
    wanted = rehearsal(saved)
    mock = dataclasses.replace(wanted.variant, pipeline="mock")
    with pytest.raises(ConfigError, match=r"^variant.v-sd.pipeline: a mock draws nothing"):
        run(dataclasses.replace(wanted, variant=mock))


def test_a_process_does_it(saved: Path, tmp_path: Path) -> None:
    events: list[tuple[str, Any]] = []
    wanted = rehearsal(saved, tmp_path / "images", is_profiled=True, batch_sizes=(1,))
    log = tmp_path / "logs" / "v.log"
    rehearsing.rehearse(wanted, log, lambda name, value: events.append((name, value)))
    assert [name for name, _ in events] == ["profile", "drawn", "drawn"]
    assert all(order.image.exists() for order in wanted.orders)
    assert log.exists()
    wrong = dataclasses.replace(wanted, device="cuda:99")
    with pytest.raises(CliError, match=r"^--device: cuda:99: \d+ CUDA devices here"):
        rehearsing.rehearse(wrong, log, lambda name, value: None)


def test_a_process_that_dies_is_told_from_one_that_is_done(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "MODULE", "services.nobody")
    with pytest.raises(CliError, match=r"variant.v-sd: its process exited with 1: .*nobody"):
        rehearsing.rehearse(rehearsal(saved), tmp_path / "log", lambda name, value: None)
