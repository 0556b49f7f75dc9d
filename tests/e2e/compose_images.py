"""Base images for the compose test: pulled, or stood in where no image registry can be reached.

A stand-in carries the real tag but is made from Debian packages by debootstrap. It is made for the
test's private engine only: nobody's own engine should hold an image under a false name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from tests.e2e.compose_engine import Engine, UnavailableError, run

PULL_S = 300.0
DEBOOTSTRAP_S = 600.0
INDEX_PORT = 50991
CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")


def _finish_python(root: Path) -> None:
    """Put Python where the official image has it."""
    for name in ("python", "python3", "python3.11"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
    (root / "usr/local/bin/pip").symlink_to("/usr/bin/pip3")


def _finish_redis(root: Path) -> None:
    """Give the server's user the volume directory of the official image."""
    (root / "data").mkdir()
    run(["chroot", str(root), "chown", "redis:redis", "/data"], os.environ, 10.0)


@dataclass(frozen=True, slots=True)
class StandIn:
    """How to make an image that does for an official one.

    Attributes:
        packages: Debian packages beside the minimal system.
        finish: Changes the unpacked system.
        changes: Dockerfile instructions applied on import.
    """

    packages: tuple[str, ...]
    finish: Callable[[Path], None]
    changes: tuple[str, ...] = field(default=())


STAND_INS: Mapping[str, StandIn] = {
    "python:3.11-slim-bookworm": StandIn(
        packages=("ca-certificates", "python3", "python3-pip", "python3-venv"),
        finish=_finish_python,
        changes=("ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",),
    ),
    "redis:7-bookworm": StandIn(
        packages=("redis-server",), finish=_finish_redis, changes=("WORKDIR /data",)
    ),
}
"""Official image -> its stand-in; the only list of base images."""


def ensure_base_images(engine: Engine) -> tuple[str, ...]:
    """Make every base image available; return the tags that are stood in.

    Raises:
        UnavailableError: an image can neither be pulled nor stood in.
    """
    return tuple(tag for tag in STAND_INS if not _pulled(engine, tag) and _stood_in(engine, tag))


def _pulled(engine: Engine, tag: str) -> bool:
    if _has(engine, tag):
        return True
    asked = ["docker", "pull", "--quiet", tag]
    environ = dict(engine.environ())
    return not subprocess.run(asked, env=environ, capture_output=True, timeout=PULL_S).returncode


def _has(engine: Engine, tag: str) -> bool:
    asked = ["docker", "image", "inspect", tag]
    return not subprocess.run(asked, env=dict(engine.environ()), capture_output=True).returncode


def _stood_in(engine: Engine, tag: str) -> bool:
    if not engine.is_private or not shutil.which("debootstrap"):
        raise UnavailableError(
            f"cannot pull {tag}; a stand-in is made only for the test's private engine, with "
            "`apt-get install debootstrap`"
        )
    stand_in = STAND_INS[tag]
    with TemporaryDirectory(prefix="diffserve-image-") as directory:
        root = Path(directory) / "root"
        include = f"--include={','.join(stand_in.packages)}"
        bootstrap = ["debootstrap", "--variant=minbase", include, "bookworm", str(root)]
        run(bootstrap, os.environ, DEBOOTSTRAP_S)
        stand_in.finish(root)
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / leftover)
        changes = [*stand_in.changes, *_trust_the_same_authorities(root)]
        archive = f"{directory}/root.tar"
        run(["tar", "-C", str(root), "-cf", archive, "."], os.environ, 120.0)
        options = [part for change in changes for part in ("--change", change)]
        engine.docker("import", *options, archive, tag, timeout_s=120.0)
    return True


def _trust_the_same_authorities(root: Path) -> list[str]:
    """Let package downloads of a build pass where the host's do, behind a proxy say."""
    if not CA_FILE.exists():
        return []
    copy = root / CA_FILE.relative_to("/")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(CA_FILE, copy)
    index = os.environ.get("PIP_INDEX_URL")
    return [f"ENV PIP_CERT={CA_FILE}", *([f"ENV PIP_INDEX_URL={index}"] if index else [])]


@contextmanager
def local_torch_index() -> Iterator[str | None]:
    """Serve torch wheels of pip's find-links directories on loopback, as a package index.

    Yields:
        The index's URL; None when no such directory holds a torch wheel, so that the build asks
        the index its Dockerfile names.
    """
    wheels = [wheel for folder in _find_links() for wheel in folder.glob("torch-*.whl")]
    if not wheels:
        yield None
        return
    with TemporaryDirectory(prefix="diffserve-index-") as directory:
        (Path(directory) / "torch").mkdir()
        for wheel in wheels:
            (Path(directory) / "torch" / wheel.name).symlink_to(wheel)
        handler = partial(_QuietHandler, directory=directory)
        with _loopback_server(handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()


def _find_links() -> list[Path]:
    asked = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    configured = subprocess.run(asked, capture_output=True, text=True).stdout
    places = [*os.environ.get("PIP_FIND_LINKS", "").split(), *configured.split()]
    return [Path(place) for place in dict.fromkeys(places)]


def _loopback_server(handler: Callable[..., SimpleHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Listen where the last run did, if possible: with another URL, torch is installed again."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", INDEX_PORT), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""
