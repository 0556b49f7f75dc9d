"""Runs diffusers pipelines on CPU or CUDA. Imported only when a variant needs it."""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from diffserve.core import Variant
from diffserve.errors import BackendError, ConfigError
from services.worker.backends.acceleration import (
    OFF,
    accelerate,
    filled_up,
    mode_on,
    uncompiled,
)
from services.worker.backends.base import (
    OUT_OF_MEMORY,
    Interrupted,
    OnStep,
    Picture,
    Replica,
)
from services.worker.backends.decoding import DecodeStream
from services.worker.backends.host_weights import HostWeights
from services.worker.backends.loading import load_pipeline, make_scheduler, weight_bytes_on_disk
from services.worker.backends.safety import SafetyChecker
from services.worker.backends.step_cache import check_step_cache, reused_attention
from services.worker.batch import BatchSpec, Drawing
from services.worker.memory import Memory, process_memory, return_freed_memory

logger = logging.getLogger(__name__)


class DiffusersReplica:
    """A pipeline with the scheduler of one variant; variants of one base share the pipeline."""

    def __init__(
        self,
        variant: Variant,
        pipeline: Any,
        saved_scheduler: Any,
        device: str,
        safety: SafetyChecker | None = None,
        compiled_sizes: tuple[int, ...] = (),
        decoding: DecodeStream | None = None,
    ) -> None:
        """Wrap a loaded pipeline.

        Args:
            variant: Which operating point of it.
            pipeline: On its device.
            saved_scheduler: The one that came with the weights.
            device: Where the pipeline is.
            safety: Looks at every image.
            compiled_sizes: Batch sizes that the networks are compiled for; empty: not compiled.
            decoding: Where images are decoded beside the next batch, on a device that can.
        """
        # A safety checker has to see the images before anybody else.
        overlaps = decoding is not None and safety is None and decoding.suits(pipeline)
        self._decoding = decoding if overlaps else None
        self._step_cache = variant.step_cache
        compiles = bool(compiled_sizes) and variant.step_cache == 1
        self.warm_up_sizes: tuple[int, ...] = compiled_sizes if compiles else (1,)
        self.parks = device.startswith("cuda")
        self._device = device
        self._host_weights: HostWeights | None = None
        self._compiled_sizes = compiled_sizes
        self.pipeline = pipeline
        self.safety = safety
        self.saved_scheduler = saved_scheduler
        self.memory_bytes = _weight_bytes(pipeline)
        self._scheduler = make_scheduler(variant, saved_scheduler)
        self._accepted = frozenset(inspect.signature(pipeline.__call__).parameters)
        config = getattr(pipeline, "config", {})
        self._zeroes_empty_negatives = bool(config.get("force_zeros_for_empty_prompt", False))

    def run(
        self, batch: BatchSpec, stop: threading.Event, on_step: OnStep | None = None
    ) -> list[Picture]:
        """Run the pipeline once; see ``Replica.run``.

        Raises:
            Interrupted: ``stop`` was set.
            BackendError: the pipeline failed; says so where memory was short.
        """
        images: dict[str, Picture] = {}
        failure = ""
        try:
            groups = self._alike(batch.drawings)
            for index, drawings in enumerate(groups):
                part = _part_of(on_step, index, len(groups))
                made = self._call(batch, drawings, stop, part)
                images.update(zip((d.query_id for d in drawings), made, strict=True))
        except Interrupted:
            raise
        except Exception as error:
            logger.exception("batch %d of %s failed", batch.batch_id, batch.variant.variant_id)
            failure = _describe(error, len(batch.drawings))
        if failure:
            # Raised out here so that it does not refer to the first error, whose traceback holds
            # every tensor of the failed run.
            raise BackendError(failure)
        return [images[drawing.query_id] for drawing in batch.drawings]

    def park(self) -> None:
        """Take the weights off the device; the first time they are copied to host memory."""
        if self._decoding is not None:
            self._decoding.wait()
        self._host_weights = self._host_weights or HostWeights(self.pipeline)
        self._host_weights.leave()

    def unpark(self, wanted: Variant) -> None:
        """Copy the weights back to the device; see ``Replica.unpark``."""
        assert self._host_weights is not None, "park() was not called"
        try:
            self._host_weights.enter(self._device)
        except torch.OutOfMemoryError:
            self._host_weights.leave()
            raise ConfigError(
                f"variant.{wanted.variant_id}: out of memory on the way back from the host's"
            ) from None

    def unknown_words(self, prompt: str) -> tuple[str, ...]:
        """Ask the pipeline, if it can tell."""
        ask: Callable[[str], Sequence[str]] | None = getattr(self.pipeline, "unknown_words", None)
        return tuple(ask(prompt)) if ask is not None else ()

    def _alike(self, drawings: tuple[Drawing, ...]) -> list[tuple[Drawing, ...]]:
        """Split off queries without a negative prompt where the pipeline treats "" as another one.

        SDXL replaces an absent negative prompt by zeros but encodes an empty one: in one call, a
        batch-mate's negative prompt would change everybody's image.
        """
        if not self._zeroes_empty_negatives:
            return [drawings]
        groups = (
            tuple(d for d in drawings if not d.negative_prompt),
            tuple(d for d in drawings if d.negative_prompt),
        )
        return [group for group in groups if group]

    def _call(
        self,
        batch: BatchSpec,
        drawings: tuple[Drawing, ...],
        stop: threading.Event,
        on_step: OnStep | None,
    ) -> list[Picture]:
        num_done = 0

        def stop_between_steps(
            pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]
        ) -> dict[str, Any]:
            nonlocal num_done
            num_done = step + 1
            # Raising ends the call here; the pipeline's own interrupt flag would still decode.
            if stop.is_set():
                raise Interrupted
            if on_step is not None:
                on_step(step + 1, batch.num_inference_steps)
            return tensors

        if stop.is_set():
            raise Interrupted
        num_images = len(drawings)
        # What reuses attention is another network at every other step.
        is_compiled = self._compiled_sizes and self._step_cache == 1 and _has_native_shapes(batch)
        if is_compiled:
            drawings = tuple(filled_up(drawings, self._compiled_sizes))
        arguments: dict[str, Any] = {
            "prompt": [drawing.prompt for drawing in drawings],
            "width": batch.width,
            "height": batch.height,
            "num_inference_steps": batch.num_inference_steps,
            "guidance_scale": batch.guidance_scale,
            # On the CPU, so that a seed gives the same noise on every device.
            "generator": [torch.Generator("cpu").manual_seed(d.seed) for d in drawings],
            "output_type": "np" if self._decoding is None else "pt",
            "callback_on_step_end": stop_between_steps,
        }
        if any(drawing.negative_prompt for drawing in drawings):
            arguments["negative_prompt"] = [drawing.negative_prompt for drawing in drawings]
        if self._scheduler is not None:
            self.pipeline.scheduler = self._scheduler
        known = {name: value for name, value in arguments.items() if name in self._accepted}
        is_exception = self._compiled_sizes and not is_compiled
        with (
            uncompiled() if is_exception else contextlib.nullcontext(),
            reused_attention(
                self.pipeline, self._step_cache, lambda: num_done / batch.num_inference_steps
            ),
        ):
            return self._draw(known, num_images, (batch.height, batch.width))

    def _draw(
        self, arguments: Mapping[str, Any], num_images: int, shape: tuple[int, int]
    ) -> list[Picture]:
        if self._decoding is None:
            images = list(self.pipeline(**arguments).images)[:num_images]
            _check_shape(images[0].shape[:2], shape)
            return images if self.safety is None else [*self.safety.withhold(images)]
        with self._decoding.beside(self.pipeline):
            decoded = self.pipeline(**arguments).images[:num_images]
        _check_shape(decoded.shape[2:], shape)
        return [*self._decoding.fetch(decoded)]


