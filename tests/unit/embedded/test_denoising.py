import numpy as np
import torch

from diffserve.embedded.denoising import (
    COARSE,
    FINE,
    LATENT_CHANNELS,
    flow_loss,
    to_latents,
    to_pixels,
)

FEATURES = torch.zeros(3, 5, 16, 16)


def test_latents_and_pixels_are_inverse():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    latents = to_latents(torch.from_numpy(images))
    assert latents.shape == (2, LATENT_CHANNELS, 16, 16)
    pixels = to_pixels(latents).permute(0, 2, 3, 1).numpy()
    assert np.array_equal((pixels * 255).round().astype(np.uint8), images)


def test_a_perfect_denoiser_has_no_loss():
    clean = torch.rand(3, LATENT_CHANNELS, 16, 16)
    generator = torch.Generator().manual_seed(0)
    assert flow_loss(lambda *_, **__: (clean,), clean, FEATURES, generator) == 0


def test_the_loss_depends_on_the_generator_only():
    clean = torch.rand(3, LATENT_CHANNELS, 16, 16)

    def keep_noise(rows, *_, **__):
        return (rows[:, :LATENT_CHANNELS],)

    def loss(seed):
        generator = torch.Generator().manual_seed(seed)
        return flow_loss(keep_noise, clean, FEATURES, generator).item()

    assert loss(1) == loss(1) > 0
    assert loss(1) != loss(2)


def test_fine_noising_shows_more_of_little_noise():
    seen = []

    def note_level(rows, timesteps, **__):
        seen.append((timesteps / 1000 < 0.1).float().mean().item())
        return (rows[:, :LATENT_CHANNELS],)

    clean, features = torch.zeros(2000, LATENT_CHANNELS, 1, 1), torch.zeros(2000, 1, 1, 1)
    for noising in (COARSE, FINE):
        generator = torch.Generator().manual_seed(0)
        flow_loss(note_level, clean, features, generator, noising)
    assert seen[1] > 3 * seen[0]
