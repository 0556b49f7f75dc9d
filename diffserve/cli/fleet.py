"""Which processes ``diffserve up`` runs: ports, flags, environment. Starts nothing."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffserve
from diffserve.config import PREFIX, SharedSettings, UpSettings, WorkerSettings, load_settings
from diffserve.errors import ConfigError
from diffserve.rpc.listening import host_problem
from diffserve.telemetry.server import find_server_binary, free_port, server_command

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One process to run.

    Attributes:
        name: For people and the log file: ``worker-0``.
        kind: ``redis``, ``controller``, ``discriminator``, ``worker`` or ``loadbalancer``.
        command: Program and arguments.
        address: ``host:port`` at which this machine reaches it.
        environment: Variables besides the supervisor's own.
        metrics: ``host:port`` of its ``/metrics``; empty for Redis.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    address: str
    environment: Mapping[str, str] = field(default_factory=dict)
    metrics: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything that one ``diffserve up`` runs.

    Attributes:
        stages: Started in this order, each once the one before serves; stopped in reverse.
        redis_url: The Redis that all of them use.
        loadbalancer: Address of the clients' door by gRPC.
        http: Address of the HTTP API and the web page.
        controller: Address of Controller and Admin.
        catalog: Name or file of what is served.
    """

    stages: tuple[tuple[ChildSpec, ...], ...]
    redis_url: str
    loadbalancer: str
    http: str
    controller: str
    catalog: str

    def children(self) -> tuple[ChildSpec, ...]:
        """Return all processes in starting order."""
        return tuple(child for stage in self.stages for child in stage)


def checkout_root() -> Path:
    """Return the directory that holds ``services/``, which is not part of the wheel.

    Raises:
        ConfigError: DiffServe is installed without a checkout.
    """
    root = Path(diffserve.__file__).resolve().parent.parent
    if not (root / "services" / "controller" / "__main__.py").exists():
        raise ConfigError(
            f"this needs a checkout of DiffServe: there is no services/ next to "
            f"{root / 'diffserve'}; clone the repository and run `make serve` there"
        )
    return root


def num_workers(settings: UpSettings, cores: int) -> int:
    """Return how many workers to run; by default one per core, and one for each stage at least."""
    return settings.num_workers or max(2, cores)


def plan_fleet(
    settings: UpSettings, flags: Mapping[str, Any], run_directory: Path, cores: int
) -> Fleet:
    """Lay out all processes.

    Args:
        settings: Of ``diffserve up``; a port of 0 is replaced by a free one.
        flags: What was given on the command line; shared settings among it go to every service,
            while those from the environment or a file reach the services by themselves.
        run_directory: Where the Redis child may write.
        cores: CPU cores of this machine.

    Raises:
        ConfigError: no Redis server to run, or a port is taken.
    """
    workers = num_workers(settings, cores)
    ports = _ports(settings, workers)
    address = {name: f"{_reachable(settings.host)}:{port}" for name, port in ports.items()}
    redis_url = settings.redis_url or f"redis://{LOOPBACK}:{ports['redis']}/0"
    shared = {
        **{name: value for name, value in flags.items() if name in SharedSettings.model_fields},
        "redis_url": redis_url,
        "catalog": settings.catalog,
        "controller_address": address["controller"],
        "host": settings.host,
    }
    environment = {
        **_thread_environment(workers, cores),
        **_scoring_environment(),
        **_grpc_environment(),
    }

    def service(name: str, kind: str, **own: str) -> ChildSpec:
        # The load balancer has an HTTP port already.
        metrics_port = own.get("http_port")
        if metrics_port is None:
            ports[f"{name} metrics"] = free_port(ports.values())
            metrics_port = str(ports[f"{name} metrics"])
        own.setdefault("metrics_port", "0" if "http_port" in own else metrics_port)
        return ChildSpec(
            name=name,
            kind=kind,
            command=(
                *(sys.executable, "-m", f"services.{kind}"),
                *_flags({**shared, "port": ports[name], **own}),
            ),
            address=address[name],
            environment=environment,
            metrics=f"{_reachable(settings.host)}:{metrics_port}",
        )

    def worker(name: str) -> ChildSpec:
        return service(
            name,
            "worker",
            worker_id=name,
            advertise_address=address[name],
            discriminator_address=address["discriminator"],
        )

    redis = () if settings.redis_url else ((_redis(ports["redis"], run_directory),),)
    return Fleet(
        stages=(
            *redis,
            (service("controller", "controller"), service("discriminator", "discriminator")),
            tuple(worker(name) for name in _worker_names(workers)),
            (service("loadbalancer", "loadbalancer", http_port=str(ports["http"])),),
        ),
        redis_url=redis_url,
        loadbalancer=address["loadbalancer"],
        http=address["http"],
        controller=address["controller"],
        catalog=settings.catalog,
    )


