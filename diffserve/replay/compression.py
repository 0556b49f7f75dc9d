"""The same deployment with all seconds divided by a factor: a catalog and settings of its own.

Only what the catalog and the settings say is divided. Constants of the policy (how long demand is
remembered, how early a waiting batch is launched) stay as they are, so a compressed deployment is
a slightly different one; the simulator is given the same catalog and settings and differs in the
same way. What the network, the operating system and the solver take does not shrink either: the
larger the factor, the more these weigh.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffserve.catalog import MOCK_PIPELINE, SHIPPED
from diffserve.config import PREFIX, ControllerSettings, LoadBalancerSettings, load_settings

IMAGE_SIDE = 64
"""Pixels of a mock's images. They carry no information, and all workers share one machine, which
would spend most of its time on their encoding: 27 ms of CPU per query at 512 pixels, 7 at 64."""

SOLVER = "cbc"
"""Needs no licence, so a replay is the same on every machine."""


def write_catalog(name: str, time_compression: float, path: Path) -> None:
    """Write a catalog of mocks with all its seconds divided.

    Args:
        name: A shipped catalog, or the path of a TOML file; its sources must not be relative.
        time_compression: What to divide by, above 0.
        path: Where to write; its stem names the new catalog.
    """
    source = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    path.write_text(to_toml(_compressed(document, time_compression)), encoding="utf-8")


def compressed_settings(time_compression: float) -> dict[str, str]:
    """Return settings of the services as environment variables, periods and margins divided.

    The lease of a worker and time-outs stay: they only matter when something is broken.
    """
    controller = load_settings(ControllerSettings, environ={})
    loadbalancer = load_settings(LoadBalancerSettings, environ={})
    seconds = {
        "CONTROLLER_PLANNING_PERIOD_S": controller.planning_period_s,
        "CONTROLLER_SOLVER_TIME_LIMIT_S": controller.solver_time_limit_s,
        "LOADBALANCER_TELEMETRY_PERIOD_S": loadbalancer.telemetry_period_s,
        "LOADBALANCER_ANSWER_MARGIN_S": loadbalancer.answer_margin_s,
    }
    divided = {f"{PREFIX}{name}": repr(s / time_compression) for name, s in seconds.items()}
    return {**divided, f"{PREFIX}CONTROLLER_SOLVER": SOLVER}


def _compressed(document: Mapping[str, Any], time_compression: float) -> dict[str, Any]:
    def divided(seconds: Mapping[str, float]) -> dict[str, float]:
        return {key: value / time_compression for key, value in seconds.items()}

    variants = {}
    for variant_id, variant in document["variant"].items():
        by_device = variant.get("latency_by_device_s", {})
        variants[variant_id] = {
            **variant,
            "latency_s": divided(variant["latency_s"]),
            "latency_by_device_s": {kind: divided(row) for kind, row in by_device.items()},
            "load_s": variant.get("load_s", 0.0) / time_compression,
        }
        if variant["pipeline"] == MOCK_PIPELINE:
            variants[variant_id] |= {"width": IMAGE_SIDE, "height": IMAGE_SIDE}
    cascades = {
        cascade_id: {**cascade, "slo_s": cascade["slo_s"] / time_compression}
        for cascade_id, cascade in document["cascade"].items()
    }
    return {**document, "variant": variants, "cascade": cascades}


def to_toml(document: Mapping[str, Any]) -> str:
    """Return a document of tables, lists of tables, and lists, texts and numbers as TOML."""
    return "\n".join(_lines(document, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the values of a table, then its tables: values after a header belong to that."""
    tables = {}
    for key, value in table.items():
        if isinstance(value, dict) or _is_list_of_tables(value):
            tables[key] = value
        else:
            # What JSON makes of texts, numbers and flat lists is TOML too.
            yield f"{json.dumps(key)} = {json.dumps(value)}"
    for key, value in tables.items():
        inner = (*path, key)
        header = ".".join(json.dumps(part) for part in inner)
        if isinstance(value, dict):
            yield f"[{header}]"
            yield from _lines(value, inner)
            continue
        for entry in value:
            yield f"[[{header}]]"
            yield from _lines(entry, inner)


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
