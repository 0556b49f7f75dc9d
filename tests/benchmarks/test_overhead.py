"""From rounds to the table and its verdicts; nothing is served here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.common.closed_loop import Sample
from benchmarks.overhead.__main__ import write_page
from benchmarks.overhead.measuring import BatchRound, CostRound, Parameters, batched_qps
from benchmarks.overhead.report import rows_of, table_of
from benchmarks.overhead.targets import HERE
from diffserve.catalog import load_catalog


def cost(raw_s: float, ours_s: float, raw_qps: int, ours_qps: int) -> CostRound:
    alone = {"raw": raw_s, "diffserve": ours_s, "call": ours_s, "stream": raw_s}
    loaded = {"raw": raw_qps, "diffserve": ours_qps, "call": ours_qps, "stream": raw_qps}
    return CostRound(
        alone={name: Sample((seconds,), 1.0) for name, seconds in alone.items()},
        loaded={name: Sample((0.01,) * count, 1.0) for name, count in loaded.items()},
    )


BATCHES = [BatchRound(rate_qps=39.2, waits_s=(0.001, 0.002), added_s=(0.003, 0.004))]


def test_targets_are_judged_by_ratios() -> None:
    p50, rate, batching, wait, *_ = rows_of([cost(0.001, 0.0025, 100, 40)], BATCHES)
    assert (p50.value.median, p50.is_met) == (pytest.approx(2.5), True)
    assert (rate.value.median, rate.is_met) == (pytest.approx(0.4), False)
    assert (batching.value.median, batching.is_met) == (pytest.approx(0.98), True)
    assert (wait.value.median, wait.is_met) == (pytest.approx(2.0), True)


def test_the_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "overhead.md"
    rows = rows_of([cost(0.001, 0.0025, 100, 40)], BATCHES)
    write_page(page, rows, Parameters())
    page.write_text(page.read_text() + "\nProfile: by hand.\n")
    write_page(page, rows, Parameters(rounds=7))
    text = page.read_text()
    assert text.count(table_of(rows)) == 1
    assert "--rounds 7" in text and "--rounds 5" not in text
    assert text.endswith("Profile: by hand.\n")
    assert json.loads(page.with_suffix(".json").read_text())["rounds"] == 7


@pytest.mark.parametrize("name", ["noop", "batch"])
def test_the_catalogs_can_be_served(name: str) -> None:
    catalog = load_catalog(str(HERE / f"{name}.toml"))
    assert catalog.cascades[name].light == f"{name}-light"


@pytest.mark.parametrize("num_batches", [3, 58, 59])
def test_the_rate_of_batches_does_not_hang_on_their_number(num_batches: int) -> None:
    ends = [0.0125 + 0.102 * batch + 0.001 * k for batch in range(num_batches) for k in range(4)]
    assert batched_qps(ends) == pytest.approx(4 / 0.102)
