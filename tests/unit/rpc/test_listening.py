"""A host where nothing can listen is told before a port is blamed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffserve.rpc.listening import host_problem


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_addresses_of_this_machine_are_fine(host: str) -> None:
    assert host_problem(host) == ""


@pytest.mark.parametrize("host", ["no.such.invalid", "192.0.2.1", "[2001:db8::1]", "a b"])
def test_others_are_not(host: str) -> None:
    assert host_problem(host)


def test_a_service_names_its_host() -> None:
    command = [sys.executable, "-m", "services.discriminator", "--host=192.0.2.1", "--port=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "host: cannot listen on 192.0.2.1" in done.stderr
    assert "Traceback" not in done.stderr
