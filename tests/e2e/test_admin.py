"""The admin commands against a running deployment with sleeping workers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, offer, running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("admin")
    with running_stack(directory, "--catalog=mock", "--workers=2", "--http-port=0") as running:
        yield running


def ask(stack: Stack, *arguments: str) -> dict:
    return stack.cli(*arguments, "--address", stack.controller)


def page(stack: Stack, *arguments: str) -> str:
    """Run a command for people and return what it prints."""
    command = [sys.executable, "-m", "diffserve.cli.main", *arguments]
    done = subprocess.run(
        [*command, "--address", stack.controller],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_query_tells_its_whole_story(stack: Stack) -> None:
    load = await offer(stack, [f"an owl number {index}" for index in range(3)], rate_qps=8.0)
    assert not load.errors
    for query_id, answer in load.responses.items():
        story = ask(stack, "query", "show", query_id)
        names = [step["name"] for step in story["record"]["steps"]]
        assert names[:2] == ["arrived", "light_batch"]
        assert story["record"]["steps"][-1]["worker_id"] == ""
        workers = {step["worker_id"] for step in story["record"]["steps"]}
        assert answer.worker_id in workers
    assert "light batch" in page(stack, "query", "show", query_id)


async def test_orders_reach_the_plan(stack: Stack) -> None:
    assert ask(stack, "slo", "set", "3")["slo_s"] == 3.0
    assert ask(stack, "threshold", "pin", "0.4")["share"] == 0.4
    async with asyncio.timeout(10):
        while not any(c.pinned and c.slo_s == 3.0 for c in (await stack.status()).plan.cascades):
            await asyncio.sleep(0.05)
    why = ask(stack, "plan", "why")
    assert why["plan"]["cascades"][0]["deferral_target"] == 0.4
    assert any("pinned at 40 %" in reason for reason in why["because"])
    fields = {change["field"] for change in ask(stack, "plan", "diff")["changes"]}
    assert fields & {"pinned", "slo_s"}
    assert len(ask(stack, "plan", "history")["plans"]) >= 2
    text = page(stack, "plan", "why")
    assert all(part in text for part in ("pinned at 40 %", "since plan", "SLO"))
    assert "40 % pinned" in page(stack, "top", "--once")
    ask(stack, "threshold", "unpin")
    ask(stack, "slo", "reset")


def test_what_if_asks_the_live_planner_and_simulates(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFSERVE_CATALOG", "mock")
    document = ask(stack, "what-if", "--qps", "5,40", "--workers", "2,8", "--duration", "20")
    assert [(row["qps"], row["workers"]) for row in document["rows"]] == [
        (5.0, 2), (5.0, 8), (40.0, 2), (40.0, 8),
    ]  # fmt: skip
    assert all(row["simulation"]["queries"] > 0 for row in document["rows"])
    assert all(len(row["plan"]["placements"]) == row["workers"] for row in document["rows"])


def test_a_restarted_worker_comes_back_as_another_process(stack: Stack) -> None:
    name = next(n for n in stack.ready["endpoints"] if n.startswith("worker"))
    listed = ask(stack, "workers", "list")["workers"]
    address = stack.ready["endpoints"][name]
    worker_id = next(w["worker_id"] for w in listed if w["address"] == address)
    before = stack.pid(name)
    assert ask(stack, "workers", "restart", worker_id)["exit_status"] == 75
    assert stack.pid(name) != before


def test_unknown_queries_are_told_in_one_line(stack: Stack) -> None:
    command = [sys.executable, "-m", "diffserve.cli.main", "query", "show", "nosuch"]
    done = subprocess.run(
        [*command, "--address", stack.controller], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "query_id: 'nosuch' is not known (any more) to" in done.stderr
