from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffserve.errors import ConfigError
from diffserve.sim.faults import Faults, WorkerLoss, read_faults


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(
        "[[worker_loss]]\nat_s = 1\nshare = 0.5\n\n[[late_plan]]\nat_s = 5\nduration_s = 2\n"
        "delay_s = 3\n\n[[lost_telemetry]]\nat_s = 4\nduration_s = 1\n"
    )
    faults = read_faults(str(path))
    assert [faults.plan_delay_s(t) for t in (4.9, 5.0, 6.9, 7.0)] == [0.0, 3.0, 3.0, 0.0]
    assert [faults.loses_telemetry(t) for t in (3.9, 4.0, 5.0)] == [False, True, False]
    assert len(faults.worker_loss[0].chosen(10, np.random.default_rng(0))) == 5


def test_workers_may_be_named() -> None:
    loss = WorkerLoss(at_s=0.0, workers=(1, 3, 99))
    assert list(loss.chosen(4, np.random.default_rng(0))) == [1, 3]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[[slow_down]]\nat_s = 1\n", "slow_down.0.factor"),
        ("[[worker_loss]]\nat_s = -1\n", "worker_loss.0.at_s"),
        ("[[worker_loss]]\nat_s = 1\nworkers = [0, -20]\n", "worker_loss.0.workers.1"),
        ("[[confidence_shift]]\nat_s = 1\noffset = nan\n", "confidence_shift.0.offset"),
        ("[[fire]]\nat_s = 1\n", "fire"),
        ("[[worker_loss\n", "faults.toml"),
    ],
)
def test_mistakes_name_the_field(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=names):
        read_faults(str(path))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_bytes(b"[[slow_down]]\nat_s = \xff\n")
    with pytest.raises(ConfigError, match=r"faults\.toml:2: is no UTF-8"):
        read_faults(str(path))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_faults(str(tmp_path / "none.toml"))


def test_nothing_breaks_by_default() -> None:
    assert Faults().plan_delay_s(1.0) == 0.0
    assert not Faults().loses_telemetry(1.0)
