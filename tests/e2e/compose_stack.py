"""The compose deployment as the test runs it: built, up, spoken to by the CLI, and taken down."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffserve.telemetry.server import free_port
from tests.e2e.compose_engine import Engine, run
from tests.e2e.compose_images import ensure_base_images, local_torch_index

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE_FILE = ROOT / "deploy" / "compose" / "compose.yaml"
BUILD_FILE = Path(__file__).parent / "compose.build.yaml"
BUILD_S = 1800.0
UP_S = 300
SERVICES = ("controller", "discriminator", "loadbalancer", "worker")


@dataclass(frozen=True, slots=True)
class ComposeStack:
    """One compose project on one engine.

    The user's compose file is used as it is. On a private engine ports are published inside its
    network namespace, which the CLI enters.

    Attributes:
        engine: Where it runs.
        project: Name of the compose project.
        catalog: What it serves.
        published: Settings of the published ports; empty for the defaults.
    """

    engine: Engine
    project: str
    catalog: str
    published: Mapping[str, str]

    def environ(self) -> dict[str, str]:
        chosen = {"DIFFSERVE_CATALOG": self.catalog, "IMAGE_TAG": "test"}
        return {**self.engine.environ(), **chosen, **self.published}

    def compose(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run the compose program on the user's file."""
        named = ("--project-name", self.project, "--file", str(COMPOSE_FILE))
        return run([*self.engine.compose, *named, *arguments], self.environ(), timeout_s)

    def cli(self, *arguments: str, timeout_s: float = 120.0) -> Any:
        """Run `diffserve ... --json` where the published ports are, and return its document."""
        command = [*self.engine.enter(), sys.executable, "-m", "diffserve.cli.main", *arguments]
        return json.loads(run([*command, "--json"], self.environ(), timeout_s))

    @property
    def door(self) -> str:
        return f"127.0.0.1:{self.published.get('PUBLISH_PORT', '50051')}"

    @property
    def admin(self) -> str:
        return f"127.0.0.1:{self.published.get('PUBLISH_ADMIN_PORT', '50050')}"

    def containers(self) -> list[dict[str, Any]]:
        """Return what the engine tells of each container, sorted by name."""
        label = f"label=com.docker.compose.project={self.project}"
        ids = self.engine.docker("ps", "--all", "--quiet", "--filter", label).split()
        told = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return sorted(told, key=lambda container: str(container["Name"]))

    def leftovers(self) -> list[str]:
        """Return what the engine still has of the project."""
        mine = ("--quiet", "--filter", f"label=com.docker.compose.project={self.project}")
        kinds = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        return [name for kind in kinds for name in self.engine.docker(*kind, *mine).split()]


def build_images(engine: Engine) -> tuple[str, ...]:
    """Build the images of all services; return the base images that had to be stood in."""
    stood_in = ensure_base_images(engine)
    files = [COMPOSE_FILE, *([BUILD_FILE] if engine.is_private else [])]
    named = [part for file in files for part in ("--file", str(file))]
    with local_torch_index() if engine.is_private else contextlib.nullcontext() as index:
        chosen = {"TORCH_INDEX_URL": index} if index else {}
        environ = {**engine.environ(), "IMAGE_TAG": "test", **chosen}
        run([*engine.compose, *named, "build", *SERVICES], environ, BUILD_S)
    return stood_in


@contextlib.contextmanager
def running(engine: Engine, catalog: str) -> Iterator[ComposeStack]:
    """Bring a project up, wait until every service is healthy, and take it down again."""
    published = {"PUBLISH_PORT": str(free_port()), "PUBLISH_ADMIN_PORT": str(free_port())}
    project = f"diffserve-test-{catalog}"
    stack = ComposeStack(engine, project, catalog, {} if engine.is_private else published)
    try:
        stack.compose(
            *("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(UP_S)),
            timeout_s=UP_S + 60.0,
        )
        yield stack
    except (AssertionError, subprocess.TimeoutExpired):
        print(stack.compose("ps", "--all"), stack.compose("logs", "--tail", "30"))
        raise
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")
