"""``diffserve workers scale``: more or fewer worker containers of a compose project."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from diffserve.cli.connection import CALL_TIMEOUT_S
from diffserve.cli.output import CliError, emit_json, joined, stderr, stdout
from diffserve.cli.replica import (
    ONE_OFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    clone,
    devices_of,
    number_of,
)
from diffserve.rpc.channel import open_sync_channel
from diffserve.rpc.v1 import admin_pb2
from diffserve.rpc.v1.admin_pb2_grpc import AdminStub

POLL_S = 0.5
STOP_S = 30
"""Seconds a container is given to drain where its configuration names none."""
LOG_LINES = 5

Report = Callable[[str], None]


def scale_workers(num_workers: int, project: str, *, as_json: bool) -> None:
    """Run this many worker containers, and return when all of them are healthy.

    Further replicas are copies of an existing one's configuration. Surplus ones, the highest
    number first, finish what they run before they are removed.

    Args:
        num_workers: How many, 1 or more.
        project: Name of the compose project.
        as_json: Print one JSON document and no progress.

    Raises:
        CliError: the docker package, the engine or the project is missing, or a replica failed.
    """
    if num_workers < 1:
        raise CliError("the number of workers must be 1 or more", exit_code=2)
    with _engine() as client, _progress(as_json) as report:
        workers = _containers(client, project, "worker")
        if not workers:
            raise CliError(_missing(client, project))
        removed = _shrink(client, project, workers[num_workers:], report)
        kept = workers[:num_workers]
        started = _grow(client, kept, num_workers, report)
        running = [*kept, *started]
        _wait_until_healthy(running, report)
    document = {
        "project": project,
        "workers": sorted((container.name for container in running), key=_natural),
        "started": [container.name for container in started],
        "removed": removed,
    }
    if as_json:
        emit_json(document)
        return
    noun = "worker" if num_workers == 1 else "workers"
    stdout().print(
        f"{project}: {num_workers} {noun}; started {joined(document['started'], 'none')}, "
        f"removed {joined(removed, 'none')}",
        markup=False,
    )


@contextlib.contextmanager
def _engine() -> Iterator[Any]:
    """Open a client of the Docker engine; what the engine refuses becomes a ``CliError``."""
    try:
        import docker
    except ImportError:
        raise CliError(
            "scaling needs the docker package: pip install 'diffserve[docker]'", exit_code=2
        ) from None
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        raise CliError(f"no Docker engine answers (DOCKER_HOST names another): {error}") from None
    with contextlib.closing(client):
        try:
            yield client
        except docker.errors.APIError as error:
            raise CliError(f"the Docker engine refused: {error.explanation or error}") from None


@contextlib.contextmanager
def _progress(as_json: bool) -> Iterator[Report]:
    if as_json:
        yield lambda _: None
        return
    with stderr().status("looking for workers") as display:
        yield display.update


def _containers(client: Any, project: str, service: str) -> list[Any]:
    """Return the containers of a service, stopped ones included, by number."""
    labels = [
        f"{PROJECT_LABEL}={project}",
        f"{SERVICE_LABEL}={service}",
        f"{ONE_OFF_LABEL}=False",
    ]
    found = client.containers.list(all=True, filters={"label": labels})
    return sorted(found, key=lambda container: number_of(container.attrs))


def _missing(client: Any, project: str) -> str:
    every = client.containers.list(filters={"label": [PROJECT_LABEL, f"{SERVICE_LABEL}=worker"]})
    others = sorted({container.labels[PROJECT_LABEL] for container in every})
    hint = f"projects with workers: {joined(others)}" if others else "start it: docker compose up"
    return f"compose project {project!r} has no worker containers; {hint}"


def _grow(client: Any, kept: Sequence[Any], num_workers: int, report: Report) -> list[Any]:
    """Start stopped replicas and create missing ones; returns the created ones."""
    for container in kept:
        if container.status != "running":
            report(f"{container.name}: starting")
            container.start()
    taken = {number_of(container.attrs) for container in kept}
    numbers = [number for number in range(1, num_workers + 1) if number not in taken]
    created: list[Any] = []
    for number in numbers[: num_workers - len(kept)]:
        report(f"worker {number}: starting")
        created.append(_start_replica(client, [*kept, *created], number))
    return created


def _start_replica(client: Any, workers: Sequence[Any], number: int) -> Any:
    template = workers[0]
    devices = [device for container in workers for device in devices_of(container.attrs)]
    replica = clone(template.attrs, number, _image_of(client, template), devices)
    created = client.api.create_container_from_config(replica.config, replica.name)
    container = client.containers.get(created["Id"])
    try:
        for network, endpoint in replica.further_networks.items():
            client.networks.get(network).connect(container, aliases=endpoint["Aliases"])
        container.start()
    except Exception:
        # A container that could not start would count as a worker next time.
        container.remove(force=True)
        raise
    container.reload()
    return container


def _image_of(client: Any, container: Any) -> str:
    """Return the image by name, or by id where the name meanwhile means a newer build."""
    name, image_id = container.attrs["Config"]["Image"], container.attrs["Image"]
    return str(name if name in client.images.get(image_id).tags else image_id)


def _shrink(client: Any, project: str, surplus: Sequence[Any], report: Report) -> list[str]:
    """Drain and remove containers, the highest number first; returns their names."""
    for container in reversed(surplus):
        report(f"{container.name}: draining")
        _take_out_of_plan(client, project, container)
        # The signal drains too: accepted batches finish within the container's own grace.
        container.stop(timeout=container.attrs["Config"].get("StopTimeout") or STOP_S)
        container.remove()
    return [container.name for container in reversed(surplus)]


def _take_out_of_plan(client: Any, project: str, container: Any) -> None:
    """Tell the controller first, where it answers, so that no batch is sent meanwhile."""
    address = _admin_address(client, project)
    if not address:
        return
    with contextlib.suppress(grpc.RpcError), open_sync_channel(address) as channel:
        stub = AdminStub(channel)
        listed = stub.ListWorkers(admin_pb2.ListWorkersRequest(), timeout=CALL_TIMEOUT_S)
        own = [worker for worker in listed.workers if _is_at(worker.address, container)]
        # Where containers share a network namespace the address does not tell them apart.
        if len(own) == 1:
            request = admin_pb2.DrainWorkerRequest(worker_id=own[0].worker_id)
            stub.DrainWorker(request, timeout=CALL_TIMEOUT_S)


def _admin_address(client: Any, project: str) -> str:
    """Return where the project's controller is published on this machine; empty if nowhere."""
    for controller in _containers(client, project, "controller"):
        for bindings in (controller.attrs["NetworkSettings"].get("Ports") or {}).values():
            for binding in bindings or ():
                host = binding["HostIp"]
                return f"{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{binding['HostPort']}"
    return ""


