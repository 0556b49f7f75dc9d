"""A gRPC client in another language, from the proto files alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "build" / "node"
PACKAGES = ("@grpc/grpc-js@1.13.4", "@grpc/proto-loader@0.7.15")


def node_is_installed() -> bool:
    """Return whether ``node`` and ``npm`` can be run."""
    return bool(shutil.which("node") and shutil.which("npm"))


def run_node_client(stack: Stack) -> Any:
    """Run ``node_client.js`` against a deployment; return the document that it prints."""
    if not (MODULES / "node_modules" / "@grpc" / "proto-loader").exists():
        MODULES.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(MODULES), *PACKAGES]
        subprocess.run(npm, check=True, capture_output=True, timeout=110)
    done = subprocess.run(
        ["node", str(ROOT / "tests/e2e/node_client.js"), stack.door, str(ROOT / "protos")],
        env={**os.environ, "NODE_PATH": str(MODULES / "node_modules")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
