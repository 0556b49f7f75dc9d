import numpy as np
import torch

from diffserve.embedded.captions import sample_prompt
from diffserve.embedded.checker import SlotChecker, cut, load_or_train_checker
from diffserve.embedded.scenes import LAYOUTS, Level, render


def test_every_slot_can_be_cut():
    prompt = sample_prompt(np.random.default_rng(0), Level.ONE)
    image = render(prompt.scene)
    for slots in LAYOUTS.values():
        for slot in slots:
            crop = cut(image, slot)
            assert crop.shape == (3, 32, 32)
            assert 0 <= crop.min() <= crop.max() <= 1


def test_a_prompt_is_right_only_if_every_slot_is():
    prompt = sample_prompt(np.random.default_rng(0), Level.TWO)
    assert SlotChecker().eval().are_right([render(prompt.scene)], [prompt]) == [False]


def test_a_trained_checker_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("diffserve.embedded.checker._STEPS", 2)
    path = tmp_path / "cache" / "checker.safetensors"
    trained = load_or_train_checker(path)
    assert path.exists()
    loaded = load_or_train_checker(path)
    assert torch.equal(trained.head.weight, loaded.head.weight)
