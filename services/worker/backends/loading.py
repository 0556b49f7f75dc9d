"""Finds a variant's pipeline class and weights and loads them from safetensors only."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from diffserve.core import Variant
from diffserve.errors import ConfigError


def weight_bytes_on_disk(variant: Variant) -> int:
    """Return the size of a local variant's weight files, 0 for a hub id.

    Raises:
        ConfigError: ``source`` is a local path and holds no weights.
    """
    where = f"variant.{variant.variant_id}.source"
    source = Path(variant.source)
    if source.is_dir():
        if not (source / "model_index.json").exists():
            raise ConfigError(f"{where}: {source} holds no model_index.json")
        return sum(file.stat().st_size for file in source.rglob("*.safetensors"))
    if source.is_file():
        return source.stat().st_size
    # A hub id is "owner/name"; anything else was meant to be a path.
    if not variant.source or source.is_absolute() or variant.source.count("/") != 1:
        raise ConfigError(f"{where}: nothing at {variant.source!r}")
    return 0


def load_pipeline(variant: Variant, device: str) -> Any:
    """Return a variant's pipeline on ``device``.

    Raises:
        ConfigError: the class, the weights or the device's memory do not allow it; names the field.
    """
    pipeline_class = _pipeline_class(variant)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return _from_source(pipeline_class, variant, device)
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    # Raised out here so that it does not refer to the first error, whose traceback holds weights.
    raise ConfigError(f"variant.{variant.variant_id}.source: {variant.source}: {text}")


def _from_source(pipeline_class: Any, variant: Variant, device: str) -> Any:
    dtype = getattr(torch, variant.dtype)
    source = Path(variant.source)
    if source.suffix == ".safetensors":
        pipeline = pipeline_class.from_single_file(variant.source, dtype=dtype)
    else:
        pipeline = pipeline_class.from_pretrained(
            variant.source,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=source.is_dir(),
            **_optional_arguments(pipeline_class),
        )
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_scheduler(variant: Variant, saved: Any) -> Any:
    """Return a variant's own scheduler object, configured like the saved one.

    Raises:
        ConfigError: diffusers has no scheduler of that name, or the pipeline takes none.
    """
    where = f"variant.{variant.variant_id}.scheduler"
    if saved is None:
        if variant.scheduler:
            raise ConfigError(f"{where}: the pipeline has no scheduler to replace")
        return None
    scheduler_class = getattr(diffusers, variant.scheduler or type(saved).__name__, type(saved))
    if variant.scheduler and scheduler_class.__name__ != variant.scheduler:
        raise ConfigError(f"{where}: diffusers has no {variant.scheduler!r}")
    return scheduler_class.from_config(saved.config)


def _pipeline_class(variant: Variant) -> Any:
    """Resolve ``module:Class``, or a bare class name of diffusers."""
    where = f"variant.{variant.variant_id}.pipeline"
    module_name, _, class_name = variant.pipeline.rpartition(":")
    try:
        module = importlib.import_module(module_name) if module_name else diffusers
        return getattr(module, class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: {variant.pipeline!r} cannot be imported: {error}") from None


def _optional_arguments(pipeline_class: Any) -> dict[str, Any]:
    """Return the arguments that only some pipelines take.

    A pipeline saved without a safety checker warns about it on every load unless told otherwise;
    one saved with a checker keeps it.
    """
    accepted = inspect.signature(pipeline_class.__init__).parameters
    return {"requires_safety_checker": False} if "requires_safety_checker" in accepted else {}
