"""How a denoiser weighs its guess against what it sees."""

import copy

import pytest
import torch

from diffserve.embedded.denoising import LATENT_CHANNELS, predict_clean
from diffserve.embedded.networks import SIZES, new_denoiser
from diffserve.embedded.preconditioning import GUESS_STD


@pytest.fixture(scope="module")
def silent():
    """An untaught denoiser that guesses a grey image, whatever it sees."""
    denoiser = new_denoiser(SIZES["heavy"]).eval()
    torch.nn.init.zeros_(denoiser.conv_out.weight)
    torch.nn.init.zeros_(denoiser.conv_out.bias[:LATENT_CHANNELS])
    return denoiser


def denoised(denoiser, level):
    latents = torch.full((1, LATENT_CHANNELS, 16, 16), 0.5)
    features = torch.zeros(1, SIZES["heavy"].palette_width, 16, 16)
    with torch.no_grad():
        return predict_clean(denoiser, latents, torch.tensor([level]), features).mean().item()


def test_without_noise_the_input_is_the_answer(silent):
    assert denoised(silent, 1e-4) == pytest.approx(0.5, abs=1e-3)


def test_in_noise_alone_the_guess_is(silent):
    assert denoised(silent, 1.0) == 0.0


def test_between_them_the_more_certain_counts_for_more(silent):
    # Here noise and guess are equally uncertain: t / (1 - t) is the guess's deviation.
    level = GUESS_STD / (1 + GUESS_STD)
    assert denoised(silent, level) == pytest.approx(0.5 * 0.5 / (1 - level), rel=1e-4)


def test_it_learns_where_to_trust_itself(silent):
    sure = copy.deepcopy(silent)
    torch.nn.init.constant_(sure.conv_out.bias[LATENT_CHANNELS:], -16.0)
    level = GUESS_STD / (1 + GUESS_STD)
    assert abs(denoised(sure, level)) < 1e-3
