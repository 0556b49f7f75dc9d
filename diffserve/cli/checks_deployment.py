"""Checks of what is to be run: settings, catalog and weights, ports and services."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from diffserve.catalog import MOCK_PIPELINE, Catalog, load_catalog
from diffserve.cli.findings import Finding, Level, settings_or_defaults
from diffserve.cli.output import joined
from diffserve.config import SECTIONS, load_settings
from diffserve.errors import ConfigError
from diffserve.rpc.probe import SERVING, probe


def check_settings() -> Iterator[Finding]:
    """Settings file and environment, for every service."""
    try:
        for section in SECTIONS.values():
            load_settings(section, environ=os.environ)
    except ConfigError as error:
        yield Finding("settings", Level.FAIL, str(error), "correct or remove that setting")
    else:
        yield Finding("settings", Level.OK, "file and environment are valid")


def check_catalog() -> Iterator[Finding]:
    """The catalog and the weights that it names."""
    try:
        catalog = load_catalog(settings_or_defaults().catalog)
    except ConfigError as error:
        yield Finding("catalog", Level.FAIL, str(error), "set DIFFSERVE_CATALOG to another one")
        return
    yield Finding("catalog", Level.OK, f"{catalog.name}: {joined(sorted(catalog.cascades))}")
    for name, source in _sources(catalog):
        path = Path(source)
        files = [path] if path.is_file() else path.rglob("*.safetensors")
        weights = [f for f in files if os.access(f, os.R_OK)]
        if weights:
            size = sum(file.stat().st_size for file in weights) / 1e6
            yield Finding("weights", Level.OK, f"{name}: {size:.1f} MB in {path.name}")
        elif path.is_absolute() or source.count("/") != 1:
            remedy = "restore the files, or correct `source` in the catalog"
            yield Finding("weights", Level.FAIL, f"{name}: no weights in {source}", remedy)
        else:
            detail = f"{name}: {source} is fetched from the hub at start"
            yield Finding("weights", Level.WARN, detail, "or give a local directory as `source`")


def check_services() -> Iterator[Finding]:
    """Each default port: free, ours, or somebody else's."""
    settings = settings_or_defaults()
    ports = {
        "controller": settings.controller_port,
        "loadbalancer": settings.loadbalancer_port,
        "worker": settings.worker_port,
        "discriminator": settings.discriminator_port,
    }
    for name, port in ports.items():
        if port == 0 or not _is_open(port):
            yield Finding("port", Level.OK, f"{name}: {port or 'any'} is free, nothing runs there")
            continue
        state = probe(f"127.0.0.1:{port}")
        if state == SERVING:
            yield Finding("port", Level.OK, f"{name}: serving on {port}")
        elif state == "NOT_SERVING":
            yield Finding("port", Level.WARN, f"{name}: {state} on {port}", "see its log")
        else:
            remedy = f"stop it, or set DIFFSERVE_UP_{name.upper()}_PORT"
            yield Finding("port", Level.FAIL, f"{name}: {port} is held by another program", remedy)


def _sources(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Return name and source of everything in the catalog that has weights."""
    for variant_id, variant in sorted(catalog.variants.items()):
        if variant.pipeline != MOCK_PIPELINE:
            yield variant_id, variant.source
    for discriminator_id, discriminator in sorted(catalog.discriminators.items()):
        if discriminator.scorer != MOCK_PIPELINE:
            yield discriminator_id, discriminator.source


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False
