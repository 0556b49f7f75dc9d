"""Reads a catalog: the variants, discriminators and cascades at hand, with their profiles.

A catalog is a TOML file; shipped ones live in ``diffserve/catalogs``. Relative sources are
relative to the file. Every mistake is reported with the table and field that hold it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffserve.core import SLO_S_MAX, WEIGHTS_FIELDS, Cascade, Lora, RequestClass, Variant
from diffserve.errors import ConfigError, ProfileError
from diffserve.files import text_of
from diffserve.profiles.curves import BypassPoint, DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile

ProfileT = TypeVar("ProfileT")
EntriesT = TypeVar("EntriesT", bound=BaseModel)

SHIPPED = Path(__file__).parent / "catalogs"
_PROBLEMS = {
    "extra_forbidden": "there is no such field",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be a list",
}
"""What the library says of Python's types, in the words of TOML."""
MOCK_PIPELINE = "mock"
"""Pipeline name of variants that sleep by their latency profile and draw nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discriminator:
    """A scoring model.

    Attributes:
        discriminator_id: Name used by cascades.
        scorer: Import path ``module:Class`` with ``from_pretrained(dir)`` and
            ``score(images, prompts)``; ``mock`` scores by a hash of prompt and image.
        source: Directory of the weights; empty for ``mock``.
    """

    discriminator_id: str
    scorer: str
    source: str


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt to try.

    Attributes:
        kind: What it shows: ``easy`` or ``hard``.
        text: The prompt.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything a deployment can run.

    Attributes:
        name: File name without suffix.
        default_cascade: Cascade, or request class, used when a client names none.
        variants: By ``variant_id``.
        discriminators: By ``discriminator_id``.
        cascades: By ``cascade_id``.
        latency: Starting latency profile by ``variant_id``; refreshed online.
        deferral: Starting deferral profile by ``cascade_id``.
        quality: Quality curve by ``cascade_id``.
        classes: By ``class_id``; a cascade that no class names is one of its own.
        latency_by_device: Latency profiles by ``variant_id``, then device type, where the catalog
            knows them; ``latency`` is for all others.
        bypass: By ``cascade_id``, where prompts have been ranked by difficulty: quality when the
            hardest skip the light variant, by rising share.
        examples: Prompts to try, easy ones first.
    """

    name: str
    default_cascade: str
    variants: Mapping[str, Variant]
    discriminators: Mapping[str, Discriminator]
    cascades: Mapping[str, Cascade]
    latency: Mapping[str, LatencyProfile]
    deferral: Mapping[str, DeferralProfile]
    quality: Mapping[str, QualityCurve]
    classes: Mapping[str, RequestClass]
    latency_by_device: Mapping[str, Mapping[str, LatencyProfile]]
    bypass: Mapping[str, tuple[BypassPoint, ...]]
    examples: tuple[Example, ...]

    @property
    def default_class(self) -> RequestClass:
        """The request class of queries that name none."""
        name = self.default_cascade
        return self.classes.get(name) or self.classes[class_of(name, self.classes)]


def class_of(cascade_id: str, classes: Mapping[str, RequestClass]) -> str:
    """Return the request class of a cascade: one that names it, else its own."""
    owners = (c.class_id for c in classes.values() if cascade_id in c.cascade_ids)
    return next(owners, cascade_id)


_Name = Annotated[str, Field(min_length=1)]
_ItemT = TypeVar("_ItemT")
# TOML has lists and keys that are text; all else is of the type that it is meant to be.
_Row = Annotated[tuple[_ItemT, ...], Field(strict=False)]
_Seconds = dict[Annotated[int, Field(strict=False)], float]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _LoraEntry(_Entry):
    source: _Name
    weight_name: str = ""
    scale: float = 1.0


