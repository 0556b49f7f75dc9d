import math

import numpy as np
import pytest

from diffserve.embedded.evaluate import auroc, evaluation_prompts, sheet_texts
from diffserve.embedded.scenes import Level
from diffserve.embedded.sheets import save_sheet


@pytest.mark.parametrize(
    ("confidences", "verdicts", "expected"),
    [
        ([0.9, 0.8, 0.1], [True, True, False], 1.0),
        ([0.1, 0.2, 0.9], [True, True, False], 0.0),
        ([0.5, 0.5], [True, False], 0.5),
        ([0.9, 0.3, 0.5, 0.1], [True, True, False, False], 0.75),
    ],
)
def test_auroc(confidences, verdicts, expected):
    assert auroc(np.array(confidences, np.float32), np.array(verdicts)) == pytest.approx(expected)


def test_auroc_needs_both_verdicts():
    assert math.isnan(auroc(np.array([0.5], np.float32), np.array([True])))


@pytest.mark.parametrize("level", [Level.TWO, Level.COUNT, Level.THREE])
def test_evaluation_prompts_are_held_out_and_fixed(level):
    prompts = evaluation_prompts(level, 20, seed=0)
    assert all(prompt.scene.is_held_out for prompt in prompts)
    assert prompts == evaluation_prompts(level, 20, seed=0)
    assert prompts != evaluation_prompts(level, 20, seed=1)


def test_a_contact_sheet_is_an_image(tmp_path):
    texts = sheet_texts()[:9]
    save_sheet(np.zeros((9, 64, 64, 3), np.uint8), texts, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
