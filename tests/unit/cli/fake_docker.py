"""A Docker engine in memory: enough of the docker package's client for ``workers scale``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROJECT = "shop"
IMAGE_ID = "sha256:1"


def inspected(service: str, number: int, *, network: str = f"{PROJECT}_default") -> dict[str, Any]:
    """Return what ``docker inspect`` tells of a running compose container."""
    name = f"{PROJECT}-{service}-{number}"
    container_id = f"{service}{number}".ljust(64, "0")
    joined = {
        network: {"Aliases": [name, service, container_id[:12]], "IPAddress": f"127.0.9.{number}"}
    }
    return {
        "Id": container_id,
        "Name": f"/{name}",
        "Image": IMAGE_ID,
        "RestartCount": 0,
        "State": {"Status": "running", "Health": {"Status": "healthy"}},
        "Config": {
            "Hostname": container_id[:12],
            "Domainname": "",
            "ExposedPorts": {"50061/tcp": {}},
            "Image": f"diffserve-{service}:latest",
            "Env": ["DIFFSERVE_CATALOG=mock"],
            "Entrypoint": ["python", "-m", f"services.{service}"],
            "Healthcheck": {"Test": ["CMD", "probe"]},
            "StopTimeout": 12,
            "Labels": {
                "com.docker.compose.project": PROJECT,
                "com.docker.compose.service": service,
                "com.docker.compose.container-number": str(number),
                "com.docker.compose.oneoff": "False",
            },
        },
        "HostConfig": {
            "NetworkMode": network,
            "Memory": 2**31,
            "RestartPolicy": {"Name": "unless-stopped"},
            "DeviceRequests": None,
        },
        "NetworkSettings": {
            "Networks": {} if network.startswith("container:") else joined,
            "Ports": {},
        },
    }


@dataclass
class FakeContainer:
    """One container; a look at it takes the engine's next pending state, in the end healthy."""

    engine: FakeDocker
    attrs: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.attrs["Name"]).lstrip("/")

    @property
    def status(self) -> str:
        return str(self.attrs["State"]["Status"])

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.attrs["Config"]["Labels"]
        return labels

    def reload(self) -> None:
        if self.engine.pending_states:
            self.attrs["State"] = self.engine.pending_states.pop(0)
        elif self.status == "running":
            self.attrs["State"] = {"Status": "running", "Health": {"Status": "healthy"}}

    def start(self) -> None:
        self.engine.log.append(f"start {self.name}")
        if self.engine.start_error is not None:
            raise self.engine.start_error
        self.attrs["State"] = {"Status": "running", "Health": {"Status": "healthy"}}

    def stop(self, timeout: int) -> None:
        self.engine.log.append(f"stop {self.name} within {timeout} s")

    def remove(self, force: bool = False) -> None:
        self.engine.log.append(f"remove {self.name}{' by force' if force else ''}")
        self.engine.fleet.remove(self)

    def logs(self, tail: int) -> bytes:
        return b"no such variant\n"


@dataclass
class FakeNetwork:
    """A network that notes who is connected."""

    engine: FakeDocker
    name: str

    def connect(self, container: FakeContainer, aliases: list[str]) -> None:
        self.engine.log.append(f"connect {container.name} to {self.name} as {','.join(aliases)}")


@dataclass
class FakeDocker:
    """The client: ``containers``, ``networks``, ``images`` and ``api`` are all this object."""

    fleet: list[FakeContainer] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    pending_states: list[dict[str, Any]] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    tags: list[str] = field(default_factory=lambda: ["diffserve-worker:latest"])
    start_error: Exception | None = None
    is_closed: bool = False

    def add(self, attrs: dict[str, Any]) -> FakeContainer:
        """Put a container into the engine."""
        container = FakeContainer(self, attrs)
        self.fleet.append(container)
        return container

    @property
    def containers(self) -> FakeDocker:
        return self

    @property
    def api(self) -> FakeDocker:
        return self

    @property
    def images(self) -> FakeImages:
        return FakeImages(self)

    @property
    def networks(self) -> FakeNetworks:
        return FakeNetworks(self)

    def list(self, *, filters: Mapping[str, list[str]], all: bool = False) -> list[FakeContainer]:
        wanted = [label.partition("=") for label in filters["label"]]
        return [
            container
            for container in self.fleet
            if all or container.status == "running"
            if all_match(container.labels, wanted)
        ]

    def create_container_from_config(self, config: dict[str, Any], name: str) -> dict[str, str]:
        self.log.append(f"create {name}")
        self.created.append(config)
        attrs = inspected("worker", int(name.rpartition("-")[2]))
        attrs["Config"] = {**copy.deepcopy(config), "Hostname": attrs["Id"][:12]}
        attrs["HostConfig"] = config["HostConfig"]
        attrs["State"] = {"Status": "created"}
        self.add(attrs)
        return {"Id": attrs["Id"]}

    def get(self, container_id: str) -> FakeContainer:
        return next(c for c in self.fleet if c.attrs["Id"] == container_id)

    def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeImages:
    """Images by id."""

    engine: FakeDocker

    def get(self, image_id: str) -> FakeImages:
        assert image_id == IMAGE_ID
        return self

    @property
    def tags(self) -> list[str]:
        return self.engine.tags


@dataclass
class FakeNetworks:
    """Networks by name."""

    engine: FakeDocker

    def get(self, name: str) -> FakeNetwork:
        return FakeNetwork(self.engine, name)


def all_match(labels: Mapping[str, str], wanted: list[tuple[str, str, str]]) -> bool:
    """Tell whether every ``name`` or ``name=value`` is among the labels."""
    return all(
        name in labels and (not equals or labels[name] == value) for name, equals, value in wanted
    )
