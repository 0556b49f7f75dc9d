"""Parts that change a loaded pipeline: another denoiser, low-rank weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from diffserve.core import Lora, Variant
from diffserve.errors import ConfigError

DENOISERS = ("transformer", "unet")
"""What pipelines call their denoising network."""


def denoiser_name(pipeline: Any) -> str:
    """Return what the pipeline calls its denoising network; empty when it has none."""
    return next((name for name in DENOISERS if getattr(pipeline, name, None) is not None), "")


def load_denoiser(pipeline: Any, variant: Variant) -> None:
    """Replace the weights of the pipeline's UNet or transformer, as SDXL-Lightning asks for.

    Raises:
        ConfigError: the pipeline has none, or the weights are for another network.
    """
    where = f"variant.{variant.variant_id}.denoiser"
    name = denoiser_name(pipeline)
    if not name:
        raise ConfigError(f"{where}: the pipeline has neither a unet nor a transformer")
    network = getattr(pipeline, name)
    path = Path(variant.denoiser)
    if path.is_dir():
        loaded = type(network).from_pretrained(path, local_files_only=True, use_safetensors=True)
        pipeline.register_modules(**{name: loaded.to(network.dtype)})
        return
    # The file may hold another precision; parameters keep the dtype of the network.
    weights = load_file(_local(variant))
    wrong = _misfits(network.state_dict(), weights)
    if wrong:
        raise ConfigError(
            f"{where}: {variant.denoiser} does not fit {type(network).__name__}: "
            f"{len(wrong)} weights are missing, unknown or of another shape, first {wrong[0]}"
        )
    network.load_state_dict(weights)


def _misfits(own: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """Return the names of weights that only one side has, or that differ in shape."""
    names = sorted({*own, *others})
    return [
        name
        for name in names
        if name not in own or name not in others or own[name].shape != others[name].shape
    ]


def add_loras(pipeline: Any, variant: Variant) -> None:
    """Add low-rank weights for good, so that they cost nothing per image.

    Raises:
        ConfigError: the pipeline takes none, or one changes no weight at all.
    """
    where = f"variant.{variant.variant_id}.loras"
    if not hasattr(pipeline, "load_lora_weights"):
        raise ConfigError(f"{where}: {type(pipeline).__name__} takes no low-rank weights")
    names = []
    for index, lora in enumerate(variant.loras):
        name = f"lora_{index}"
        problem = _add_lora(pipeline, lora, name)
        if problem:
            raise ConfigError(f"{where}.{index}: {lora.source}: {problem}")
        names.append(name)
    pipeline.set_adapters(names, [lora.scale for lora in variant.loras])
    pipeline.fuse_lora(adapter_names=names)
    pipeline.unload_lora_weights()


def _add_lora(pipeline: Any, lora: Lora, name: str) -> str:
    """Load low-rank weights as an adapter of this name; return what is wrong, or nothing."""
    try:
        pipeline.load_lora_weights(_lora_source(lora), adapter_name=name, **_lora_file(lora))
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        is_here = Path(lora.source).exists()
        return text if is_here else f"is not here, and not to be had from the hub: {text}"
    return "" if _is_applied(pipeline, name) else "changes no weight of this pipeline"


def _is_applied(pipeline: Any, adapter_name: str) -> bool:
    """Whether weights of an adapter arrived anywhere: files of other models load without a word."""
    return any(adapter_name in names for names in pipeline.get_list_adapters().values())


def _lora_source(lora: Lora) -> str:
    path = Path(lora.source)
    return str(path.parent) if path.is_file() else lora.source


def _lora_file(lora: Lora) -> dict[str, str]:
    path = Path(lora.source)
    name = path.name if path.is_file() else lora.weight_name
    return {"weight_name": name} if name else {}


def _local(variant: Variant) -> str:
    """Return the file of a denoiser, fetched from the hub where it is ``owner/name:file``."""
    if Path(variant.denoiser).is_file():
        return variant.denoiser
    repository, _, file = variant.denoiser.partition(":")
    if not file or repository.count("/") != 1:
        where = f"variant.{variant.variant_id}.denoiser"
        raise ConfigError(f"{where}: nothing at {variant.denoiser!r}")
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repository, file)