class DiffusersBackend:
    """Loads pipelines onto one device."""

    def __init__(
        self,
        device: str,
        num_threads: int,
        batch_sizes: Mapping[str, tuple[int, ...]] | None = None,
        compile_mode: str = OFF,
    ) -> None:
        """Choose the device and pin this thread's CPU threads.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            num_threads: Of the CPU.
            batch_sizes: ``variant_id`` -> sizes that batches are planned with.
            compile_mode: ``auto``, ``off`` or a mode of ``torch.compile``.

        Raises:
            ConfigError: the device does not exist.
        """
        self._batch_sizes = batch_sizes or {}
        # With OpenMP the count belongs to the calling thread: this must be the device thread.
        torch.set_num_threads(num_threads)
        self.device = _resolve_device(device)
        on_cuda = self.device.startswith("cuda")
        self.device_type = torch.cuda.get_device_name(self.device) if on_cuda else "cpu"
        self._mode = mode_on(self.device, compile_mode)
        self._decoding = DecodeStream(self.device) if on_cuda else None

    def estimate_bytes(self, variant: Variant) -> int:
        """Return the catalog's figure, else the size of the weight files.

        Raises:
            ConfigError: ``source`` is a local path and holds no weights.
        """
        return variant.memory_bytes or weight_bytes_on_disk(variant)

    def load(self, variant: Variant, sibling: Replica | None) -> Replica:
        """Load a pipeline, or share the sibling's.

        Raises:
            ConfigError: it cannot be loaded; names the field.
        """
        sizes = self._batch_sizes.get(variant.variant_id, (1,)) if self._mode else ()
        if isinstance(sibling, DiffusersReplica):
            check_step_cache(variant, sibling.pipeline)
            return DiffusersReplica(
                *(variant, sibling.pipeline, sibling.saved_scheduler, self.device),
                *(sibling.safety, sizes, self._decoding),
            )
        pipeline = load_pipeline(variant, self.device)
        check_step_cache(variant, pipeline)
        if self._mode:
            accelerate(pipeline, self._mode)
        safety = SafetyChecker(variant, self.device) if variant.safety_checker else None
        saved_scheduler = getattr(pipeline, "scheduler", None)
        return DiffusersReplica(
            *(variant, pipeline, saved_scheduler, self.device, safety, sizes, self._decoding)
        )

    def release(self) -> None:
        """Return what dropped pipelines held to the device or the system."""
        if self._decoding is not None:
            self._decoding.wait()
        return_freed_memory()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def memory(self) -> Memory:
        """Return the device's memory on CUDA, the process's on CPU."""
        if not self.device.startswith("cuda"):
            return process_memory()
        free, total = torch.cuda.mem_get_info(self.device)
        return Memory(total - free, total)


