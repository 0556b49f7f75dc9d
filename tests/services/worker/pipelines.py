"""Tiny diffusers pipelines of the real classes, with random weights."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import safetensors.torch
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

NUM_STEPS = 4


def save_stable_diffusion(directory: Path, seed: int = 0) -> None:
    """Save a StableDiffusionPipeline of 16x16 images."""
    torch.manual_seed(seed)
    diffusers.StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=transformers.CLIPTextModel(_text_config()),
        tokenizer=_tokenizer(),
        unet=_unet(),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(directory)


def save_stable_diffusion_xl(directory: Path) -> None:
    """Save a StableDiffusionXLPipeline of 16x16 images."""
    torch.manual_seed(1)
    diffusers.StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=transformers.CLIPTextModel(_text_config()),
        text_encoder_2=transformers.CLIPTextModelWithProjection(_text_config()),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=_unet(
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 16,
        ),
        scheduler=_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(directory)


def save_sdxs(directory: Path) -> None:
    """Save a StableDiffusionPipeline with the small decoder of SDXS."""
    torch.manual_seed(3)
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            latent_channels=4,
        ),
        text_encoder=transformers.CLIPTextModel(_text_config()),
        tokenizer=_tokenizer(),
        unet=_unet(),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(directory)


def save_stable_diffusion_3(directory: Path) -> None:
    """Save a StableDiffusion3Pipeline of 16x16 images."""
    torch.manual_seed(4)
    diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            out_channels=4,
            pos_embed_max_size=32,
            qk_norm="rms_norm",
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=_vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=transformers.CLIPTextModelWithProjection(_text_config()),
        tokenizer=_tokenizer(),
        text_encoder_2=transformers.CLIPTextModelWithProjection(_text_config()),
        tokenizer_2=_tokenizer(),
        text_encoder_3=_t5(),
        tokenizer_3=_t5_tokenizer(),
    ).save_pretrained(directory)


def save_flux(directory: Path) -> None:
    """Save a FluxPipeline of 16x16 images."""
    torch.manual_seed(5)
    diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=_vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06),
        text_encoder=transformers.CLIPTextModel(_text_config()),
        tokenizer=_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
    ).save_pretrained(directory)


def save_denoiser(pipeline_directory: Path, file: Path, seed: int) -> None:
    """Save other weights for a pipeline's UNet as one file, as SDXL-Lightning comes."""
    torch.manual_seed(seed)
    config = diffusers.UNet2DConditionModel.load_config(pipeline_directory, subfolder="unet")
    unet = diffusers.UNet2DConditionModel.from_config(config)
    safetensors.torch.save_file(unet.state_dict(), file)


def save_lora(directory: Path, target: str, seed: int = 0) -> None:
    """Save low-rank weights for one linear layer of a UNet."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        f"unet.{target}.lora_A.weight": torch.randn(2, 16, generator=generator),
        f"unet.{target}.lora_B.weight": torch.randn(16, 2, generator=generator),
    }
    directory.mkdir()
    safetensors.torch.save_file(weights, directory / "pytorch_lora_weights.safetensors")


def save_safety_checker(directory: Path, *, flags_everything: bool) -> None:
    """Save a safety checker that flags everything or nothing."""
    torch.manual_seed(6)
    config = transformers.CLIPConfig(
        text_config={"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
            "image_size": 32,
            "patch_size": 16,
        },
        projection_dim=16,
    )
    checker = StableDiffusionSafetyChecker(config)
    # A cosine lies in [-1, 1]: every image is above one threshold and below the other.
    for weights in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
        weights.data.fill_(-2.0 if flags_everything else 2.0)
    checker.save_pretrained(directory)


def _t5() -> Any:
    return transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def _t5_tokenizer() -> Any:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    return transformers.T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)


def _vae(**options: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )


def _unet(**options: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": 4,
            "cross_attention_dim": 16,
            "norm_num_groups": 4,
            **options,
        }
    )


def _scheduler() -> Any:
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def _text_config() -> Any:
    return transformers.CLIPTextConfig(
        hidden_size=16,
        projection_dim=16,
        intermediate_size=32,
        num_attention_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=16,
        vocab_size=100,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _tokenizer() -> Any:
    letters = string.ascii_lowercase + string.digits
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    return transformers.CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=16
    )


def save_single_file(pipeline_directory: Path, file: Path) -> None:
    """Save a small StableDiffusionPipeline's weights as one file, named as the first ones were."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        pipeline_directory, safety_checker=None, requires_safety_checker=False
    )
    text = pipeline.text_encoder.state_dict()
    weights = {
        **{_renamed(f"unet.{n}", _UNET): w for n, w in pipeline.unet.state_dict().items()},
        **{_renamed(f"vae.{n}", _VAE): w for n, w in pipeline.vae.state_dict().items()},
        **{f"cond_stage_model.transformer.text_model.{n}": w for n, w in text.items()},
    }
    safetensors.torch.save_file({n: w.contiguous() for n, w in weights.items()}, file)


def _renamed(name: str, rules: Sequence[tuple[str, Any]]) -> str:
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def _up(match: re.Match[str]) -> int:
    return 2 * int(match[1]) + int(match[2])


# For two levels, with one layer on the way down and two on the way up.
_UNET: tuple[tuple[str, Any], ...] = (
    (r"(resnets\.\d\.)norm1", r"\1in_layers.0"),
    (r"(resnets\.\d\.)conv1", r"\1in_layers.2"),
    (r"(resnets\.\d\.)time_emb_proj", r"\1emb_layers.1"),
    (r"(resnets\.\d\.)norm2", r"\1out_layers.0"),
    (r"(resnets\.\d\.)conv2", r"\1out_layers.3"),
    (r"conv_shortcut", "skip_connection"),
    (r"^unet\.time_embedding\.linear_1", "unet.time_embed.0"),
    (r"^unet\.time_embedding\.linear_2", "unet.time_embed.2"),
    (r"^unet\.conv_in", "unet.input_blocks.0.0"),
    (r"^unet\.conv_norm_out", "unet.out.0"),
    (r"^unet\.conv_out", "unet.out.2"),
    (r"down_blocks\.0\.downsamplers\.0\.conv", "input_blocks.2.0.op"),
    (r"down_blocks\.(\d)\.resnets\.0", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.0"),
    (r"down_blocks\.(\d)\.attentions\.0", lambda m: f"input_blocks.{2 * int(m[1]) + 1}.1"),
    (r"mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}"),
    (r"mid_block\.attentions\.0", "middle_block.1"),
    (r"up_blocks\.0\.upsamplers\.0\.conv", "output_blocks.1.2.conv"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"output_blocks.{_up(m)}.0"),
    (
        r"up_blocks\.(\d)\.attentions\.(\d)",
        lambda m: f"output_blocks.{2 * int(m[1]) + int(m[2])}.1",
    ),
    (r"^unet\.", "model.diffusion_model."),
)
_VAE: tuple[tuple[str, Any], ...] = (
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"up_blocks\.(\d)\.resnets", lambda m: f"up.{1 - int(m[1])}.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{1 - int(m[1])}.upsample"),
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"group_norm", "norm"),
    (r"to_out\.0", "proj_out"),
    (r"to_([qkv])", r"\1"),
    (r"^vae\.", "first_stage_model."),
)
