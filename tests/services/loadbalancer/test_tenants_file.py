"""The file with what each tenant may have."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from diffserve.errors import ConfigError
from diffserve.policy.tenants import TenantLimits
from services.loadbalancer.tenants import load_tenants


def test_without_a_file_nobody_is_limited() -> None:
    assert load_tenants("").default == TenantLimits()


def test_tables_are_limits_and_default_is_for_the_others(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text("[default]\nrate_qps = 5\n[studio]\nweight = 4.0\nin_progress_max = 3\n")
    tenants = load_tenants(str(path))
    assert tenants.default == TenantLimits(rate_qps=5.0)
    assert tenants.limits == {"studio": TenantLimits(weight=4.0, in_progress_max=3)}
    assert tenants.limits["studio"].rate_qps == math.inf


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[a]\nweight = 0", "a.weight"),
        ("[a]\nrate = 3", "a.rate"),
        ("[a]\nburst = 0.5", "a.burst"),
        ("[a]\nin_progress_max = -1", "a.in_progress_max"),
        ("a = 3", ": a:"),
        ("[a", "tenants.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_tenants(str(path))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"loadbalancer\.tenants"):
        load_tenants("/nowhere/tenants.toml")
