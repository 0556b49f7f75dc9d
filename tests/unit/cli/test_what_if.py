"""What-if without a deployment, and what is taken from one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from diffserve.activation import activation_of
from diffserve.catalog import load_catalog
from diffserve.cli import what_if
from diffserve.cli.assumed_plan import plan_for
from diffserve.cli.output import CliError
from diffserve.cli.what_if import Request, as_activated, as_measured, parse_list, run_what_if
from diffserve.errors import ConfigError
from diffserve.rpc.v1 import admin_pb2
from tests.catalogs import FURTHER, RUNNING


def asked(**changes: object) -> Request:
    values = {
        "qps": "5,40",
        "workers": "4",
        "cascade_id": "",
        "catalog": "mock",
        "duration_s": 20.0,
        "seed": 0,
        "address": "",
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type]


def test_planner_and_simulator_answer_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    run_what_if(asked(), as_json=True)
    document = json.loads(capsys.readouterr().out)
    few, many = document["rows"]
    assert (few["qps"], many["qps"], many["workers"]) == (5.0, 40.0, 4)
    fractions = [row["plan"]["cascades"][0]["deferral_fraction"] for row in (few, many)]
    assert fractions[0] == 1.0 > fractions[1]
    assert few["simulation"]["slo_violation_ratio"] == 0.0
    assert few["simulation"]["device_busy"] < many["simulation"]["device_busy"]


def test_the_table_has_a_row_per_combination(capsys: pytest.CaptureFixture[str]) -> None:
    run_what_if(asked(workers="2,4", duration_s=0.0), as_json=False)
    text = capsys.readouterr().out
    assert text.count("workers: demand") == 4
    assert "mock-light" in text


def test_the_table_says_how_many_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Violations leave the refused out: with more of these they look fewer."""
    run_what_if(asked(catalog="paper-sdturbo", qps="120", workers="2"), as_json=True)
    refused = json.loads(capsys.readouterr().out)["rows"][0]["simulation"]["rejected_ratio"]
    assert refused > 0.5
    run_what_if(asked(catalog="paper-sdturbo", qps="120", workers="2"), as_json=False)
    text = capsys.readouterr().out
    assert "rejected" in text
    assert f"{100.0 * refused:.2f} %" in text


def test_wrong_questions_are_named() -> None:
    with pytest.raises(CliError, match="--qps: 'many' is not one of numbers"):
        parse_list("--qps", "3,many")
    with pytest.raises(CliError, match=r"--workers: '2\.5' is not one of whole numbers"):
        parse_list("--workers", "2.5", is_integer=True)
    for text in ("0", "-1", "nan", "inf", "1e300"):
        with pytest.raises(CliError, match="above 0"):
            parse_list("--qps", text)
    with pytest.raises(CliError, match=r"above 0, up to 10000$"):
        parse_list("--workers", "9" * 400, is_integer=True)
    assert parse_list("--qps", " 1, 2.5 ,") == [1.0, 2.5]
    with pytest.raises(CliError, match="--catalog needs --qps and --workers"):
        run_what_if(asked(qps=""), as_json=True)
    with pytest.raises(ConfigError, match="no 'nosuch' in catalog mock; there is mock"):
        run_what_if(asked(cascade_id="nosuch"), as_json=True)


def test_what_would_take_minutes_is_refused_before_anything_is_planned() -> None:
    said = (
        "--qps: 1e+06 per second for 120 s are 1.2e+08 queries, of which no simulation takes more "
        "than 500000; lower --duration, or set it to 0 for the plan alone"
    )
    with pytest.raises(CliError, match=re.escape(said)) as caught:
        run_what_if(asked(qps="4,1e6", duration_s=120.0, catalog="nosuch"), as_json=True)
    assert caught.value.exit_code == 2
    with pytest.raises(CliError, match="--workers: '10001' is not one of whole numbers above 0, "):
        run_what_if(asked(workers="10001", catalog="nosuch"), as_json=True)


def test_a_plan_alone_may_be_asked_for_any_load(capsys: pytest.CaptureFixture[str]) -> None:
    run_what_if(asked(qps="1e6", workers="10000", duration_s=0.0), as_json=True)
    assert json.loads(capsys.readouterr().out)["rows"][0]["simulation"] is None


def test_activated_cascades_can_be_simulated_too(tmp_path: Path) -> None:
    path = tmp_path / "running.toml"
    path.write_text(RUNNING)
    running = load_catalog(str(path))
    activation = activation_of(running, path, FURTHER, "").to_json()
    assert as_activated(running, activation).default_cascade == "far"
    assert as_activated(running, "") is running
    mock = load_catalog("mock")
    assert as_activated(mock, activation) is mock


def test_a_pinned_share_is_simulated_as_it_is_planned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a controller that was told to."""

    def pinned(*question: Any) -> admin_pb2.WhatIfResponse:
        answer = plan_for(*question)
        (cascade,) = answer.plan.cascades
        cascade.deferral_fraction, cascade.deferral_target, cascade.pinned = 0.1, 0.1, True
        return answer

    monkeypatch.setattr(what_if, "plan_for", pinned)
    run_what_if(asked(qps="5"), as_json=True)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["simulation"]["heavy_share"] == pytest.approx(0.1, abs=0.08)


def test_live_latencies_and_slos_replace_the_catalogs() -> None:
    info = admin_pb2.CascadeInfo(cascade_id="mock", slo_s=7.0)
    info.light.variant_id, info.heavy.variant_id = "mock-light", "mock-heavy"
    info.light.execution_s[1], info.heavy.execution_s[1] = 0.5, 1.5
    catalog = as_measured(load_catalog("mock"), [info])
    assert catalog.cascades["mock"].slo_s == 7.0
    assert catalog.latency["mock-heavy"].execution_s(1) == 1.5
    info.cascade_id = "other"
    with pytest.raises(CliError, match="serves other, which catalog mock does not have"):
        as_measured(load_catalog("mock"), [info])