def _resolve_device(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"worker.device: no such device {device!r}") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"worker.device: {device}: {torch.cuda.device_count()} CUDA devices here")
    return f"cuda:{resolved.index or 0}" if resolved.type == "cuda" else device


def _has_native_shapes(batch: BatchSpec) -> bool:
    """Whether its tensors are shaped as at the variant's own size and use of guidance."""
    variant = batch.variant
    return (batch.width, batch.height, batch.guidance_scale > 1.0) == (
        *(variant.width, variant.height),
        variant.guidance_scale > 1.0,
    )


def _check_shape(drawn: Sequence[int], wanted: tuple[int, int]) -> None:
    """Check what was drawn: pipelines round sizes that they cannot draw, and say so nowhere."""
    if tuple(drawn) != wanted:
        raise BackendError(
            f"{drawn[1]}x{drawn[0]} pixels were drawn where {wanted[1]}x{wanted[0]} were asked "
            "for: the variant's size_multiple is too small"
        )


def _part_of(on_step: OnStep | None, index: int, num_parts: int) -> OnStep | None:
    """Return what counts the steps of one part of a batch as steps of the whole."""
    if on_step is None or num_parts == 1:
        return on_step
    return lambda step, num_steps: on_step(index * num_steps + step, num_parts * num_steps)


def _weight_bytes(pipeline: Any) -> int:
    modules = {
        id(part): part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)
    }
    return sum(
        tensor.numel() * tensor.element_size()
        for module in modules.values()
        for tensor in (*module.parameters(), *module.buffers())
    )


def _describe(error: Exception, batch_size: int) -> str:
    """Return one line that tells a person what to do about it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        hint = "; a smaller batch may fit" if batch_size > 1 else ""
        return f"{OUT_OF_MEMORY} at batch size {batch_size}{hint}"
    text = " ".join(str(error).split()) or "no details"
    return f"{type(error).__name__}: {text[:300]}"
