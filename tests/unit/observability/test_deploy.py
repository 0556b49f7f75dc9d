"""Dashboard, rules and scrape configuration name only what services declare, and all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from diffserve.observability.table import METRICS, Kind

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "observability"
COMPOSE = FOLDER.parent / "compose" / "compose.yaml"
DECLARED = {metric.name: metric for table in METRICS.values() for metric in table}
NAME = re.compile(r"\bdiffserve_[a-z0-9_]+")
RECORDED = re.compile(r"\bdiffserve:[a-z0-9_:]+")


def dashboard() -> Any:
    return json.loads((FOLDER / "grafana/dashboards/diffserve.json").read_text())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    assert len({group["name"] for group in groups}) == len(groups)
    return [rule for group in groups for rule in group["rules"]]


def dashboard_expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def expressions() -> list[str]:
    return [*dashboard_expressions(), *(rule["expr"] for rule in rules())]


def declared_as(name: str) -> str:
    """Return the metric that a series belongs to; fails when there is none."""
    if name in DECLARED:
        assert DECLARED[name].kind is not Kind.HISTOGRAM, f"{name} needs _bucket, _sum or _count"
        return name
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    assert base in DECLARED, f"no metric {name}"
    assert DECLARED[base].kind is Kind.HISTOGRAM, name
    return base


@pytest.mark.parametrize("expression", expressions())
def test_expressions_name_metrics_and_labels_that_there_are(expression: str) -> None:
    names = NAME.findall(expression)
    assert names or RECORDED.search(expression) or expression.startswith("up{")
    metrics = [DECLARED[declared_as(name)] for name in names]
    grouped = re.findall(r"\b(?:by|on) \(([a-z_, ]+)\)", expression)
    known = {"le", "instance", *(label for metric in metrics for label in metric.labels)}
    used = {label.strip() for group in grouped for label in group.split(",")}
    matched = set(re.findall(r"[{,]([a-z_]+)(?==|!=|=~)", expression)) - {"job"}
    assert used | matched <= known
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_counters_are_shown_as_rates_and_gauges_as_they_are() -> None:
    for expression in expressions():
        for name in NAME.findall(expression):
            metric = DECLARED[declared_as(name)]
            is_rate = re.search(rf"(rate|increase)\({name}(\{{[^}}]*\}})?\[", expression)
            assert bool(is_rate) == (metric.kind is not Kind.GAUGE), expression


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {declared_as(name) for text in dashboard_expressions() for name in NAME.findall(text)}
    assert set(DECLARED) - shown == set()


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)


def test_rules_are_of_the_form_that_prometheus_takes() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert ("record" in rule) != ("alert" in rule)
        assert set(rule) <= {"record", "alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[sm]", rule.get("for", "1m"))
        assert set(RECORDED.findall(rule["expr"])) <= recorded
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"info", "warning", "critical"}
            assert rule["annotations"]["summary"]


def test_every_service_is_scraped_at_the_port_that_compose_gives_it() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == set(METRICS)
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for job in jobs:
        (target,) = job["dns_sd_configs"]
        assert target["names"] == [job["job_name"]]
        port = services[job["job_name"]]["environment"]["DIFFSERVE_METRICS_PORT"]
        assert str(target["port"]) == port


def test_the_overlay_mounts_files_that_there_are() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    assert len(files) == 5
    for name in files:
        assert (COMPOSE.parent / name).resolve().exists(), name
