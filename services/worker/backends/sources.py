"""Checks a variant's class and local weights, where libraries would name no file or field."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from diffserve.core import Variant
from diffserve.errors import ConfigError

INDEX = "model_index.json"
OPTIONAL = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Parts that pipelines are saved with and do without."""


def check_source(variant: Variant) -> None:
    """Check that a local source is there and looks like one; hub ids pass.

    Raises:
        ConfigError: it does not; names the field and the file.
    """
    if variant.config:
        _check_place(f"variant.{variant.variant_id}.config", variant.config)
    _check_place(f"variant.{variant.variant_id}.source", variant.source)


def _check_place(where: str, place: str) -> None:
    source = Path(place)
    if place and source.is_dir():
        for name in _parts(where, source):
            if name != "safety_checker" and not (source / name).is_dir():
                raise ConfigError(f"{where}: {source} holds no {name}, which its {INDEX} names")
    elif source.is_file():
        if source.suffix != ".safetensors":
            raise ConfigError(f"{where}: {source} is no .safetensors file")
    # A hub id is "owner/name"; anything else was meant to be a path.
    elif not place or source.is_absolute() or place.count("/") != 1:
        raise ConfigError(f"{where}: nothing at {place!r}")


def check_class(variant: Variant, pipeline_class: Any) -> None:
    """Check that a class is a text-to-image pipeline, and the one for a local folder's parts.

    Raises:
        ConfigError: it is not; names the field.
    """
    where = f"variant.{variant.variant_id}.pipeline: {variant.pipeline}"
    if not hasattr(pipeline_class, "from_pretrained"):
        raise ConfigError(f"{where} is no pipeline")
    calls = (vars(each).get("__call__") for each in pipeline_class.__mro__)
    call = next((each for each in calls if each is not None), None)
    if call is not None:
        asked = inspect.signature(call).parameters
        if "prompt" not in asked or "strength" in asked:
            raise ConfigError(f"{where} does not draw from prompts alone")
    # Classes that find out which one it is take anything.
    taken = {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in inspect.signature(pipeline_class).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    source = Path(variant.config or variant.source)
    if not taken or not source.is_dir():
        return
    there = _index(f"variant.{variant.variant_id}.source", source)
    lacking = [n for n, needed in taken.items() if needed and n not in {*there, *OPTIONAL}]
    if lacking:
        raise ConfigError(f"{where} needs {', '.join(lacking)}, which {source} does not hold")
    unused = [n for n in _parts(where, source) if n not in {*taken, *OPTIONAL}]
    if unused:
        raise ConfigError(f"{where} has no use for {', '.join(unused)}, which {source} holds")


def damaged_file(source: Path) -> Path | None:
    """Return a weight file that is cut short or none at all, where there is one."""
    for file in sorted(source.rglob("*.safetensors")) if source.is_dir() else [source]:
        try:
            with safe_open(file, "numpy"):
                pass
        except (SafetensorError, OSError):
            return file
    return None


def _parts(where: str, source: Path) -> list[str]:
    """Return the parts that a saved pipeline consists of."""
    return [
        name
        for name, value in _index(where, source).items()
        if isinstance(value, list) and value and value[0] is not None
    ]


def _index(where: str, source: Path) -> Mapping[str, Any]:
    file = source / INDEX
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{where}: {source} holds no {INDEX}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: {file}: {error}") from None
    if not isinstance(index, dict):
        raise ConfigError(f"{where}: {file}: must hold an object")
    return index