class VariantEntry(_Entry):
    """A variant as catalogs and registries spell it."""

    base: _Name
    pipeline: _Name
    source: str = ""
    num_inference_steps: int = Field(ge=1, le=200)
    guidance_scale: float = Field(ge=0, le=50)
    width: int = Field(ge=8, le=2048, multiple_of=8)
    height: int = Field(ge=8, le=2048, multiple_of=8)
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    scheduler: str = ""
    memory_bytes: int = Field(0, ge=0)
    load_s: float = Field(0.0, ge=0.0)
    size_multiple: int = Field(8, ge=8)
    size_max: int = Field(2048, ge=8, le=2048)
    scheduler_options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    denoiser: str = ""
    loras: _Row[_LoraEntry] = ()
    weight_variant: str = Field("", pattern="^[a-z0-9]*$")
    safety_checker: str = ""
    config: str = ""
    step_cache: int = Field(1, ge=1, le=10)


class _ProfiledEntry(VariantEntry):
    latency_s: _Seconds
    latency_by_device_s: dict[str, _Seconds] = Field(default_factory=dict)


class _DiscriminatorEntry(_Entry):
    scorer: str
    source: str = ""


class _DeferralEntry(_Entry):
    thresholds: _Row[float]
    fractions: _Row[float]


class _QualityEntry(_Entry):
    metric: str
    fractions: _Row[float]
    qualities: _Row[float]


class _BypassEntry(_Entry):
    fraction: float
    fractions: _Row[float]
    qualities: _Row[float]


class _ExampleEntry(_Entry):
    kind: str = Field(pattern="^(easy|hard)$")
    text: str = Field(min_length=1)


class ClassEntry(_Entry):
    """A request class as catalogs spell it."""

    cascades: _Row[str] = Field(min_length=1)
    weight: float = Field(1.0, gt=0)


class CascadeEntry(_Entry):
    """A cascade as catalogs spell it."""

    light: str
    heavy: str
    discriminator: str
    slo_s: float = Field(gt=0, le=SLO_S_MAX)
    deferral_max: float = Field(1.0, ge=0, le=1)
    deferral: _DeferralEntry
    quality: _QualityEntry
    bypass: _Row[_BypassEntry] = ()


class CatalogFile(_Entry):
    """A whole catalog as its file spells it."""

    default_cascade: str
    examples: _Row[_ExampleEntry] = ()
    variant: dict[str, _ProfiledEntry]
    discriminator: dict[str, _DiscriminatorEntry]
    cascade: dict[str, CascadeEntry]
    # "class" is a word of Python's
    request_class: dict[str, ClassEntry] = Field(default_factory=dict, alias="class")


def shipped_catalogs() -> tuple[str, ...]:
    """Return the names of the catalogs that come with DiffServe."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_catalog(name: str) -> Catalog:
    """Read a shipped catalog by name, or any catalog by the path of its TOML file.

    Raises:
        ConfigError: the file is missing or an entry is wrong; names the file and the field.
    """
    path = catalog_path(name)
    return make_catalog(path, read_entries(path, CatalogFile))


def catalog_path(name: str) -> Path:
    """Return the file of a shipped catalog, or the one whose path ``name`` is.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.exists():
        known = ", ".join(shipped_catalogs())
        raise ConfigError(f"catalog: no file {path}; shipped catalogs: {known}")
    return path


