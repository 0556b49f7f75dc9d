"""The configuration of one more container of a compose service, made from an existing one's. Pure.

Compose knows its containers by labels and names; a replica made here is one of them: `docker
compose ps`, `logs` and `down` include it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"
ONE_OFF_LABEL = "com.docker.compose.oneoff"

BUILT_IN_NETWORKS = ("default", "bridge", "host", "none")


@dataclass(frozen=True, slots=True)
class Replica:
    """What to ask the engine for.

    Attributes:
        name: Of the container.
        config: Body of the engine's ``/containers/create``.
        further_networks: Network -> endpoint, to connect before the start; older engines take
            only one network on creation.
    """

    name: str
    config: Mapping[str, Any]
    further_networks: Mapping[str, Mapping[str, Any]]


def number_of(attrs: Mapping[str, Any]) -> int:
    """Return the container's number within its service, from 1."""
    return int(attrs["Config"]["Labels"][NUMBER_LABEL])


def devices_of(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of the GPUs that a container reserves by id."""
    requests = attrs["HostConfig"].get("DeviceRequests") or ()
    return tuple(device for request in requests for device in request.get("DeviceIDs") or ())


def clone(
    attrs: Mapping[str, Any], number: int, image: str, taken_devices: Iterable[str] = ()
) -> Replica:
    """Return the configuration of another replica like the given one.

    Args:
        attrs: ``docker inspect`` of a container of the service.
        number: Number of the new container within the service.
        image: Image to run.
        taken_devices: GPU ids in use. A service whose replicas reserve one GPU by id gives each
            further replica the next free one.
    """
    labels = {**attrs["Config"]["Labels"], NUMBER_LABEL: str(number)}
    name = f"{labels[PROJECT_LABEL]}-{labels[SERVICE_LABEL]}-{number}"
    networks = _endpoints(attrs, name)
    first, *further = networks or {"": {}}
    config: dict[str, Any] = {
        **attrs["Config"],
        "Image": image,
        "Labels": labels,
        "HostConfig": _host_config(attrs["HostConfig"], taken_devices),
        "NetworkingConfig": {"EndpointsConfig": {first: networks[first]} if networks else {}},
    }
    # The engine names the new host after the new container, and picks its hardware address. Ports
    # that the image exposes it knows, and refuses to hear of beside a shared network.
    for own in ("Hostname", "Domainname", "MacAddress", "ExposedPorts"):
        config.pop(own, None)
    return Replica(name, config, {network: networks[network] for network in further})


def _endpoints(attrs: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Return the networks to join, the main one first; empty where there are none to join."""
    mode = attrs["HostConfig"]["NetworkMode"]
    if mode in BUILT_IN_NETWORKS or mode.startswith("container:"):
        return {}
    joined = attrs["NetworkSettings"]["Networks"]
    names = sorted(joined, key=lambda network: (network != mode, network))
    old_names = (attrs["Name"].lstrip("/"), attrs["Id"][:12])
    return {
        network: {
            "Aliases": [
                *(alias for alias in joined[network]["Aliases"] or () if alias not in old_names),
                name,
            ]
        }
        for network in names
    }


def _host_config(host_config: Mapping[str, Any], taken_devices: Iterable[str]) -> dict[str, Any]:
    requests = host_config.get("DeviceRequests") or []
    if len(requests) != 1 or len(requests[0].get("DeviceIDs") or ()) != 1:
        return dict(host_config)
    (device,) = requests[0]["DeviceIDs"]
    if not device.isdecimal():
        return dict(host_config)
    taken = {device, *taken_devices}
    free = next(str(index) for index in range(len(taken) + 1) if str(index) not in taken)
    return {**host_config, "DeviceRequests": [{**requests[0], "DeviceIDs": [free]}]}
