"""A whole build from a registry of two tiny variants, served by the services as they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffserve import __version__
from diffserve.catalog import load_catalog
from diffserve.cli.output import CliError
from diffserve.cli.registry_options import RegistryOptions
from diffserve.config import DiscriminatorSettings, WorkerSettings
from diffserve.registry import load_registry
from diffserve.rpc.server import Health

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pipelines = pytest.importorskip("tests.services.worker.pipelines")
clips = pytest.importorskip("tests.unit.clips")
build = pytest.importorskip("diffserve.cli.build_registry")
drawing = pytest.importorskip("diffserve.cli.registry_drawing")
judging = pytest.importorskip("diffserve.cli.registry_judging")
application = pytest.importorskip("services.discriminator.application")
rehearsals = pytest.importorskip("services.worker.rehearsal")

# diffusers 0.42 makes an array of a tensor without the argument that numpy 2 wants.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NUM_PROMPTS = 24
VARIANT = """
[variant.{name}]
base = "{name}"
pipeline = "StableDiffusionPipeline"
source = "{name}"
num_inference_steps = {steps}
guidance_scale = 2.0
width = 16
height = 16
size_max = 64
scheduler = "EulerDiscreteScheduler"
scheduler_options = {{ timestep_spacing = "trailing" }}
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a registry, its weights, a judge, features and prompts."""
    folder = tmp_path_factory.mktemp("models")
    pipelines.save_sdxs(folder / "quick")
    pipelines.save_stable_diffusion(folder / "good")
    clips.save_clip(folder / "judge", seed=1)
    clips.save_clip(folder / "features", seed=2, projection_dim=8)
    variants = (VARIANT.format(name=n, steps=s) for n, s in (("good", 8), ("quick", 1)))
    (folder / "mine.toml").write_text("".join(variants))
    (folder / "prompts.txt").write_text("".join(f"a cat {n}\n" for n in range(NUM_PROMPTS)))
    return folder


@pytest.fixture
def rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Rehearse in this process, which is quicker, and keep what is done in a folder of the test."""
    torch.set_num_threads(1)
    monkeypatch.setattr(drawing, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(build, "CACHE", tmp_path / "cache")
    asked: list[Any] = []

    def rehearse(wanted: Any, log: Path, on_event: Callable[[str, Any], None]) -> None:
        asked.append(wanted)

        def tell(name: str, value: Any) -> None:
            on_event(name, json.loads(json.dumps(value)))

        rehearsals.rehearse(wanted, WorkerSettings(num_threads=1), tell)

    monkeypatch.setattr(drawing, "rehearse", rehearse)
    return asked


def options(saved: Path, out: Path, **changes: Any) -> RegistryOptions:
    known = {
        "out": out,
        "registries": (str(saved / "mine.toml"),),
        "variants": (),
        "prompts_file": saved / "prompts.txt",
        "judge": str(saved / "judge"),
        "features": str(saved / "features"),
        "device": "cpu",
        "batch_sizes": "1,2",
        "budget_s": 600.0,
        "quality_kept": 0.97,
    }
    return RegistryOptions(**{**known, **changes})


def test_what_is_built_is_served(
    saved: Path,
    tmp_path: Path,
    rehearsed: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    build.run_registry_build(options(saved, out), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["default_cascade"] == "quick-good"
    catalog = load_catalog(said["catalog"])
    asked = load_registry(str(saved / "mine.toml"))
    for name, variant in asked.items():
        served = catalog.variants[name]
        assert served.memory_bytes > 0
        assert served.load_s > 0.0
        assert dataclasses.replace(served, memory_bytes=0, load_s=0.0) == variant
    cascade = catalog.cascades["quick-good"]
    assert (cascade.light, cascade.heavy) == ("quick", "good")
    assert cascade.slo_s >= 3 * catalog.latency["good"].execution_s(1)
    quality = catalog.quality["quick-good"]
    assert "chance that judge prefers the answer to the image of" in quality.metric
    assert 0.0 < quality.quality_at(0.0) < 1.0
    assert 0.5 in (quality.quality_at(0.0), quality.quality_at(1.0)), "one of them is the best"
    assert [example.kind for example in catalog.examples] == ["easy", "easy", "hard", "hard"]
    page = (out / "cascades.md").read_text()
    for title in ("The pairs", "What decides", "The judge's view", "Latency by batch size"):
        assert f"## {title}" in page
    assert f"DiffServe {__version__}. The numbers are in" in page, "every prompt has its own seed"
    assert str(tmp_path) not in page + Path(said["catalog"]).read_text()
    assert str(saved) not in page + Path(said["catalog"]).read_text()
    assert (out / "discriminators" / "quick-good-gain" / "README.md").exists()
    assert [wanted.is_profiled for wanted in rehearsed] == [True, True, False, False]


async def test_the_discriminator_service_scores_with_the_trained_head(
    saved: Path, tmp_path: Path, rehearsed: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    build.run_registry_build(options(saved, tmp_path / "out"), as_json=True)
    catalog = load_catalog(json.loads(capsys.readouterr().out)["catalog"])
    service = application.DiscriminatorApplication(DiscriminatorSettings(device="cpu"), catalog)
    await service.start(Health([]), 0)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    try:
        (cascade,) = (c for c in catalog.cascades.values() if c.discriminator == "quick-good-gain")
        prompts = ["a cat", "an owl", "x"]
        scores = await service.scoring.score(cascade.population, images, prompts)
    finally:
        await service.stop()
    assert all(0.0 < score.confidence < 1.0 for score in scores)
    assert all(0.0 <= score.percentile <= 1.0 for score in scores)
    from diffserve.gain.discriminator import GainDiscriminator

    head = GainDiscriminator.from_pretrained(catalog.discriminators["quick-good-gain"].source)
    own = head.score(images, prompts)
    assert [score.confidence for score in scores] == pytest.approx(own.tolist(), abs=1e-6)


def test_an_interrupted_build_goes_on(
    saved: Path,
    tmp_path: Path,
    rehearsed: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = options(saved, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(rehearsals, "_save", _interrupting(rehearsals._save, NUM_PROMPTS + 5))
        with pytest.raises(KeyboardInterrupt):
            build.run_registry_build(wanted, as_json=True)
    images = list((tmp_path / "cache" / "images").rglob("*.png"))
    num_drawn = len([image for image in images if not image.name.endswith(".scored.png")])
    assert num_drawn == NUM_PROMPTS + 5
    rehearsed.clear()
    with monkeypatch.context() as patch:
        patch.setattr(judging, "_features", _raising)
        with pytest.raises(KeyboardInterrupt):
            build.run_registry_build(wanted, as_json=True)
    assert [one.is_profiled for one in rehearsed] == [False], "only the second variant draws"
    rehearsed.clear()
    with monkeypatch.context() as patch:
        patch.setattr(judging, "_scores", _raising)
        build.run_registry_build(wanted, as_json=True)
    assert not rehearsed
    assert json.loads(capsys.readouterr().out)["default_cascade"] == "quick-good"
    rehearsed.clear()
    build.run_registry_build(wanted, as_json=True)
    assert [one.is_profiled for one in rehearsed] == [True, True], "images are kept, times are not"


def _interrupting(save: Callable[..., None], count: int) -> Callable[..., None]:
    saved: list[object] = []

    def interrupt(order: Any, picture: Any) -> None:
        if len(saved) == count:
            raise KeyboardInterrupt
        saved.append(order)
        save(order, picture)

    return interrupt


def _raising(*arguments: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("option", ["judge", "features"])
def test_a_network_that_is_none_is_named_before_anything_is_drawn(
    saved: Path, tmp_path: Path, rehearsed: list[Any], option: str
) -> None:
    wrong = options(saved, tmp_path, **{option: str(saved / "good")})
    with pytest.raises(CliError, match=f"^--{option}: {saved / 'good'}: "):
        build.run_registry_build(wrong, as_json=True)
    assert not rehearsed


def test_a_judge_that_does_not_fit_the_device_is_named(
    saved: Path, tmp_path: Path, rehearsed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Any, device: str) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB")

    monkeypatch.setattr(judging.Clip, "to", no_room)
    with pytest.raises(CliError, match=f"^--judge: {saved / 'judge'}: out of memory; --device cpu"):
        build.run_registry_build(options(saved, tmp_path), as_json=True)


def test_one_prompt_too_few_is_refused(saved: Path, tmp_path: Path, rehearsed: list[Any]) -> None:
    few = tmp_path / "few.txt"
    few.write_text("".join(f"a cat {n}\n" for n in range(19)))
    with pytest.raises(CliError, match="--prompts-file: 19 prompts; at least 20 are needed"):
        build.run_registry_build(options(saved, tmp_path, prompts_file=few), as_json=True)
    assert not rehearsed


def test_a_budget_that_is_too_small_says_what_is_needed(
    saved: Path, tmp_path: Path, rehearsed: list[Any]
) -> None:
    with pytest.raises(CliError, match=r"--budget-minutes: 0 prompts .*at least 20 .* minutes"):
        build.run_registry_build(options(saved, tmp_path, budget_s=0.0), as_json=True)
    assert len(rehearsed) == 2, "profiled, not drawn"


def test_the_budget_pays_for_the_first_ones() -> None:
    assert drawing.affordable([1.0, 0.0, 2.0, 3.0, 0.0], 3.0) == 3
    assert drawing.affordable([1.0, 2.0], 100.0) == 2
    assert drawing.affordable([1.0], 0.5) == 0
    assert drawing.affordable([], 1.0) == 0


def test_images_are_known_by_weights_and_settings(saved: Path, tmp_path: Path) -> None:
    variant = load_registry(str(saved / "mine.toml"))["quick"]
    before = drawing.fingerprint(variant)
    assert drawing.fingerprint(dataclasses.replace(variant, num_inference_steps=2)) != before
    file = saved / "quick" / "model_index.json"
    text = file.read_text()
    file.write_text(text + "\n")
    assert drawing.fingerprint(variant) != before
    file.write_text(text)
