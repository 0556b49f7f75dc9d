"""Finds a variant's pipeline class and weights and loads them from safetensors only."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
import transformers
from diffusers.schedulers import SchedulerMixin

from diffserve.core import Variant
from diffserve.errors import ConfigError
from services.worker.backends.parts import add_loras, load_denoiser
from services.worker.backends.sources import check_class, check_source, damaged_file

LoadedT = TypeVar("LoadedT")


def weight_bytes_on_disk(variant: Variant) -> int:
    """Return the size of a local variant's weight files, 0 for a hub id.

    Raises:
        ConfigError: ``source`` is a local path and holds no weights.
    """
    check_source(variant)
    source = Path(variant.source)
    if source.is_dir():
        return sum(file.stat().st_size for file in source.rglob("*.safetensors"))
    return source.stat().st_size if source.is_file() else 0


def load_pipeline(variant: Variant, device: str) -> Any:
    """Return a variant's pipeline on ``device``, with its own denoiser and low-rank weights.

    Raises:
        ConfigError: the class, the weights or the device's memory do not allow it; names the field.
    """
    check_source(variant)
    pipeline_class = _pipeline_class(variant)
    check_class(variant, pipeline_class)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    pipeline = _named(variant, "source", lambda: _from_source(pipeline_class, variant))
    if variant.denoiser:
        _named(variant, "denoiser", lambda: load_denoiser(pipeline, variant))
    if variant.loras:
        _named(variant, "loras", lambda: add_loras(pipeline, variant))
    _named(variant, "source", lambda: pipeline.to(device))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _named(variant: Variant, field: str, load: Callable[[], LoadedT]) -> LoadedT:
    """Run a step of loading; whatever fails becomes a ``ConfigError`` that names the field."""
    try:
        return load()
    except ConfigError:
        raise
    except Exception as error:
        text = _told(error)
    # Raised out here so that it does not refer to the first error, whose traceback holds weights.
    where, value = f"variant.{variant.variant_id}.{field}", getattr(variant, field)
    if field == "loras":
        raise ConfigError(f"{where}: {text}")
    if not Path(value).exists():
        raise ConfigError(
            f"{where}: {value} is not here, and not to be had from the hub: {text[:200]}"
        )
    if damaged := damaged_file(Path(value)):
        raise ConfigError(f"{where}: {damaged} is cut short or otherwise damaged")
    if field == "source" and Path(value).is_file() and not variant.config:
        text = f"{text[:200]}; the hub has its settings, or a folder that config names"
    raise ConfigError(f"{where}: {value}: {text}")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _from_source(pipeline_class: Any, variant: Variant) -> Any:
    dtype = getattr(torch, variant.dtype)
    source = Path(variant.source)
    if source.suffix == ".safetensors":
        return pipeline_class.from_single_file(
            variant.source,
            dtype=dtype,
            config=variant.config or None,
            local_files_only=Path(variant.config).is_dir() if variant.config else False,
        )
    return pipeline_class.from_pretrained(
        variant.source,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=source.is_dir(),
        variant=variant.weight_variant or None,
        **_optional_arguments(pipeline_class),
    )


def make_scheduler(variant: Variant, saved: Any) -> Any:
    """Return a variant's own scheduler object, configured like the saved one but for its options.

    Raises:
        ConfigError: diffusers has no scheduler of that name, the pipeline takes none, or the
            scheduler has no such option.
    """
    where = f"variant.{variant.variant_id}.scheduler"
    if saved is None:
        if variant.scheduler or variant.scheduler_options:
            raise ConfigError(f"{where}: the pipeline has no scheduler to replace")
        return None
    scheduler_class = getattr(diffusers, variant.scheduler or type(saved).__name__, type(saved))
    if variant.scheduler and scheduler_class.__name__ != variant.scheduler:
        raise ConfigError(f"{where}: diffusers has no {variant.scheduler!r}")
    is_class = isinstance(scheduler_class, type)
    if variant.scheduler and not (is_class and issubclass(scheduler_class, SchedulerMixin)):
        raise ConfigError(f"{where}: {variant.scheduler} is no scheduler")
    options = dict(variant.scheduler_options)
    unknown = set(options) - set(inspect.signature(scheduler_class).parameters)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ConfigError(f"{where}_options: {scheduler_class.__name__} has no {names}")
    try:
        return scheduler_class.from_config(saved.config, **options)
    except Exception as error:
        field = f"{where}_options" if options else where
        raise ConfigError(f"{field}: {scheduler_class.__name__}: {_told(error)}") from None


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

    A pipeline saved without a safety checker warns about it on every load unless told otherwise.
    One saved with a checker does not get it: it would paint images black without a word; see
    ``services.worker.safety``.
    """
    accepted = inspect.signature(pipeline_class.__init__).parameters
    if "safety_checker" not in accepted:
        return {}
    return {"requires_safety_checker": False, "safety_checker": None}
