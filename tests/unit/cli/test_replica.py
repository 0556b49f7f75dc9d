"""A replica's configuration: everything of the original but what makes it another container."""

from __future__ import annotations

from diffserve.cli.replica import clone, devices_of, number_of
from tests.unit.cli.fake_docker import inspected


def test_keeps_image_environment_limits_and_health_check() -> None:
    attrs = inspected("worker", 1)
    replica = clone(attrs, 3, "diffserve-worker:latest")
    assert replica.name == "shop-worker-3"
    for kept in ("Env", "Entrypoint", "Healthcheck", "StopTimeout"):
        assert replica.config[kept] == attrs["Config"][kept]
    assert replica.config["Image"] == "diffserve-worker:latest"
    assert replica.config["HostConfig"] == attrs["HostConfig"]


def test_changes_number_and_leaves_identity_to_the_engine() -> None:
    attrs = inspected("worker", 1)
    config = clone(attrs, 3, "any").config
    assert config["Labels"]["com.docker.compose.container-number"] == "3"
    assert config["Labels"]["com.docker.compose.project"] == "shop"
    assert not {"Hostname", "Domainname", "ExposedPorts"} & set(config)
    assert number_of(attrs) == 1, "the original is left as it was"


def test_joins_the_same_networks_under_its_own_name() -> None:
    attrs = inspected("worker", 1)
    attrs["NetworkSettings"]["Networks"]["aside"] = {"Aliases": None}
    replica = clone(attrs, 2, "any")
    endpoints = replica.config["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {"shop_default": {"Aliases": ["worker", "shop-worker-2"]}}
    assert replica.further_networks == {"aside": {"Aliases": ["shop-worker-2"]}}


def test_shares_another_containers_network_without_joining_any() -> None:
    replica = clone(inspected("worker", 1, network="container:abc"), 2, "any")
    assert replica.config["HostConfig"]["NetworkMode"] == "container:abc"
    assert replica.config["NetworkingConfig"] == {"EndpointsConfig": {}}
    assert replica.further_networks == {}


def test_gets_the_next_free_gpu_where_replicas_reserve_one_by_id() -> None:
    attrs = inspected("worker", 1)
    attrs["HostConfig"]["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": ["0"]}]
    replica = clone(attrs, 3, "any", taken_devices=["0", "1"])
    assert devices_of(replica.config) == ("2",)
    assert devices_of(attrs) == ("0",)


def test_leaves_gpus_alone_that_are_reserved_by_number_or_name() -> None:
    for requests in ([{"Count": -1}], [{"DeviceIDs": ["GPU-5fa"]}], [{"DeviceIDs": ["0", "1"]}]):
        attrs = inspected("worker", 1)
        attrs["HostConfig"]["DeviceRequests"] = requests
        assert clone(attrs, 2, "any").config["HostConfig"]["DeviceRequests"] == requests
