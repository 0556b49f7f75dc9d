import numpy as np
import torch

from diffserve.embedded.distillation import DistillationTask, teach
from diffserve.embedded.networks import SIZES, new_denoiser, new_palette


def test_lessons_are_reproducible_and_hold_noise_and_image(untrained_light):
    first, again = (teach(untrained_light, 3, num_steps=1, seed=0) for _ in range(2))
    assert [lesson.prompt for lesson in first] == [lesson.prompt for lesson in again]
    for one, other in zip(first, again, strict=True):
        assert one.noise.shape == (48, 16, 16)
        assert one.image.shape == (64, 64, 3)
        assert torch.equal(one.image, other.image)


def test_a_student_learns_from_lessons_and_renders(untrained_light):
    torch.manual_seed(0)
    lessons = teach(untrained_light, 2, num_steps=1, seed=0)
    size = SIZES["tiny"]
    task = DistillationTask(new_palette(size), new_denoiser(size), lessons)
    loss = task.loss(4, np.random.default_rng(0), torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.item() > 0
    assert task.palette.table.grad.abs().sum() > 0
