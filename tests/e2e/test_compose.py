"""The containers, for real: built, brought up, used, scaled and taken down without a trace.

Runs on the Docker engine that answers; else, as root with dockerd installed, on a private one in a
network namespace of its own; else it is skipped and says why.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from diffserve.catalog import shipped_catalogs
from tests.e2e.compose_engine import Engine, UnavailableError, engine
from tests.e2e.compose_stack import ROOT, ComposeStack, build_images, running

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]
PLAN_S = 20.0
"""Longest wait for a plan: several planning periods."""


@pytest.fixture(scope="module")
def built() -> Iterator[Engine]:
    """An engine that holds the images."""
    data = ROOT / "build" / "compose-engine"
    try:
        with engine(data, is_for_building=True) as builder:
            stood_in = build_images(builder)
        print(f"base images that were stood in: {', '.join(stood_in) or 'none'}")
        with engine(data, is_for_building=False) as found:
            yield found
    except UnavailableError as error:
        pytest.skip(f"the containers were not tested: {error}")


@pytest.fixture(scope="module", params=["mock", "embedded"])
def stack(built: Engine, request: pytest.FixtureRequest) -> Iterator[ComposeStack]:
    if request.param not in shipped_catalogs():
        pytest.skip(f"the catalog {request.param} is not shipped")
    with running(built, request.param) as project:
        yield project


def test_an_image_holds_its_service_alone_and_runs_as_nobody(stack: ComposeStack) -> None:
    for service in ("controller", "discriminator", "loadbalancer", "worker"):
        look = "import os; print(os.getuid(), *sorted(os.listdir('services')))"
        seen = stack.compose("exec", "--no-TTY", service, "python", "-c", look).split()
        assert seen[0] != "0"
        assert set(seen[1:]) == {"__init__.py", "__pycache__", service}
        tools = "import shutil, importlib.util as u; print(shutil.which('cc'), u.find_spec('pip'))"
        assert stack.compose("exec", "-T", service, "python", "-c", tools).split() == ["None"] * 2


def test_every_container_is_healthy_and_limited(stack: ComposeStack) -> None:
    assert len(stack.containers()) == 6
    for container in stack.containers():
        assert container["State"]["Health"]["Status"] == "healthy", container["Name"]
        assert container["RestartCount"] == 0
        assert container["HostConfig"]["Memory"] > 0
        assert container["HostConfig"]["NanoCpus"] > 0
        assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def draw(stack: ComposeStack, folder: Path, name: str) -> dict[str, Any]:
    target = folder / f"{name}.png"
    prompt = "flat style, an owl, sky blue background"
    answer = stack.cli("generate", prompt, "-o", str(target), "--address", stack.door)
    assert target.read_bytes().startswith(b"\x89PNG")
    return dict(answer)


def test_an_image_comes_back_through_the_door(stack: ComposeStack, tmp_path: Path) -> None:
    answer = draw(stack, tmp_path, "owl")
    assert answer["outcome"] in ("OUTCOME_LIGHT", "OUTCOME_HEAVY", "OUTCOME_LIGHT_FALLBACK")
    assert answer["confidence"] is not None
    assert answer["variant_id"].startswith(stack.catalog) or stack.catalog != "mock"
    status = stack.cli("status", "--address", stack.admin)
    assert status["redis_connected"]
    assert len(status["workers"]) == 2
    assert sum(cascade["num_arrivals"] for cascade in status["cascades"]) >= 1


def placed(stack: ComposeStack, num_workers: int) -> dict[str, Any]:
    """Return the first plan that places so many workers; with names of their own."""
    deadline_s = time.monotonic() + PLAN_S
    while True:
        plan = dict(stack.cli("plan", "show", "--address", stack.admin))
        names = {row["worker_id"] for row in plan["placements"]}
        if len(names) == num_workers:
            return plan
        assert time.monotonic() < deadline_s, f"{sorted(names)} instead of {num_workers} workers"
        time.sleep(0.5)


def test_scaling_changes_the_plan_and_loses_no_query(stack: ComposeStack, tmp_path: Path) -> None:
    before = placed(stack, 2)
    scale = ("workers", "scale", "--project", stack.project)
    scaled = stack.cli(*scale, "3", timeout_s=300.0)
    assert scaled["started"] == [f"{stack.project}-worker-3"]
    after = placed(stack, 3)
    assert after["plan_id"] > before["plan_id"]
    assert "3 workers" in stack.cli("status", "--address", stack.admin)["plan"]["reason"]
    with ThreadPoolExecutor(max_workers=2) as pool:
        answers = pool.map(lambda number: draw(stack, tmp_path, str(number)), range(12))
        shrunk = stack.cli(*scale, "1", timeout_s=300.0)
        assert len(list(answers)) == 12
    assert shrunk["removed"] == [f"{stack.project}-worker-{number}" for number in (3, 2)]
    assert placed(stack, 1)["plan_id"] > after["plan_id"]
    assert stack.cli(*scale, "2", timeout_s=300.0)["started"] == [f"{stack.project}-worker-2"]
    placed(stack, 2)


def test_a_killed_worker_comes_back(stack: ComposeStack, tmp_path: Path) -> None:
    if not stack.engine.is_private:
        pytest.skip("a user's engine may run elsewhere, where its processes cannot be killed")
    (worker,) = [c for c in stack.containers() if c["Name"].endswith("-worker-1")]
    os.kill(worker["State"]["Pid"], signal.SIGKILL)
    draw(stack, tmp_path, "meanwhile")
    (again,) = [c for c in stack.containers() if c["Id"] == worker["Id"]]
    assert again["RestartCount"] == 1
    placed(stack, 2)


def test_scaling_an_unknown_project_is_one_line(stack: ComposeStack) -> None:
    command = [sys.executable, "-m", "diffserve.cli.main", "workers", "scale", "2"]
    done = subprocess.run(
        [*command, "--project", "no-such-project"],
        env=stack.environ(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert stack.project in done.stderr, "the known projects are named"
    assert done.stderr.count("\n") == 1


def test_down_leaves_nothing(stack: ComposeStack) -> None:
    assert stack.leftovers()
    stack.compose("down", "--volumes")
    assert stack.leftovers() == []
