"""Checks of what is installed: Python, packages, Redis, solvers, devices."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis

from diffserve.cli.findings import REPAIR, Finding, Level, settings_or_defaults
from diffserve.cli.output import joined
from diffserve.errors import ConfigError
from diffserve.telemetry.server import find_server_binary, free_port, start_server

PYTHON_MIN = (3, 11)
PACKAGES = {
    "grpcio": "",
    "protobuf": "",
    "redis": "",
    "numpy": "",
    "pulp": "controller",
    "torch": "models",
    "diffusers": "models",
    "pillow": "models",
}
"""Distribution -> the extra that brings it; empty means the base install."""

PROBE_TIMEOUT_S = 60.0

TORCH_PROBE = """
import json, torch
print(json.dumps([torch.__version__, torch.get_num_threads(),
    [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]]))
"""
GUROBI_PROBE = """
import gurobipy
with gurobipy.Env(params={"OutputFlag": 0}) as env, gurobipy.Model(env=env) as model:
    x = model.addVar(vtype="I", obj=1, lb=1)
    model.optimize()
    assert round(x.X) == 1
"""


def check_python() -> Iterator[Finding]:
    """Python's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= PYTHON_MIN:
        yield Finding("python", Level.OK, found)
    else:
        yield Finding("python", Level.FAIL, found, "install Python 3.11 or newer")


def check_packages() -> Iterator[Finding]:
    """Distributions of the base install and of the extras."""
    found: list[str] = []
    base: list[str] = []
    extras: list[str] = []
    for name, extra in PACKAGES.items():
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            (extras if extra else base).append(name)
    yield Finding("packages", Level.OK, joined(found))
    if base:
        yield Finding("packages", Level.FAIL, f"missing: {joined(base)}", REPAIR)
    if extras:
        detail = f"missing: {joined(extras)}; needed by workers and controller"
        yield Finding("packages", Level.WARN, detail, REPAIR)


def check_redis() -> Iterator[Finding]:
    """The configured Redis, or the one that ``diffserve up`` would start."""
    url = settings_or_defaults().redis_url
    try:
        if url:
            _ping(url)
            yield Finding("redis", Level.OK, f"{url} answers")
            return
        binary = find_server_binary()
        with tempfile.TemporaryDirectory() as directory:
            port = free_port()
            process = start_server(port, Path(directory))
            try:
                _ping(f"redis://127.0.0.1:{port}/0")
            finally:
                process.terminate()
                process.wait()
        yield Finding("redis", Level.OK, f"{binary} starts and answers")
    except (ConfigError, redis.RedisError, ValueError, OSError) as error:
        remedy = "start it, or unset DIFFSERVE_REDIS_URL" if url else f"{REPAIR}, or install redis"
        yield Finding("redis", Level.FAIL, str(error), remedy)


def check_solvers() -> Iterator[Finding]:
    """Gurobi with its licence, and CBC: one of them must solve a tiny problem."""
    cbc = _cbc_problem()
    gurobi = "not installed"
    if importlib.util.find_spec("gurobipy") is not None:
        gurobi = _run_probe(GUROBI_PROBE)[1]
    if not gurobi:
        yield Finding("solver", Level.OK, "Gurobi solves, its licence is usable")
    else:
        level = Level.WARN if gurobi != "not installed" else Level.OK
        remedy = "see https://www.gurobi.com/licenses; CBC is used" if level is Level.WARN else ""
        yield Finding("solver", level, f"Gurobi: {gurobi}", remedy)
    if not cbc:
        yield Finding("solver", Level.OK, "CBC solves")
    else:
        yield Finding("solver", Level.WARN if not gurobi else Level.FAIL, f"CBC: {cbc}", REPAIR)


def check_devices() -> Iterator[Finding]:
    """What the workers can compute on."""
    cores = os.cpu_count() or 1
    if importlib.util.find_spec("torch") is None:
        yield Finding("devices", Level.WARN, f"{cores} cores; no torch, mock only", REPAIR)
        return
    answer, problem = _run_probe(TORCH_PROBE)
    if problem:
        yield Finding("devices", Level.FAIL, f"torch does not import: {problem}", REPAIR)
        return
    version, threads, gpus = json.loads(answer)
    yield Finding(
        "devices",
        Level.OK,
        f"torch {version}, {cores} cores, {threads} threads, CUDA: {joined(gpus, 'none')}",
    )


def _ping(url: str) -> None:
    with redis.Redis.from_url(url, socket_connect_timeout=2.0, socket_timeout=2.0) as client:
        client.ping()


def _run_probe(code: str) -> tuple[str, str]:
    """Run code in an interpreter of its own; return its output and, if it failed, the reason.

    Large imports stay out of this process, and a crash in native code is a finding, not an end.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer in {PROBE_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return done.stdout, ""
    lines = done.stderr.strip().splitlines()
    return "", lines[-1] if lines else f"exited with {done.returncode}"


def _cbc_problem() -> str:
    """Return why CBC does not solve a tiny problem; empty when it does."""
    if importlib.util.find_spec("pulp") is None:
        return "pulp is not installed"
    return _run_probe(
        "import pulp\n"
        "problem = pulp.LpProblem('tiny', pulp.LpMinimize)\n"
        "x = pulp.LpVariable('x', 1, 3, cat='Integer')\n"
        "problem += x\n"
        "problem.solve(pulp.PULP_CBC_CMD(msg=False))\n"
        "assert pulp.value(x) == 1, 'wrong answer'\n"
    )[1]
