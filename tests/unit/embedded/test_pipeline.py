import numpy as np
import pytest
import torch

from diffserve.embedded.pipeline import EmojiScenePipeline, draw_images
from diffserve.embedded.words import Reason

PROMPTS = ["flat style, an owl, sky blue background", "a cat left of a dog", "three foxes"]


def seeds(*values):
    return [torch.Generator().manual_seed(value) for value in values]


def draw(pipeline, prompts, generator, **kwargs):
    settings = {"num_inference_steps": 2, "output_type": "np"} | kwargs
    return pipeline(prompts, generator=generator, **settings).images


def test_an_image_does_not_depend_on_its_batch_mates(untrained):
    together = draw(untrained, PROMPTS, seeds(1, 2, 3))
    for index, prompt in enumerate(PROMPTS):
        alone = draw(untrained, prompt, seeds(index + 1))
        assert np.abs(together[index] - alone[0]).max() <= 1e-4


def test_the_seed_decides(untrained):
    first, again, other = (draw(untrained, PROMPTS[0], seeds(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_saved_and_loaded_pipelines_draw_the_same(untrained, tmp_path, guidance_scale):
    untrained.save_pretrained(tmp_path)
    assert list(tmp_path.glob("unet/*.safetensors"))
    loaded = EmojiScenePipeline.from_pretrained(tmp_path, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.text_encoder) is type(untrained.text_encoder)
    before, after = (
        draw(pipeline, PROMPTS, seeds(1, 2, 3), guidance_scale=guidance_scale)
        for pipeline in (untrained, loaded)
    )
    assert np.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize(("output_type", "shape"), [("np", (2, 64, 64, 3)), ("pt", (2, 3, 64, 64))])
def test_array_outputs(untrained_light, output_type, shape):
    images = draw(untrained_light, PROMPTS[:2], seeds(1, 2), output_type=output_type)
    assert tuple(images.shape) == shape
    assert images.min() >= 0
    assert images.max() <= 1


def test_pil_output_is_the_rounded_array(untrained_light):
    array = draw(untrained_light, PROMPTS[0], seeds(1))[0]
    (image,) = draw(untrained_light, PROMPTS[0], seeds(1), output_type="pil")
    assert np.array_equal(np.asarray(image), (array * 255).round().astype(np.uint8))


def test_larger_images_are_scaled_up(untrained_light):
    (small,) = draw(untrained_light, PROMPTS[0], seeds(1))
    (large,) = draw(untrained_light, PROMPTS[0], seeds(1), height=128, width=192)
    assert large.shape == (128, 192, 3)
    assert large.mean() == pytest.approx(small.mean(), abs=0.02)


def test_a_tuple_on_request(untrained_light):
    (images,) = untrained_light(
        PROMPTS[0], num_inference_steps=1, generator=seeds(1), return_dict=False
    )
    assert len(images) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"height": 100}, "height"),
        ({"height": 0}, "height"),
        ({"width": 576}, "width"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"generator": [torch.Generator()] * 2}, "generator"),
        ({"callback_on_step_end_tensor_inputs": ["image"]}, "callback_on_step_end_tensor_inputs"),
    ],
)
def test_wrong_arguments_are_named(untrained_light, arguments, field):
    with pytest.raises(ValueError, match=field):
        untrained_light(PROMPTS[0], **arguments)


def test_no_prompt_is_an_error(untrained_light):
    with pytest.raises(ValueError, match="prompt"):
        untrained_light([])


def test_the_callback_sees_every_step(untrained_light):
    seen = []

    def note(pipeline, index, timestep, tensors):
        seen.append((index, float(timestep), tuple(tensors["latents"].shape)))
        return tensors

    draw(untrained_light, PROMPTS[0], seeds(1), num_inference_steps=4, callback_on_step_end=note)
    assert [index for index, _, _ in seen] == [0, 1, 2, 3]
    assert [timestep for _, timestep, _ in seen] == [1000, 750, 500, 250]
    assert {shape for _, _, shape in seen} == {(1, 48, 16, 16)}
    assert untrained_light.num_timesteps == 4


def test_the_callback_can_replace_the_latents(untrained_light):
    def blacken(pipeline, index, timestep, tensors):
        return {"latents": torch.full_like(tensors["latents"], -1.0)}

    images = draw(untrained_light, PROMPTS[0], seeds(1), callback_on_step_end=blacken)
    assert not images.any()


def test_interrupting_stops_after_the_step(untrained_light):
    steps = []

    def stop(pipeline, index, timestep, tensors):
        steps.append(index)
        pipeline._interrupt = index == 1
        return tensors

    draw(untrained_light, PROMPTS[0], seeds(1), num_inference_steps=5, callback_on_step_end=stop)
    assert steps == [0, 1]
    assert untrained_light.interrupt
    draw(untrained_light, PROMPTS[0], seeds(1))
    assert not untrained_light.interrupt


def test_unknown_words_are_reported_and_ignored(untrained_light):
    assert untrained_light.unknown_words("a zorblax owl, a kitty") == ["zorblax"]
    with_word = draw(untrained_light, "a owl zorblax", seeds(1))
    assert np.array_equal(with_word, draw(untrained_light, "a owl", seeds(1)))


def test_substitutions_are_told(untrained_light):
    (kitty, leopards) = untrained_light.substitutions("a kitty above two leopards")
    assert (kitty.word, kitty.read_as, kitty.reason) == ("kitty", "cat", Reason.ALIAS)
    assert (leopards.read_as, leopards.reason) == ("tigers", Reason.RELATED)
    assert untrained_light.substitutions("an owl") == []


def test_drawing_can_start_from_given_noise(untrained_light):
    noise = torch.randn(1, 48, 16, 16, generator=torch.Generator().manual_seed(1))
    given = draw(untrained_light, PROMPTS[0], None, latents=noise)
    assert np.allclose(given, draw(untrained_light, PROMPTS[0], seeds(1)), atol=1e-5)


def test_draw_images_gives_bytes(untrained_light):
    images = draw_images(untrained_light, PROMPTS, 1, 1.0, seeds=range(3))
    assert images.shape == (3, 64, 64, 3)
    assert images.dtype == np.uint8


def test_a_pipeline_that_settles_positions_keeps_doing_so(untrained_light, tmp_path):
    parts = untrained_light.components
    settling = EmojiScenePipeline(**parts, max_shift_px=2)
    settling.set_progress_bar_config(disable=True)
    settling.save_pretrained(tmp_path)
    loaded = EmojiScenePipeline.from_pretrained(tmp_path, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config.max_shift_px == 2
    as_planned, settled, again = (
        draw(pipeline, PROMPTS[0], seeds(1), guidance_scale=2.0)
        for pipeline in (untrained_light, settling, loaded)
    )
    assert not np.allclose(as_planned, settled, atol=1e-3)
    assert np.allclose(settled, again, atol=1e-6)
