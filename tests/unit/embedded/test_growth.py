"""A wider denoiser begins with what the narrower one knows."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from diffserve.embedded import growth
from diffserve.embedded.denoising import LATENT_CHANNELS, predict_clean
from diffserve.embedded.layout import GRID

FEATURES = 16


def unet(widths, **changes):
    torch.manual_seed(len(widths) + widths[0])
    options = {
        "sample_size": GRID,
        "in_channels": LATENT_CHANNELS + FEATURES,
        "out_channels": LATENT_CHANNELS,
        "conv_in_kernel": 1,
        "block_out_channels": widths,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D",) * len(widths),
        "mid_block_type": "UNetMidBlock2D",
        "up_block_types": ("UpBlock2D",) * len(widths),
        "norm_num_groups": 16,
        "resnet_time_scale_shift": "scale_shift",
    }
    return UNet2DConditionModel(**{**options, **changes}).eval()


def guess(denoiser):
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(4, LATENT_CHANNELS, GRID, GRID, generator=generator)
    features = torch.randn(4, FEATURES, GRID, GRID, generator=generator)
    with torch.no_grad():
        return predict_clean(denoiser, latents, torch.tensor([0.1, 0.4, 0.7, 1.0]), features)


def grown(small, widths, **changes):
    large = unet(widths, **changes)
    growth.grow(small, large, torch.Generator().manual_seed(0))
    return large


@pytest.mark.parametrize("layers_per_block", [1, 2])
def test_twice_the_width_says_the_same(monkeypatch, layers_per_block):
    """Where every channel is there equally often, normalisation sees no difference."""
    monkeypatch.setattr(growth, "COPY_NOISE", 0.0)
    small = unet((16, 32, 48), layers_per_block=layers_per_block)
    large = grown(small, (32, 64, 96), layers_per_block=layers_per_block)
    before = guess(small)
    # The time embedding is fitted, not copied.
    assert (guess(large) - before).std() < 0.1 * before.std()


def test_any_width_says_nearly_the_same():
    small = unet((16, 32, 48))
    before, after = guess(small), guess(grown(small, (32, 48, 112)))
    untaught = guess(unet((32, 48, 112)))
    assert (after - before).std() < 0.5 * (untaught - before).std()


def test_copies_differ_so_that_they_can_learn_different_things():
    large = grown(unet((16, 32, 48)), (32, 64, 96))
    first, second = large.conv_out.weight[:, 0], large.conv_out.weight[:, 1]
    assert not torch.equal(first, second)


def test_growth_depends_on_its_generator_only():
    small = unet((16, 32, 48))
    one, other = (grown(small, (32, 48, 96)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_outputs_that_only_the_wide_one_has_stay_as_they_are():
    small = unet((16, 32, 48))
    torch.manual_seed(99)
    large = unet((32, 48, 96), out_channels=LATENT_CHANNELS + 2)
    before = large.conv_out.weight[LATENT_CHANNELS:].clone()
    growth.grow(small, large, torch.Generator().manual_seed(0))
    assert torch.equal(large.conv_out.weight[LATENT_CHANNELS:], before)
    assert torch.allclose(large.conv_out.bias[:LATENT_CHANNELS], small.conv_out.bias)


@pytest.mark.parametrize(
    ("widths", "changes", "problem"),
    [
        ((32, 64), {}, "same blocks"),
        ((32, 64, 96), {"layers_per_block": 2}, "same blocks"),
        ((32, 64, 96), {"in_channels": 99}, "widths only"),
    ],
)
def test_other_architectures_are_refused(widths, changes, problem):
    with pytest.raises(ValueError, match=problem):
        grown(unet((16, 32, 48)), widths, **changes)
