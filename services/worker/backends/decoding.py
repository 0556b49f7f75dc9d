"""Decodes a batch's latents on a CUDA stream of its own, beside the next batch's denoising.

The device thread is free as soon as the denoiser is: what is left of a batch is queued on the other
stream, and whoever encodes an image waits for it there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffserve.errors import BackendError
from services.worker.backends.base import NOT_FINITE


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """An image on its way to the host; see ``PendingPicture``.

    Attributes:
        pixels: Where it arrives, uint8, (height, width, 3), page-locked.
        is_finite: Whether the decoder made numbers, shape ().
        arrived: Recorded after both.
    """

    pixels: torch.Tensor
    is_finite: torch.Tensor
    arrived: torch.cuda.Event

    def result(self) -> NDArray[np.uint8]:
        """Wait for it.

        Raises:
            BackendError: it holds NaN or infinite values.
        """
        self.arrived.synchronize()
        if not self.is_finite.item():
            raise BackendError(NOT_FINITE)
        array: NDArray[np.uint8] = self.pixels.numpy()
        return array


class DecodeStream:
    """The second stream of a device; used on the device thread."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._arrived: torch.cuda.Event | None = None

    def suits(self, pipeline: Any) -> bool:
        """Return whether a pipeline decodes by one call that changes nothing else.

        A half-precision decoder that diffusers widens for the call frees the wide weights while
        they may still be read here.
        """
        vae = getattr(pipeline, "vae", None)
        if vae is None:
            return False
        is_widened = getattr(vae.config, "force_upcast", False) and vae.dtype is torch.float16
        return not is_widened

    @contextlib.contextmanager
    def beside(self, pipeline: Any) -> Iterator[None]:
        """Return a block in which the pipeline's decoder, and all that follows it, runs here."""
        denoising = torch.cuda.current_stream(self._device)
        decode = pipeline.vae.decode

        def decode_here(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            # Here ends the time on the device that others wait for.
            denoising.synchronize()
            # One batch at most is being decoded, however fast the denoiser is.
            self.wait()
            latents.record_stream(self._stream)
            torch.cuda.set_stream(self._stream)
            return decode(latents, *args, **kwargs)

        pipeline.vae.decode = decode_here
        try:
            yield
        finally:
            del pipeline.vae.decode
            torch.cuda.set_stream(denoising)

    def fetch(self, images: torch.Tensor) -> list[DecodedPicture]:
        """Send decoded images to the host.

        Args:
            images: Of a call within ``beside``, (B, 3, height, width), 0..1.
        """
        with torch.cuda.stream(self._stream):
            is_finite = images.isfinite().flatten(1).all(1)
            rounded = (images.float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
            pixels = _to_host(rounded.permute(0, 2, 3, 1).contiguous())
            flags = _to_host(is_finite)
            # Waiting threads sleep rather than spin: they have images to encode.
            arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        self._arrived = arrived
        return [DecodedPicture(*parts, arrived) for parts in zip(pixels, flags, strict=True)]

    def wait(self) -> None:
        """Return when nothing is being decoded: before weights leave the device."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return host.copy_(tensor, non_blocking=True)
