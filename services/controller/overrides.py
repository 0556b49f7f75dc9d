"""What operators decided in place of catalog and planner: SLOs, fixed shares, more cascades."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from diffserve.activation import Activation
from diffserve.catalog import Catalog
from diffserve.core import SLO_S_MAX, Cascade
from diffserve.errors import InputError


@dataclass(frozen=True, slots=True)
class Overrides:
    """Immutable: every change is a new value, mirrored to Redis with the next plan.

    Attributes:
        slo_s: ``cascade_id`` -> allowed duration.
        pins: ``cascade_id`` -> share of light images to defer.
        activation: Cascades beside the catalog's, and the default one; None: the catalog alone.
    """

    slo_s: Mapping[str, float] = field(default_factory=dict)
    pins: Mapping[str, float] = field(default_factory=dict)
    activation: Activation | None = None

    def cascade(self, cascade: Cascade) -> Cascade:
        """Return a cascade with the SLO in force."""
        slo_s = self.slo_s.get(cascade.cascade_id)
        return cascade if slo_s is None else replace(cascade, slo_s=slo_s)

    def with_slo(self, cascade_ids: Iterable[str], slo_s: float | None) -> Overrides:
        """Return these with another SLO of some cascades; None: the catalog's.

        Raises:
            InputError: it is no duration.
        """
        if slo_s is not None and not 0.0 < slo_s <= SLO_S_MAX:
            raise InputError("slo_s", f"must be above 0 and at most {SLO_S_MAX:g}, not {slo_s}")
        return replace(self, slo_s=_changed(self.slo_s, cascade_ids, slo_s))

    def with_pins(self, cascade_ids: Iterable[str], share: float | None) -> Overrides:
        """Return these with another fixed share of some cascades; None: the planner chooses.

        Raises:
            InputError: it is no share.
        """
        if share is not None and not 0.0 <= share <= 1.0:
            raise InputError("share", f"must be from 0 to 1, not {share}")
        return replace(self, pins=_changed(self.pins, cascade_ids, share))

    def sentences(self, catalog: Catalog) -> tuple[str, ...]:
        """Return what differs from the catalog, for the reason of a plan."""
        known = catalog.cascades
        slos = [
            f"the SLO of {c} is set to {s:g} s ({known[c].slo_s:g} s in the catalog)"
            for c, s in sorted(self.slo_s.items())
            if c in known
        ]
        pins = [
            f"the share deferred of {c} is pinned at {100 * share:g} %"
            for c, share in sorted(self.pins.items())
            if c in known
        ]
        activated = (
            [f"{self.activation.default_cascade} is activated as the default cascade"]
            if self.activation
            else []
        )
        return (*slos, *pins, *activated)

    def to_json(self) -> str:
        """Return these for Redis."""
        document = {"slo_s": dict(self.slo_s), "pins": dict(self.pins)}
        return json.dumps({**document, "activation": self.activation_json()})

    def activation_json(self) -> str:
        """Return what is activated, for plans; empty: nothing."""
        return self.activation.to_json() if self.activation else ""

    @classmethod
    def from_json(cls, document: str) -> Overrides:
        """Return the value behind ``to_json``.

        Raises:
            ValueError: it is no such document.
        """
        row = json.loads(document)
        if not isinstance(row, dict):
            raise ValueError(f"overrides: {document[:40]!r} is no object")
        text = row.get("activation")
        return cls(
            slo_s={str(c): float(s) for c, s in row.get("slo_s", {}).items()},
            pins={str(c): float(s) for c, s in row.get("pins", {}).items()},
            activation=Activation.from_json(text) if text else None,
        )


def _changed(
    values: Mapping[str, float], names: Iterable[str], value: float | None
) -> dict[str, float]:
    kept = {n: v for n, v in values.items() if n not in set(names)}
    return kept if value is None else kept | dict.fromkeys(names, value)