def _worker_names(workers: int) -> list[str]:
    return [f"worker-{index}" for index in range(workers)]


def _flags(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield f"--{name.replace('_', '-')}={value}"


def _reachable(host: str) -> str:
    """Return an address at which this machine reaches what listens on ``host``."""
    return LOOPBACK if host in ("0.0.0.0", "[::]") else host


def _redis(port: int, run_directory: Path) -> ChildSpec:
    return ChildSpec(
        name="redis",
        kind="redis",
        command=tuple(server_command(find_server_binary(), port, run_directory)),
        address=f"{LOOPBACK}:{port}",
    )


def _thread_environment(workers: int, cores: int) -> dict[str, str]:
    """Return variables that keep the workers from fighting for cores.

    Two processes with a thread per core each are many times slower than with half the cores each:
    OpenMP threads spin while they wait for one another.
    """
    threads = str(max(1, cores // workers))
    defaults = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    chosen = {name: os.environ.get(name, value) for name, value in defaults.items()}
    if load_settings(WorkerSettings, environ=os.environ).num_threads == 0:
        chosen[f"{PREFIX}WORKER_NUM_THREADS"] = threads
    return chosen


def _scoring_environment() -> dict[str, str]:
    """Return variables that have workers score their own images, unless the user chose."""
    chosen = load_settings(WorkerSettings, environ=os.environ).scoring
    return {f"{PREFIX}WORKER_SCORING": "local"} if chosen == "auto" else {}


def _grpc_environment() -> dict[str, str]:
    """Return variables that gRPC reads when it is imported.

    With its older poller a message on an open stream takes 0.14 ms there and back instead of 0.22
    (docs/results/overhead.md). The images set the same.
    """
    name = "GRPC_EXPERIMENTS"
    return {name: os.environ.get(name, "-event_engine_client,-event_engine_listener")}


def _ports(settings: UpSettings, workers: int) -> dict[str, int]:
    """Give every process its port; workers take the next free numbers after the first.

    Raises:
        ConfigError: the host is not this machine's, or a port is taken or asked for twice; names
            the setting.
    """
    if problem := host_problem(settings.host):
        raise ConfigError(
            f"up.host: cannot listen on {settings.host} ({problem}); give an address of this "
            f"machine with --host or {PREFIX}UP_HOST, 0.0.0.0 for all of them"
        )
    wanted = {
        "controller": ("controller_port", settings.controller_port),
        "loadbalancer": ("loadbalancer_port", settings.loadbalancer_port),
        "http": ("http_port", settings.http_port),
        "discriminator": ("discriminator_port", settings.discriminator_port),
    }
    if not settings.redis_url:
        wanted["redis"] = ("redis_port", settings.redis_port)
    ports: dict[str, int] = {}
    taken = ports.values()
    for name, (setting, port) in wanted.items():
        if port and port in taken:
            raise ConfigError(f"up.{setting}: {port} is also the port of another service")
        ports[name] = _claim(settings.host, setting, port) if port else free_port(taken)
    candidate = settings.worker_port
    for name in _worker_names(workers):
        while candidate and candidate in taken:
            candidate += 1
        ports[name] = (
            _claim(settings.host, "worker_port", candidate) if candidate else free_port(taken)
        )
        candidate = candidate and candidate + 1
    return ports


def _claim(host: str, setting: str, port: int) -> int:
    """Return the port when it can be listened on now."""
    with socket.socket() as probe:
        # Without this, connections of an earlier run that linger in TIME_WAIT look like an owner.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            variable = f"{PREFIX}UP_{setting.upper()}"
            raise ConfigError(
                f"up.{setting}: cannot listen on {host}:{port} ({_why(error)}); stop what "
                f"holds it, or choose another port with --{setting.replace('_', '-')} or {variable}"
            ) from None
    return port


def _why(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