def read_entries(path: Path, model: type[EntriesT]) -> EntriesT:
    """Read a TOML file into checked entries.

    Raises:
        ConfigError: it cannot be read or is no TOML, or an entry is wrong; names the file and the
            field.
    """
    try:
        text = text_of(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return parse_entries(path, text, model)


def parse_entries(path: Path, text: str, model: type[EntriesT]) -> EntriesT:
    """Do the same with the text of the file at ``path``, which need not be on this machine."""
    try:
        return model(**tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except ValidationError as error:
        # A misspelt field is one too many and, where it is required, one too few.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {where}: {_PROBLEMS.get(first['type'], first['msg'])}"
        ) from None


def make_catalog(path: Path, file: CatalogFile) -> Catalog:
    """Return the entries of the file at ``path`` as a catalog.

    Raises:
        ConfigError: they do not fit together; names the file and the field.
    """
    for cascade_id, entry in file.cascade.items():
        _check_reference(path, f"cascade.{cascade_id}.light", entry.light, file.variant)
        _check_reference(path, f"cascade.{cascade_id}.heavy", entry.heavy, file.variant)
        _check_reference(
            path, f"cascade.{cascade_id}.discriminator", entry.discriminator, file.discriminator
        )
    classes = make_classes(path, file.cascade, file.request_class)
    _check_reference(path, "default_cascade", file.default_cascade, file.cascade | classes)
    cascades = file.cascade.items()
    variants = make_variants(path, file.variant)
    return Catalog(
        name=path.stem,
        default_cascade=file.default_cascade,
        variants=variants,
        discriminators={
            name: Discriminator(
                discriminator_id=name, scorer=entry.scorer, source=_resolve(path, entry.source)
            )
            for name, entry in file.discriminator.items()
        },
        cascades={c: make_cascade(c, entry) for c, entry in cascades},
        latency={v: _latency(path, v, entry) for v, entry in file.variant.items()},
        deferral={c: make_deferral(path, c, entry) for c, entry in cascades},
        quality={c: make_quality(path, c, entry) for c, entry in cascades},
        classes=classes,
        latency_by_device={
            v: _latency_by_device(path, v, entry) for v, entry in file.variant.items()
        },
        bypass={c: make_bypass(path, c, entry) for c, entry in cascades if entry.bypass},
        examples=tuple(Example(entry.kind, entry.text) for entry in file.examples),
    )


def _latency(path: Path, variant_id: str, entry: _ProfiledEntry) -> LatencyProfile:
    where = f"variant.{variant_id}.latency_s"
    return _located(path, where, LatencyProfile, entry.latency_s)


def _latency_by_device(
    path: Path, variant_id: str, entry: _ProfiledEntry
) -> dict[str, LatencyProfile]:
    where = f"variant.{variant_id}.latency_by_device_s"
    return {
        device_type: _located(path, f"{where}.{device_type}", LatencyProfile, seconds)
        for device_type, seconds in entry.latency_by_device_s.items()
    }


def make_cascade(cascade_id: str, entry: CascadeEntry) -> Cascade:
    """Return an entry as a cascade."""
    return Cascade(
        cascade_id=cascade_id,
        light=entry.light,
        heavy=entry.heavy,
        discriminator=entry.discriminator,
        slo_s=entry.slo_s,
        deferral_max=entry.deferral_max,
    )


def make_deferral(path: Path, cascade_id: str, entry: CascadeEntry) -> DeferralProfile:
    """Return the deferral profile of a cascade's entry.

    Raises:
        ConfigError: it is none; names the file and the field. So do its neighbours below.
    """
    where = f"cascade.{cascade_id}.deferral"
    return _located(path, where, DeferralProfile, **entry.deferral.model_dump())


def make_quality(path: Path, cascade_id: str, entry: CascadeEntry) -> QualityCurve:
    """Return the quality curve of a cascade's entry."""
    where = f"cascade.{cascade_id}.quality"
    return _located(path, where, QualityCurve, **entry.quality.model_dump())


def make_variants(path: Path, entries: Mapping[str, VariantEntry]) -> dict[str, Variant]:
    """Return the entries of the file at ``path`` as variants.

    Raises:
        ConfigError: one contradicts itself or another; names the file and the field.
    """
    variants = {name: _variant(path, name, entry) for name, entry in entries.items()}
    check_bases(str(path), variants)
    return variants


def check_bases(where: str, variants: Mapping[str, Variant]) -> None:
    """Check that variants of one base have the same weights: plans let them switch for free.

    Args:
        where: What errors begin with.
        variants: By ``variant_id``.

    Raises:
        ConfigError: two have not; names what differs.
    """
    first: dict[str, Variant] = {}
    for variant_id, variant in variants.items():
        other = first.setdefault(variant.base, variant)
        for field in WEIGHTS_FIELDS:
            if getattr(variant, field) != getattr(other, field):
                raise ConfigError(
                    f"{where}: variant.{variant_id}.base: {variant.base!r} is that of "
                    f"{other.variant_id} too, whose {field} is another"
                )


def _variant(path: Path, variant_id: str, entry: VariantEntry) -> Variant:
    where = f"{path}: variant.{variant_id}"
    for name, side in (("width", entry.width), ("height", entry.height)):
        if side % entry.size_multiple:
            raise ConfigError(f"{where}.{name}: {side} is no multiple of its size_multiple")
        if side > entry.size_max:
            raise ConfigError(f"{where}.{name}: {side} is more than its size_max")
    if not entry.source and entry.pipeline != MOCK_PIPELINE:
        raise ConfigError(f"{where}.source: a folder, a .safetensors file or a hub id is missing")
    if entry.config and not entry.source.endswith(".safetensors"):
        raise ConfigError(f"{where}.config: only a .safetensors file has its settings elsewhere")
    values = entry.model_dump(exclude={"latency_s", "latency_by_device_s"})
    loras = [
        Lora(**{**lora.model_dump(), "source": _resolve(path, lora.source)}) for lora in entry.loras
    ]
    return Variant(
        variant_id=variant_id,
        **{
            **values,
            "source": _resolve(path, entry.source),
            "denoiser": _resolve(path, entry.denoiser),
            "safety_checker": _resolve(path, entry.safety_checker),
            "config": _resolve(path, entry.config),
            "scheduler_options": tuple(sorted(entry.scheduler_options.items())),
            "loras": tuple(loras),
        },
    )


def make_classes(
    path: Path, cascades: Mapping[str, CascadeEntry], entries: Mapping[str, ClassEntry]
) -> dict[str, RequestClass]:
    """Return the request classes of these cascades, those of one cascade included."""
    classes: dict[str, RequestClass] = {}
    grouped: dict[str, str] = {}
    for class_id, entry in entries.items():
        where = f"class.{class_id}.cascades"
        if class_id in cascades:
            raise ConfigError(f"{path}: class.{class_id}: a cascade has this name")
        for cascade_id in entry.cascades:
            _check_reference(path, where, cascade_id, cascades)
            if cascade_id in grouped:
                other = grouped[cascade_id]
                raise ConfigError(f"{path}: {where}: {cascade_id!r} is in class {other!r} already")
            grouped[cascade_id] = class_id
        if len({cascades[cascade_id].slo_s for cascade_id in entry.cascades}) > 1:
            raise ConfigError(f"{path}: {where}: they must have one slo_s")
        classes[class_id] = RequestClass(
            class_id=class_id, cascade_ids=entry.cascades, weight=entry.weight
        )
    for cascade_id in cascades:
        if cascade_id not in grouped:
            classes[cascade_id] = RequestClass(class_id=cascade_id, cascade_ids=(cascade_id,))
    return classes


def make_bypass(path: Path, cascade_id: str, entry: CascadeEntry) -> tuple[BypassPoint, ...]:
    """Return what a cascade's entry knows of bypassing."""
    points = []
    for index, row in enumerate(sorted(entry.bypass, key=lambda row: row.fraction)):
        where = f"cascade.{cascade_id}.bypass.{index}"
        curve = _located(
            path, where, QualityCurve, row.fractions, row.qualities, entry.quality.metric
        )
        points.append(_located(path, where, BypassPoint, row.fraction, curve))
    return tuple(points)


def _located(
    path: Path, where: str, make: Callable[..., ProfileT], *values: Any, **fields: Any
) -> ProfileT:
    """Make a profile; an error tells the file and the entry."""
    try:
        return make(*values, **fields)
    except ProfileError as error:
        raise ConfigError(f"{path}: {where}: {error}") from None


def _check_reference(path: Path, where: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ConfigError(f"{path}: {where}: no such entry {name!r}")


def _resolve(path: Path, source: str) -> str:
    """Make a relative directory absolute; hub ids (``owner/name``) stay as they are."""
    local = path.parent / source
    return str(local.resolve()) if source and local.exists() else source
