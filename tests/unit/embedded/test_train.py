import shutil

import pytest

from diffserve.embedded.discriminator import SceneDiscriminator
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.presets import HEAVY, LIGHT
from diffserve.embedded.train import main


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """Pipelines after a few steps, trained from the command line."""
    folder = tmp_path_factory.mktemp("pipelines")
    for target, preset in (("light", LIGHT), ("heavy", HEAVY)):
        main([target, "--steps", "4", "--out", str(folder / target)])
        shutil.move(folder / target / "model", folder / preset.folder)
    return folder


def test_trained_pipelines_can_be_loaded(pipelines):
    for preset in (LIGHT, HEAVY):
        folder = pipelines / preset.folder
        pipeline = EmojiScenePipeline.from_pretrained(folder, local_files_only=True)
        assert pipeline("an owl", num_inference_steps=1).images[0].size == (64, 64)


def test_the_discriminator_learns_from_the_pipelines(pipelines, tmp_path):
    arguments = ["discriminator", "--steps", "2", "--judged", "4", "--out", str(tmp_path)]
    main([*arguments, "--pipelines", str(pipelines)])
    assert SceneDiscriminator.from_pretrained(tmp_path / "model")
    assert (tmp_path / "light-images" / "checkpoint.pt").exists()


def test_steps_and_minutes_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        main(["light", "--steps", "1", "--minutes", "1"])
    assert "not allowed with" in capsys.readouterr().err
