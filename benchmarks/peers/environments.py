"""The peers: which release of each, in an environment of its own, and how it is started."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers.processes import ROOT, PeerError

HOME = ROOT / "build" / "peers"
LOOPBACK = "127.0.0.1"
INSTALL_TIMEOUT_S = 900.0
SYSTEM_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A general server.

    Attributes:
        name: On the command line, and of its environment.
        title: As its makers write it.
        requirement: What is installed.
        path: Where its HTTP door takes a query of the single worker.
        health_path: Where it says whether it is well.
        has_cascade: Whether there is an adapter for the cascade.
        drops_left: Whether it drops what waits when its client leaves.
        tuned: Variables with which it is faster than as it comes; empty: none that we know.
        pythons: What its environment's Python may report as version, to be taken from the system
            where ours is another; empty: any.
    """

    name: str
    title: str
    requirement: str
    path: str = "/"
    health_path: str = "/healthz"
    has_cascade: bool = False
    drops_left: bool = False
    tuned: Mapping[str, str] = field(default_factory=dict)
    pythons: Sequence[str] = ()

    @property
    def directory(self) -> Path:
        """Its environment."""
        return HOME / self.name

    def command(self, kind: str, port: int) -> Sequence[str]:
        """Return what starts its adapter, ``cascade`` or ``worker``."""
        adapter = f"benchmarks.peers.adapters.{self.name}_{kind}"
        programs = self.directory / "bin"
        if self.name != "bentoml":
            return (str(programs / "python"), "-m", adapter)
        served = f"{adapter}:{kind.capitalize()}"
        # By default a service closes connections after 5 s that its caller may be about to use.
        flags = ("--host", LOOPBACK, "--port", str(port), "--timeout-keep-alive", "600")
        return (str(programs / "bentoml"), "serve", served, *flags)

    def query(self, kind: str, number: int) -> dict[str, Any]:
        """Return the body of a query."""
        # What BentoML batches are lists.
        if self.name == "bentoml" and kind == "worker":
            return {"numbers": [number]}
        if self.name == "pytriton":
            row = {"name": "number", "shape": [1, 1], "datatype": "INT32", "data": [number]}
            return {"inputs": [row]}
        return {"number": number}


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="ray",
            title="Ray Serve",
            requirement="ray[serve]==2.60.0",
            health_path="/-/healthz",
            drops_left=True,
            # Its guide's settings for throughput; the door stays its proxy.
            tuned={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"},
            has_cascade=True,
        ),
        Peer(name="bentoml", title="BentoML", requirement="bentoml==1.4.39", has_cascade=True),
        Peer(
            name="mosec",
            title="Mosec",
            requirement="mosec==0.9.8",
            path="/inference",
            health_path="/",
        ),
        Peer(
            name="litserve",
            title="LitServe",
            requirement="litserve==0.2.19",
            path="/predict",
            health_path="/health",
            tuned={"LITSERVE_FAST_QUEUE": "1"},
        ),
        Peer(
            name="kserve",
            title="KServe",
            requirement="kserve==0.21.0",
            path="/v1/models/mock:predict",
            health_path="/v2/health/live",
        ),
        Peer(
            name="pytriton",
            title="PyTriton",
            requirement="nvidia-pytriton==0.7.0",
            path="/v2/models/mock/infer",
            health_path="/v2/health/live",
            # Its Triton brings an interpreter that later standard libraries do not run on.
            pythons=tuple(f"3.11.{patch}" for patch in range(5)),
        ),
    )
}

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    # By default queries wait up to half a second for a replica that is free already.
    "RAY_SERVE_ROUTER_RETRY_INITIAL_BACKOFF_S": "0.005",
    "RAY_SERVE_ROUTER_RETRY_MAX_BACKOFF_S": "0.01",
}
"""No peer reports to its makers from here."""


def install(peer: Peer) -> None:
    """Make the peer's environment, unless it is there.

    Raises:
        PeerError: it cannot be installed here.
    """
    stamp = peer.directory / "installed.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == peer.requirement:
        return
    peer.directory.parent.mkdir(parents=True, exist_ok=True)
    _run((python_of(peer), "-m", "venv", "--clear", str(peer.directory)))
    pip = (str(peer.directory / "bin" / "python"), "-m", "pip", "install", "--quiet")
    _run((*pip, "--disable-pip-version-check", peer.requirement))
    stamp.write_text(peer.requirement, encoding="utf-8")


def python_of(peer: Peer) -> str:
    """Return the Python that the peer's environment is made with.

    Raises:
        PeerError: it runs on none that is here.
    """
    if not peer.pythons or platform.python_version() in peer.pythons:
        return sys.executable
    say = "import platform; print(platform.python_version())"
    with contextlib.suppress(OSError):
        told = subprocess.run((SYSTEM_PYTHON, "-c", say), capture_output=True, text=True)
        if told.stdout.strip() in peer.pythons:
            return SYSTEM_PYTHON
    raise PeerError(
        f"not installed: needs Python {peer.pythons[0]} to {peer.pythons[-1]}, here or at "
        f"{SYSTEM_PYTHON}"
    )


def installed_bytes(peer: Peer) -> int:
    """Return the size of the peer's environment on disk."""
    files = (path for path in peer.directory.rglob("*") if not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.is_file())


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired as failure:
        raise PeerError(f"not installed within {failure.timeout:g} s") from failure
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise PeerError(f"not installed: {lines[-1] if lines else done.returncode}")
