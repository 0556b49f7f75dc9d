"""Cascades that operators activate in a running deployment, beside those of its catalog file.

Only cascades and request classes can be added, of variants and discriminators that the deployment
knows: workers and discriminators load those of the file they were started with. A cascade never
changes under its name, so that queries in progress end as they began.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from diffserve.catalog import (
    CascadeEntry,
    Catalog,
    CatalogFile,
    ClassEntry,
    make_bypass,
    make_cascade,
    make_catalog,
    make_classes,
    make_deferral,
    make_quality,
    parse_entries,
)
from diffserve.errors import ConfigError

logger = logging.getLogger(__name__)

KEPT = Path("activated cascades")
"""Stands for the file in errors about what was activated before."""
SUFFIX = re.compile(r"[A-Za-z0-9._-]{1,32}")
_PLACES = frozenset({"source", "denoiser", "safety_checker", "config"})
"""Fields that are paths on some machine: only the last part must be the same."""
_MEASURED = frozenset({"memory_bytes", "load_s"})
"""Fields that say nothing of what is drawn."""


class Activation(BaseModel):
    """What is activated; immutable.

    Attributes:
        default_cascade: Cascade or request class of queries that name none.
        cascade: Entries by ``cascade_id``, as in catalogs.
        request_class: Entries by ``class_id``, as in catalogs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_cascade: str
    cascade: dict[str, CascadeEntry] = Field(default_factory=dict)
    request_class: dict[str, ClassEntry] = Field(default_factory=dict)

    def to_json(self) -> str:
        """Return this for plans and Redis."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Return the value behind ``to_json``.

        Raises:
            ValueError: it is no such document.
        """
        return cls.model_validate_json(document)

    def after(self, earlier: Activation | None) -> Activation:
        """Return this with what was activated before."""
        if earlier is None:
            return self
        return Activation(
            default_cascade=self.default_cascade,
            cascade={**earlier.cascade, **self.cascade},
            request_class={**earlier.request_class, **self.request_class},
        )


def activation_of(
    running: Catalog, path: Path, text: str, default: str, suffix: str = ""
) -> Activation:
    """Return what a catalog file adds to a running deployment.

    Args:
        running: What the deployment serves now.
        path: Of the file, for errors; the file need not be on this machine.
        text: What the file says.
        default: Cascade or request class of the file that becomes the default; empty: its own.
        suffix: Added, after a dash, to the names of its cascades and classes, so that changed ones
            can be served beside their former selves; empty: they keep their names.

    Raises:
        ConfigError: the file or the suffix is wrong, or the file holds what the deployment does
            not know or knows otherwise; names the file and the field.
    """
    file = parse_entries(path, text, CatalogFile)
    default = default or file.default_cascade
    if suffix:
        file, default = _renamed(file, suffix), f"{default}-{suffix}"
    given = make_catalog(path, file)
    if default not in {**given.cascades, **given.classes}:
        known = ", ".join(sorted({**given.cascades, **given.classes}))
        raise ConfigError(f"{path}: no cascade {default!r} to make the default; there is {known}")
    for cascade_id in given.cascades:
        _check_models(path, cascade_id, given, running)
        _check_name(path, cascade_id, given, running)
    _check_classes(path, file, given, running)
    return Activation(
        default_cascade=default,
        cascade={c: row for c, row in file.cascade.items() if c not in running.cascades},
        request_class={c: row for c, row in file.request_class.items() if c not in running.classes},
    )


def extended(catalog: Catalog, activation: Activation) -> Catalog:
    """Return a catalog with what was activated; cascades that it has stay as they are.

    Raises:
        ConfigError: it lacks what the activation refers to; names the field.
    """
    new = {c: entry for c, entry in activation.cascade.items() if c not in catalog.cascades}
    for cascade_id, entry in new.items():
        where = f"{KEPT}: cascade.{cascade_id}"
        for field in ("light", "heavy"):
            _check_known(f"{where}.{field}", getattr(entry, field), catalog.variants)
        _check_known(f"{where}.discriminator", entry.discriminator, catalog.discriminators)
    groups = {
        class_id: entry
        for class_id, entry in activation.request_class.items()
        if class_id not in catalog.classes and new.keys() >= set(entry.cascades)
    }
    classes = {**catalog.classes, **make_classes(KEPT, new, groups)}
    cascades = {**catalog.cascades, **{c: make_cascade(c, entry) for c, entry in new.items()}}
    _check_known(f"{KEPT}: default_cascade", activation.default_cascade, {**cascades, **classes})
    bypass = {c: make_bypass(KEPT, c, entry) for c, entry in new.items() if entry.bypass}
    deferral = {c: make_deferral(KEPT, c, entry) for c, entry in new.items()}
    quality = {c: make_quality(KEPT, c, entry) for c, entry in new.items()}
    return replace(
        catalog,
        default_cascade=activation.default_cascade,
        cascades=cascades,
        classes=classes,
        deferral={**catalog.deferral, **deferral},
        quality={**catalog.quality, **quality},
        bypass={**catalog.bypass, **bypass},
    )


