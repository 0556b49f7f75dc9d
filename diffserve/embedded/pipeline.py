"""The text-to-image pipeline of the embedded models, light and heavy alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    ImagePipelineOutput,
    UNet2DConditionModel,
)
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedTokenizerFast

from diffserve.embedded.denoising import (
    LATENT_CHANNELS,
    TIMESTEP_SCALE,
    predict_clean,
    to_pixels,
)
from diffserve.embedded.layout import GRID
from diffserve.embedded.palette import Palette
from diffserve.embedded.positions import settle
from diffserve.embedded.preconditioning import PreconditionedUNet
from diffserve.embedded.scenes import IMAGE_PX, Array
from diffserve.embedded.text_encoder import LayoutPlanner
from diffserve.embedded.tokenizer import tokenize
from diffserve.embedded.words import Substitution, read_prompt

#: Largest side of an image, in multiples of the native 64 pixels.
MAX_UPSCALE = 8

#: What saved pipelines are made of; loading finds only classes whose modules have been imported.
PARTS = (LayoutPlanner, Palette, PreconditionedUNet)

StepCallback = Callable[["EmojiScenePipeline", int, torch.Tensor, dict[str, Any]], dict[str, Any]]


class EmojiScenePipeline(DiffusionPipeline):  # type: ignore[misc]
    """Draws captioned scenes of emoji art; follows the conventions of diffusers' pipelines.

    Args:
        tokenizer: Word-level tokenizer.
        text_encoder: Planner that turns a caption into a layout.
        palette: Looks of the concepts, styles and backgrounds of a layout.
        unet: Denoiser that predicts clean latents.
        scheduler: Rectified-flow sampler.
        max_shift_px: Objects are shifted within their places by up to this many pixels, as the
            noise says; 0 leaves it to the denoiser where exactly they sit.
    """

    model_cpu_offload_seq = "text_encoder->palette->unet"
    _callback_tensor_inputs = ("latents",)

    tokenizer: PreTrainedTokenizerFast
    text_encoder: LayoutPlanner
    palette: Palette
    unet: UNet2DConditionModel
    scheduler: FlowMatchEulerDiscreteScheduler

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        text_encoder: LayoutPlanner,
        palette: Palette,
        unet: UNet2DConditionModel,
        scheduler: FlowMatchEulerDiscreteScheduler,
        max_shift_px: int = 0,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            palette=palette,
            unet=unet,
            scheduler=scheduler,
        )
        self.register_to_config(max_shift_px=max_shift_px)
        self._interrupt = False
        self._num_timesteps = 0

    @property
    def interrupt(self) -> bool:
        """Whether the running call has been asked to stop; set ``_interrupt`` to ask."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Number of denoising steps of the latest call."""
        return self._num_timesteps

    def unknown_words(self, prompt: str) -> list[str]:
        """Return the words of a prompt that the models do not understand and will ignore."""
        return list(read_prompt(prompt, self.tokenizer.get_vocab()).unknown_words)

    def substitutions(self, prompt: str) -> list[Substitution]:
        """Return the words of a prompt that are read as others, nearest in meaning or spelling."""
        return list(read_prompt(prompt, self.tokenizer.get_vocab()).substitutions)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        num_inference_steps: int = 20,
        guidance_scale: float = 1.25,
        height: int = IMAGE_PX,
        width: int = IMAGE_PX,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw one image per prompt.

        Args:
            prompt: One caption or several.
            num_inference_steps: Denoising steps, at least 1.
            guidance_scale: Strength of classifier-free guidance; 1 or less turns it off, which
                halves the work.
            height: Multiple of 64, at most 512. Images are drawn at 64x64 and scaled up.
            width: As ``height``.
            generator: Source of noise. With one generator per prompt an image does not depend on
                the others of its batch.
            latents: Noise to start from, shape (B, 48, 16, 16), instead of the generator's.
            output_type: "pil", "np" (float32, (B, H, W, 3), [0, 1]) or "pt" ((B, 3, H, W)).
            callback_on_step_end: Called after every step with the pipeline, the step's index, its
                timestep and the tensors asked for; what it returns replaces them. It may set
                ``_interrupt`` to stop early, which yields the image as it is.
            callback_on_step_end_tensor_inputs: Names of those tensors; only "latents" exists.
            return_dict: Return an ``ImagePipelineOutput`` instead of a tuple.

        Returns:
            The images.

        Raises:
            ValueError: An argument is out of range; the message names it.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        _check_size("height", height)
        _check_size("width", width)
        _check_call(len(prompts), num_inference_steps, generator)
        if not set(callback_on_step_end_tensor_inputs) <= set(self._callback_tensor_inputs):
            raise ValueError("callback_on_step_end_tensor_inputs may only name 'latents'")

        device = self._execution_device
        self._interrupt = False
        if latents is None:
            latents = randn_tensor(
                (len(prompts), LATENT_CHANNELS, GRID, GRID),
                generator=generator if not isinstance(generator, Sequence) else list(generator),
                device=device,
                dtype=self.unet.dtype,
            )
        features = self._encode(prompts, latents, is_guided=guidance_scale > 1)
        # Evenly spaced noise levels whose last step lands on the clean image.
        levels = np.linspace(1.0, 1.0 / num_inference_steps, num_inference_steps)
        self.scheduler.set_timesteps(sigmas=levels.tolist(), device=device)
        self._num_timesteps = num_inference_steps

        with self.progress_bar(total=num_inference_steps) as progress_bar:
            for index, timestep in enumerate(self.scheduler.timesteps):
                if self._interrupt:
                    break
                clean = self._denoise(latents, timestep, features, guidance_scale)
                velocity = (latents - clean) / (timestep / TIMESTEP_SCALE)
                latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
                if callback_on_step_end is not None:
                    tensors = dict.fromkeys(callback_on_step_end_tensor_inputs, latents)
                    replaced = callback_on_step_end(self, index, timestep, tensors)
                    latents = replaced.pop("latents", latents)
                progress_bar.update()

        images = _convert(to_pixels(latents.float()), (height, width), output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _encode(self, prompts: list[str], noise: torch.Tensor, *, is_guided: bool) -> torch.Tensor:
        """Return the palette's features of the prompts, after those of as many empty ones.

        Without guidance there are no empty ones.
        """
        known_words = self.tokenizer.get_vocab()
        texts = [read_prompt(prompt, known_words).text for prompt in prompts]
        if is_guided:
            texts = [""] * len(texts) + texts
            noise = torch.cat([noise, noise])
        ids, mask = tokenize(self.tokenizer, texts, self._execution_device)
        plan = self.text_encoder(ids, mask)
        if self.config.max_shift_px:
            plan = settle(plan, noise, self.config.max_shift_px)
        return cast(torch.Tensor, self.palette(plan))

    def _denoise(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        features: torch.Tensor,
        guidance_scale: float,
    ) -> torch.Tensor:
        """Predict the clean latents, guided when there are features of empty captions."""
        is_guided = len(features) == 2 * len(latents)
        rows = torch.cat([latents, latents]) if is_guided else latents
        level = (timestep / TIMESTEP_SCALE).to(latents.dtype).expand(len(rows))
        clean = predict_clean(self.unet, rows, level, features)
        if is_guided:
            free, captioned = clean.chunk(2)
            clean = free + guidance_scale * (captioned - free)
        return clean.clamp(-1, 1)


def draw_images(
    pipeline: EmojiScenePipeline,
    prompts: Sequence[str],
    num_inference_steps: int,
    guidance_scale: float,
    seeds: Sequence[int],
) -> Array:
    """Draw one image per prompt and seed as an array, uint8, shape (B, 64, 64, 3)."""
    (images,) = pipeline(
        prompts,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
        return_dict=False,
    )
    return cast(Array, (images * 255).round().astype(np.uint8))


def _check_size(name: str, value: int) -> None:
    if value % IMAGE_PX or not IMAGE_PX <= value <= MAX_UPSCALE * IMAGE_PX:
        raise ValueError(
            f"{name} must be a multiple of {IMAGE_PX} up to {MAX_UPSCALE * IMAGE_PX}, got {value}"
        )


def _check_call(
    num_prompts: int,
    num_inference_steps: int,
    generator: torch.Generator | Sequence[torch.Generator] | None,
) -> None:
    if num_prompts == 0:
        raise ValueError("prompt must not be empty")
    if num_inference_steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, got {num_inference_steps}")
    if isinstance(generator, Sequence) and len(generator) != num_prompts:
        raise ValueError(f"generator has {len(generator)} entries for {num_prompts} prompts")


def _convert(
    pixels: torch.Tensor, size: tuple[int, int], output_type: Literal["pil", "np", "pt"]
) -> list[Image.Image] | NDArray[np.float32] | torch.Tensor:
    """Scale images (B, 3, 64, 64) in [0, 1] to ``size`` (height, width) and change their type."""
    arrays = pixels.permute(0, 2, 3, 1).cpu().numpy()
    if size != (IMAGE_PX, IMAGE_PX):
        arrays = np.stack([_upscale(array, size) for array in arrays])
    if output_type == "np":
        return arrays
    if output_type == "pt":
        return torch.from_numpy(arrays).permute(0, 3, 1, 2)
    return [Image.fromarray(array) for array in (arrays * 255).round().astype(np.uint8)]


def _upscale(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Scale one float image (H, W, 3) up, channel by channel, with a Lanczos filter."""
    channels = [
        Image.fromarray(image[..., index]).resize(size[::-1], Image.Resampling.LANCZOS)
        for index in range(image.shape[-1])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 1)
