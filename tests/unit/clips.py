"""Tiny networks of CLIP's kind, with random weights."""

from __future__ import annotations

import string
from pathlib import Path

import torch
import transformers

IMAGE_SIDE = 32
MAX_TOKENS = 16
WIDTH = 16


def save_clip(directory: Path, seed: int = 0, projection_dim: int = 16) -> Path:
    """Save a CLIPModel of 32x32 images with its tokenizer and image processor."""
    torch.manual_seed(seed)
    layers = {
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    }
    tokenizer = _tokenizer()
    text = {
        **layers,
        "vocab_size": 100,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**layers, "image_size": IMAGE_SIDE, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=projection_dim
    )
    model = transformers.CLIPModel(config)
    # Untrained layers are nearly blind; images are to differ clearly.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    _processor().save_pretrained(directory)
    return directory


def _processor() -> transformers.CLIPImageProcessorPil:
    return transformers.CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIDE},
        crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE},
    )


def _tokenizer() -> transformers.CLIPTokenizer:
    letters = string.ascii_lowercase + string.digits
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    return transformers.CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)},
        merges=[],
        model_max_length=MAX_TOKENS,
    )