def _is_at(address: str, container: Any) -> bool:
    networks = (container.attrs["NetworkSettings"].get("Networks") or {}).values()
    hosts = {container.attrs["Config"].get("Hostname"), container.name}
    return address.rpartition(":")[0] in hosts | {network["IPAddress"] for network in networks}


def _wait_until_healthy(containers: Sequence[Any], report: Report) -> None:
    """Wait for the engine's verdict on each; the health check's own limits bound the wait.

    Raises:
        CliError: one stopped or is unhealthy; tells the last lines of its log.
    """
    started_s = time.monotonic()
    for container in containers:
        while not _is_healthy(container):
            report(f"{container.name}: warming up, {time.monotonic() - started_s:.0f} s")
            time.sleep(POLL_S)


def _is_healthy(container: Any) -> bool:
    container.reload()
    state = container.attrs["State"]
    health = (state.get("Health") or {"Status": "healthy"})["Status"]
    if state["Status"] in ("exited", "dead", "restarting") or health == "unhealthy":
        said = container.logs(tail=LOG_LINES).decode(errors="replace").strip()
        condition = health if state["Status"] == "running" else state["Status"]
        raise CliError(f"{container.name} is {condition}; its log ends:\n{said}")
    return bool(state["Status"] == "running" and health == "healthy")


def _natural(name: str) -> tuple[str, int]:
    service, _, number = name.rpartition("-")
    return service, int(number)
