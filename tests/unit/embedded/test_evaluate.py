import numpy as np
import pytest

from diffserve.embedded.evaluate import evaluation_prompts, sheet_texts
from diffserve.embedded.scenes import Level
from diffserve.embedded.sheets import save_sheet


@pytest.mark.parametrize("level", [level for level in Level if level is not Level.ONE])
def test_evaluation_prompts_are_held_out_and_fixed(level):
    prompts = evaluation_prompts(level, 20, seed=0)
    assert all(prompt.scene.is_held_out for prompt in prompts)
    assert prompts == evaluation_prompts(level, 20, seed=0)
    assert prompts != evaluation_prompts(level, 20, seed=1)


def test_a_contact_sheet_is_an_image(tmp_path):
    texts = sheet_texts()[:9]
    save_sheet(np.zeros((9, 64, 64, 3), np.uint8), texts, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