class CatalogInForce:
    """What is served: the catalog a process started with, and what plans add to it.

    Attributes:
        current: The catalog in force.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Start with the catalog of the settings."""
        self.current = catalog
        self._own = catalog
        self._activation = ""

    @property
    def names(self) -> list[str]:
        """What requests may name: classes and cascades, sorted."""
        return sorted({*self.current.classes, *self.current.cascades})

    def follow(self, activation: str, plan_id: int) -> bool:
        """Take over what a newer plan says is activated; return whether that is news.

        What does not fit the own catalog changes nothing: queries are served as before.

        Args:
            activation: ``Activation.to_json``; empty: nothing is.
            plan_id: The plan's.
        """
        if activation == self._activation:
            return False
        self._activation = activation
        try:
            self.current = (
                extended(self._own, Activation.from_json(activation)) if activation else self._own
            )
        except (ConfigError, ValueError) as error:
            logger.error("plan %d: %s; the cascades stay as they were", plan_id, error)
            return False
        logger.info("the default cascade is %s", self.current.default_cascade)
        return True


def _renamed(file: CatalogFile, suffix: str) -> CatalogFile:
    """Return a file whose cascades and classes have other names."""
    if not SUFFIX.fullmatch(suffix):
        raise ConfigError(f"suffix: must be 1 to 32 of A-Z a-z 0-9 . _ -, not {suffix[:40]!r}")
    classes = {
        f"{class_id}-{suffix}": entry.model_copy(
            update={"cascades": tuple(f"{c}-{suffix}" for c in entry.cascades)}
        )
        for class_id, entry in file.request_class.items()
    }
    return file.model_copy(
        update={
            "default_cascade": f"{file.default_cascade}-{suffix}",
            "cascade": {f"{c}-{suffix}": entry for c, entry in file.cascade.items()},
            "request_class": classes,
        }
    )


def _check_known(where: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        there = ", ".join(sorted(known))
        raise ConfigError(f"{where}: the running deployment has no {name!r}; there is {there}")


def _check_models(path: Path, cascade_id: str, given: Catalog, running: Catalog) -> None:
    """Check that a cascade's models are there, and are the same ones."""
    cascade, where = given.cascades[cascade_id], f"{path}: cascade.{cascade_id}"
    for field in ("light", "heavy"):
        variant_id = getattr(cascade, field)
        _check_known(f"{where}.{field}", variant_id, running.variants)
        _check_same(
            f"{path}: variant.{variant_id}",
            given.variants[variant_id],
            running.variants[variant_id],
        )
    name = cascade.discriminator
    _check_known(f"{where}.discriminator", name, running.discriminators)
    _check_same(
        f"{path}: discriminator.{name}", given.discriminators[name], running.discriminators[name]
    )


def _check_name(path: Path, cascade_id: str, given: Catalog, running: Catalog) -> None:
    """Check that a cascade's name is free, or its own already."""
    where = f"{path}: cascade.{cascade_id}"
    if cascade_id not in running.cascades:
        if cascade_id in running.classes:
            raise ConfigError(f"{where}: the running deployment has a class of this name")
        return
    _check_same(where, given.cascades[cascade_id], running.cascades[cascade_id])
    for field in ("deferral", "quality", "bypass"):
        ours, theirs = getattr(given, field), getattr(running, field)
        if ours.get(cascade_id) != theirs.get(cascade_id):
            raise ConfigError(
                f"{where}.{field}: differs from the running deployment's; "
                "a changed cascade needs a new name, or a suffix"
            )


def _check_classes(path: Path, file: CatalogFile, given: Catalog, running: Catalog) -> None:
    """Check that no class takes a name or a cascade that is taken."""
    for class_id in file.request_class:
        where = f"{path}: class.{class_id}"
        if class_id in running.classes:
            _check_same(where, given.classes[class_id], running.classes[class_id])
            continue
        for cascade_id in given.classes[class_id].cascade_ids:
            if cascade_id in running.cascades:
                raise ConfigError(
                    f"{where}.cascades: {cascade_id!r} is in a class of the running deployment "
                    "already; a new class needs new cascades"
                )


def _check_same(where: str, given: Any, running: Any) -> None:
    """Check that two entries say the same, wherever their files lie."""
    ours, theirs = _comparable(asdict(given)), _comparable(asdict(running))
    for field, value in ours.items():
        if value != theirs[field]:
            raise ConfigError(
                f"{where}.{field}: is {value!r}, but {theirs[field]!r} in the running deployment; "
                "what differs needs a new name, cascades can get a suffix"
            )


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in row.items() if name not in _MEASURED}
    for name in _PLACES & fields.keys():
        fields[name] = Path(fields[name]).name
    if "loras" in fields:
        fields["loras"] = [_comparable(lora) for lora in fields["loras"]]
    return fields
