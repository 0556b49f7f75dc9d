"""The benchmark of workers runs where there is no GPU, and says that this is no result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "benchmarks.plain_loop")


@pytest.mark.slow
def test_a_trial_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "plain_loop"
    options = ("--tiny", "--rounds=1", "--round-s=0.1", "--sizes", "1", f"--out={out}")
    done = subprocess.run((*COMMAND, *options), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert row["plain_ips"] > 0.0 and row["worker_ips"] > 0.0
    assert "a trial and no result" in out.with_suffix(".md").read_text()
