import pytest

from diffserve.embedded.discriminator import SceneDiscriminator
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.presets import HEAVY, LIGHT, MEDIUM, REALNESS_FOLDER, TINY
from diffserve.embedded.realness import RealnessDiscriminator
from diffserve.embedded.recipes import PIPELINES
from diffserve.embedded.train import TARGETS, TrainOptions, train


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Options for a very short training, in which all models share one run folder."""
    folder = tmp_path_factory.mktemp("run")
    return TrainOptions(folder, scale=0.0005, batch_size=4)


@pytest.fixture(scope="module")
def pipelines(options):
    """Pipelines after a few steps; heavy grows from medium, which also teaches tiny."""
    return {name: train(name, options) for name in ("medium", "heavy", "light", "tiny")}


def test_there_is_a_target_for_every_model():
    assert set(PIPELINES) < set(TARGETS)


def test_trained_pipelines_can_be_loaded(pipelines, options):
    presets = {"medium": MEDIUM, "heavy": HEAVY, "light": LIGHT, "tiny": TINY}
    for name, preset in presets.items():
        texts = [path.read_text() for path in pipelines[name].rglob("*.json")]
        assert not any("_name_or_path" in text for text in texts)
        assert pipelines[name] == options.weights / preset.folder
        pipeline = EmojiScenePipeline.from_pretrained(pipelines[name], local_files_only=True)
        assert pipeline("an owl", num_inference_steps=1).images[0].size == (64, 64)


@pytest.mark.usefixtures("pipelines")
def test_the_discriminators_learn_from_the_pipelines(options):
    folder = train("discriminator", options)
    assert SceneDiscriminator.from_pretrained(folder)
    assert RealnessDiscriminator.from_pretrained(options.weights / REALNESS_FOLDER)
    assert (options.run_dir / "discriminator" / "light-images" / "checkpoint.pt").exists()


def test_the_checker_is_a_target_too(options, monkeypatch):
    monkeypatch.setattr("diffserve.embedded.checker._STEPS", 1)
    assert (train("checker", options) / "model.safetensors").exists()
