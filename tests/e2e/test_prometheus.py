"""A real Prometheus scrapes a real deployment: rules load, and every panel gets an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from diffserve.telemetry.server import free_port
from tests.e2e.stack import Stack, offer, running_stack

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "observability"
NUM_QUERIES = 30


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("prometheus-stack")
    with running_stack(directory, "--catalog=mock", "--workers=2") as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The shipped configuration, with this deployment's addresses in place of the containers'."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("Prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    for job in settings["scrape_configs"]:
        assert job.pop("dns_sd_configs")[0]["port"] == 9464
        urls = [u for name, u in stack.ready["metrics"].items() if name.startswith(job["job_name"])]
        job["static_configs"] = [{"targets": [url.split("/")[2] for url in urls]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    shutil.copy(FOLDER / "rules.yml", folder)
    address = f"127.0.0.1:{free_port()}"
    options = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    with (folder / "log").open("w") as log:
        command = (binary, *options, f"--web.listen-address={address}")
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def ask(address: str, path: str, **fields: str) -> Any:
    with urlopen(f"http://{address}/api/v1/{path}?{urlencode(fields)}", timeout=10) as answer:
        document = json.loads(answer.read())
    assert document["status"] == "success", document
    return document["data"]


def until(check: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            if check():
                return
        except OSError:
            pass  # not listening yet
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


async def test_prometheus_scrapes_and_answers_every_panel(stack: Stack, prometheus: str) -> None:
    until(lambda: len(ask(prometheus, "query", query="up == 1")["result"]) == 5)
    load = await offer(stack, [f"prompt {i}" for i in range(NUM_QUERIES)], rate_qps=20.0)
    assert not load.errors
    total = "sum(diffserve_queries_finished_total)"

    def counted() -> bool:
        found = ask(prometheus, "query", query=total)["result"]
        return bool(found) and float(found[0]["value"][1]) == NUM_QUERIES

    until(counted)
    groups = ask(prometheus, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 10
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    dashboard = json.loads((FOLDER / "grafana/dashboards/diffserve.json").read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    answered = 0
    for expression in expressions:
        filled = expression.replace("$__rate_interval", "10s")
        answered += bool(ask(prometheus, "query", query=filled)["result"])
    # A deployment that nothing went wrong on has no series for what goes wrong.
    assert answered >= len(expressions) // 2
