"""The command line itself: exit codes, one line of error, one JSON document, quick start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from diffserve import __version__
from diffserve.cli.main import app
from diffserve.sim.traces.formats import FORMATS
from diffserve.telemetry.server import free_port
from tests.catalogs import FURTHER

SERVICES = ("CONTROLLER", "LOADBALANCER", "WORKER", "DISCRIMINATOR")
HEAVY_MODULES = ("torch", "diffusers", "transformers", "grpc", "pydantic", "redis", "numpy")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffserve.cli.main", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
        timeout=60,
    )


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("up", "generate", "status", "plan", "workers", "cascade", "doctor", "planning"):
        assert command in done.stdout


def test_help_names_every_format_of_traces() -> None:
    (option,) = (
        p for p in get_command(app).commands["simulate"].params if p.name == "trace_format"
    )
    assert option.help == f"auto (by name or header), {', '.join(FORMATS)}."


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import diffserve.cli.main\n"
        f"print([name for name in {HEAVY_MODULES!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_version_as_json() -> None:
    assert json.loads(run("version", "--json").stdout) == {"version": __version__}


def test_version_as_an_option() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"diffserve {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["generate", "an owl"], "--output"),
        (["generate", "an owl", "-o", "owl.gif"], ".webp"),
        (["generate", "an owl", "-o", "owl.png", "--prefer", "medium"], "auto, light, heavy"),
        (["generate", "an owl", "-o", "owl.png", "--steps", str(10**12)], "--steps: must be"),
        (["status", "--watch", "--json"], "exclude"),
        (["top", "--json"], "add --once"),
        (["simulate", "--slo", "inf"], "'--slo': Input should be less than or equal to 86400"),
        (["replay", "--slo", "86401"], "'--slo': Input should be less"),
        (["bench", "--slo", "nan"], "'--slo': "),
        (["simulate", "--duration", "inf"], "'--duration': Input should be less"),
        (["simulate", "--peak-qps", "inf"], "'--peak-qps': Input should be less"),
        (["simulate", "--cv", "inf"], "'--cv': Input should be less"),
        (["simulate", "--speedup", "inf"], "'--speedup': Input should be less"),
        (["replay", "--duration", "inf"], "'--duration': Input should be less"),
        (["replay", "--peak-qps", "nan"], "'--peak-qps': Input should be"),
        (["bench", "--rate", "inf"], "'--rate': Input should be less"),
        (["bench", "--warm-up", "inf"], "'--warm-up': Input should be less"),
        (["what-if", "--duration", "inf"], "'--duration': Input should be less"),
        (["what-if", "--qps", "many"], "--qps: 'many'"),
        (["threshold", "pin", "-0.1"], "SHARE: must be from 0 to 1, not -0.1"),
        (["threshold", "pin", "nan"], "SHARE: must be from 0 to 1, not nan"),
        (["threshold", "pin", "0.1", "--nosuch"], "--nosuch"),
        (["slo", "set", "-1"], "SECONDS: must be above 0 and at most 86400, not -1"),
        (["slo", "set", "inf"], "SECONDS: must be above 0 and at most 86400, not inf"),
        (["up", "--catalog", "nosuch"], "no file"),
        (["up", "--log-level", "loud"], "up.log_level"),
        (["up", "--redis-url", "redis://127.0.0.1:1/0", "--catalog", "mock"], "up.redis_url"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], says: str) -> None:
    # Whatever else runs on this machine must not matter, nor weights that are not there.
    free = {f"DIFFSERVE_UP_{name}_PORT": "0" for name in SERVICES}
    done = run(*arguments, DIFFSERVE_CATALOG="mock", **free)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_same_port_twice_is_named() -> None:
    port = str(free_port())
    done = run("up", "--catalog", "mock", "--controller-port", port, "--loadbalancer-port", port)
    assert done.returncode == 2
    assert f"up.loadbalancer_port: {port} is also the port of another service" in done.stderr


def test_unknown_variable_is_named() -> None:
    done = run("status", DIFFSERVE_NOSUCH="1")
    assert done.returncode == 2
    assert "DIFFSERVE_NOSUCH" in done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "says"),
    [
        (None, (), "catalog: no file {path}; shipped catalogs: "),
        ('default_cascade = "a"', (), "{path}: variant: Field required"),
        (FURTHER, ("--cascade", "near"), "--cascade: {path} has no 'near'; there is far"),
    ],
)
def test_a_catalog_is_checked_before_anybody_is_asked_to_activate_it(
    text: str | None, arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "new.toml"
    if text is not None:
        path.write_text(text)
    nobody = f"127.0.0.1:{free_port()}"
    done = run("cascade", "activate", str(path), *arguments, "--address", nobody)
    assert done.returncode == 2
    assert done.stderr.startswith(f"diffserve: {says.format(path=path)}")


@pytest.mark.parametrize(
    ("arguments", "service"),
    [
        (["generate", "an owl", "-o", "owl.png"], "load balancer"),
        (["status"], "controller"),
        (["status", "--json"], "controller"),
        (["plan", "show"], "controller"),
        (["workers", "list"], "controller"),
        (["workers", "drain", "worker-0"], "controller"),
        (["cascade", "list"], "controller"),
        (["cascade", "activate", "mock"], "controller"),
        (["planning", "pause"], "controller"),
        (["plan", "why"], "controller"),
        (["plan", "history"], "controller"),
        (["slo", "set", "3"], "controller"),
        (["threshold", "pin", "0.3"], "controller"),
        (["workers", "restart", "worker-0"], "controller"),
        (["query", "show", "q"], "controller"),
        (["what-if"], "controller"),
        (["top", "--once"], "controller"),
    ],
)
def test_nobody_there_says_what_to_start(arguments: list[str], service: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run(*arguments, "--address", address)
    assert done.returncode == 1
    expected = f"no {service} answers at {address}; start one with `make serve`"
    assert done.stderr.splitlines()[-1] == f"diffserve: {expected}"
    assert done.stdout == ""
