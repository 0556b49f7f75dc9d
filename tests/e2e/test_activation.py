"""A cascade goes live under load by one admin command, and stays when the controller is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest

from diffserve.rpc.v1 import common_pb2
from tests.catalogs import FURTHER, RUNNING
from tests.e2e.stack import Load, Stack, offer, running_stack

RATE_QPS = 10.0
PROMPTS = [f"prompt number {index}" for index in range(170)]


def cascades(load: Load) -> Counter[str]:
    return Counter(answer.cascade_id for answer in load.responses.values())


def variants(load: Load, cascade_id: str) -> set[str]:
    """Return the variants that drew the answers of a cascade."""
    answers = load.responses.values()
    return {answer.variant_id for answer in answers if answer.cascade_id == cascade_id}


def refusal(*arguments: str) -> str:
    """Return what a command that fails says."""
    command = [sys.executable, "-m", "diffserve.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    return done.stderr


def check_whole(load: Load, num: int) -> None:
    """Every query has one answer; ``offer`` fails on a second one."""
    assert not load.errors, load.errors[0]
    assert len(load.responses) == num


async def offered(stack: Stack, cascade_id: str) -> None:
    """Wait until the load balancer knows a cascade: it follows the plan that brought it."""
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=stack.http) as client:
        while (await client.get(f"/v1/models/{cascade_id}")).status_code != 200:
            await asyncio.sleep(0.1)


async def restarted(stack: Stack) -> None:
    """Kill the controller and wait until its next process has planned."""
    before = await stack.status()
    os.kill(stack.pid("controller"), signal.SIGKILL)
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0.2)
            try:
                now = await stack.status()
            except grpc.aio.AioRpcError:  # not there yet
                continue
            is_new = now.uptime_s < before.uptime_s
            if is_new and now.plan.plan_id > before.plan.plan_id:
                return


@pytest.mark.slow  # half a minute
@pytest.mark.timeout(300)  # starting alone may take minutes on a busy machine
async def test_a_cascade_goes_live_under_load_and_survives_the_controller(tmp_path: Path) -> None:
    running, further = tmp_path / "running.toml", tmp_path / "further.toml"
    running.write_text(RUNNING)
    further.write_text(FURTHER)
    with running_stack(tmp_path, f"--catalog={running}", "--workers=3") as stack:
        address = ("--address", stack.controller)
        task = asyncio.create_task(offer(stack, PROMPTS[:60], RATE_QPS))
        await asyncio.sleep(2.5)
        command = ["cascade", "activate", str(further), *address]
        answer = await asyncio.to_thread(stack.cli, *command)
        assert (answer["added"], answer["default_cascade"]) == (["far"], "far")
        await offered(stack, "far")
        # More, because a busy machine may take longer for the command than the load lasts.
        later, earlier = await offer(stack, PROMPTS[60:90], RATE_QPS), await task
        check_whole(earlier, 60)
        check_whole(later, 30)
        assert set(cascades(later)) == {"far"}
        load = Load({**earlier.responses, **later.responses}, [])
        assert set(cascades(load)) == {"near", "far"}
        drawn = {name: variants(load, name) for name in ("near", "far")}
        assert drawn["near"] <= {"tiny", "mid"}
        assert "big" in drawn["far"] <= {"mid", "big"}

        task = asyncio.create_task(offer(stack, PROMPTS[90:150], RATE_QPS))
        await asyncio.sleep(1.0)
        await restarted(stack)
        after_kill = await task
        check_whole(after_kill, 60)
        assert set(cascades(after_kill)) == {"far"}

        light = common_pb2.PREFERENCE_LIGHT
        again = await offer(stack, PROMPTS[150:170], RATE_QPS, preference=light)
        check_whole(again, 20)
        assert variants(again, "far") == {"mid"}
        await asyncio.sleep(1.0)
        status = {row.cascade_id: row for row in (await stack.status()).cascades}
        answered = cascades(load) + cascades(after_kill) + cascades(again)
        assert {c: row.num_arrivals for c, row in status.items()} == dict(answered)
        assert all(row.num_in_progress == 0 for row in status.values())
        listed = stack.cli("cascade", "list", *address)["cascades"]
        assert {row["cascade_id"]: row["is_default"] for row in listed} == {
            "near": False, "far": True,
        }  # fmt: skip

        wrong = tmp_path / "wrong.toml"
        wrong.write_text(FURTHER.replace('"big"', '"huge"').replace(".big]", ".huge]"))
        says = await asyncio.to_thread(refusal, "cascade", "activate", str(wrong), *address)
        assert "wrong.toml: cascade.far.heavy: the running deployment has no 'huge'" in says
