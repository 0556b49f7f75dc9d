"""A network of CLIP's kind: images and texts to vectors whose cosine tells how well they match."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from diffserve.errors import ConfigError

Embeddings = NDArray[np.float32]
Image = NDArray[np.uint8]

BATCH_SIZE = 16
KIND = "clip"
LoadedT = TypeVar("LoadedT")


class Clip:
    """A CLIP model with the tokenizer and the image processor that were saved with it."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._processor = processor

    @classmethod
    def load(cls, source: str) -> Clip:
        """Load it in float32 on the CPU.

        Args:
            source: Hub id or local folder.

        Raises:
            ConfigError: it is no such model, or cannot be reached; begins with the source.
        """
        _quiet()
        parts = Clip.load_small_parts(source)
        options: dict[str, Any] = {
            "dtype": torch.float32,
            "local_files_only": Path(source).is_dir(),
            "output_loading_info": True,
        }
        load: Callable[..., Any] = transformers.CLIPModel.from_pretrained
        model, told = _named(source, lambda: load(source, **options))
        missing = sorted(told["missing_keys"])
        if missing:
            # It would go on with random numbers in their place.
            raise ConfigError(f"{source}: {len(missing)} weights are missing, first {missing[0]}")
        return cls(model, *parts)

    @staticmethod
    def load_small_parts(source: str) -> tuple[Any, Any]:
        """Load everything but the weights, which tells within seconds whether they may be of use.

        Returns:
            Tokenizer and image processor.

        Raises:
            ConfigError: see ``load``.
        """
        _quiet()
        options = {"local_files_only": Path(source).is_dir()}
        config = _named(source, lambda: transformers.AutoConfig.from_pretrained(source, **options))
        if config.model_type != KIND:
            raise ConfigError(f"{source}: is of type {config.model_type!r}, not {KIND!r}")
        load_tokenizer: Callable[..., Any] = transformers.AutoTokenizer.from_pretrained
        load_processor: Callable[..., Any] = transformers.AutoImageProcessor.from_pretrained
        return (
            _named(source, lambda: load_tokenizer(source, **options)),
            _named(source, lambda: load_processor(source, **options)),
        )

    def to(self, device: str) -> None:
        """Move it."""
        self._model.to(device)

    @property
    def scale(self) -> float:
        """What cosines are multiplied with to be logits."""
        return float(self._model.logit_scale.detach().exp())

    @torch.inference_mode()
    def images(self, images: Sequence[Image]) -> Embeddings:
        """Return unit vectors of RGB images, uint8 and each (H, W, 3); shape (N, D)."""
        return self._embedded(images, self._image_batch)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Return unit vectors of texts, cut where they are too long; shape (N, D)."""
        return self._embedded(texts, self._text_batch)

    def _embedded(
        self, items: Sequence[Any], embed: Callable[[Sequence[Any]], torch.Tensor]
    ) -> Embeddings:
        batches = [
            torch.nn.functional.normalize(embed(batch).float(), dim=-1).cpu().numpy()
            for batch in _batches(items)
        ]
        return np.concatenate(batches).astype(np.float32)

    def _image_batch(self, images: Sequence[Image]) -> torch.Tensor:
        inputs = self._processor(
            images=list(images), return_tensors="pt", input_data_format="channels_last"
        )
        pixels = inputs["pixel_values"].to(self._model.device, self._model.dtype)
        seen = self._model.vision_model(pixel_values=pixels).pooler_output
        projected: torch.Tensor = self._model.visual_projection(seen)
        return projected

    def _text_batch(self, texts: Sequence[str]) -> torch.Tensor:
        inputs = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self._model.device)
        read = self._model.text_model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).pooler_output
        projected: torch.Tensor = self._model.text_projection(read)
        return projected


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]


def _quiet() -> None:
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _named(source: str, load: Callable[[], LoadedT]) -> LoadedT:
    """Run a step of loading; whatever fails becomes one line that begins with the source."""
    try:
        return load()
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    # Raised out here so that it does not refer to the first error, whose traceback holds weights.
    raise ConfigError(f"{source}: {text}")
