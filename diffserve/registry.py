"""Reads a registry: the variants at hand, before anything is known of how fast or good they are.

``diffserve cascade build --registry`` turns registries into a catalog. A registry is a TOML file of
``[variant.NAME]`` tables with the fields of a catalog's, but for latencies; shipped ones live in
``diffserve/registries``. Several operating points of the same weights share one ``base``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from diffserve.catalog import VariantEntry, make_variants, read_entries
from diffserve.core import Variant
from diffserve.errors import ConfigError

SHIPPED = Path(__file__).parent / "registries"


class _RegistryFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: dict[str, VariantEntry]


def shipped_registries() -> tuple[str, ...]:
    """Return the names of the registries that come with DiffServe."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_registry(name: str) -> Mapping[str, Variant]:
    """Read a shipped registry by name, or any registry by the path of its TOML file.

    Returns:
        Variants by ``variant_id``, in the order of the file.

    Raises:
        ConfigError: the file is missing or an entry is wrong; names the file and the field.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.exists():
        known = ", ".join(shipped_registries())
        raise ConfigError(f"registry: no file {path}; shipped registries: {known}")
    return make_variants(path, read_entries(path, _RegistryFile).variant)
