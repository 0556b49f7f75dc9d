"""Write ``diffserve/catalogs/hadis.toml`` from the two tables of HADIS's public artifact.

Usage: python scripts/build_hadis_catalog.py PAIR.csv HYBRID.csv

``PAIR.csv`` (``light_model,heavy_model,threshold,latency,fid``) is HADIS's table without router,
``HYBRID.csv`` has ``router_ratio,disc_ratio`` beside it; its column ``threshold`` is the share that
runs heavy in all, r + (1 - r) d. Everything is taken from the second; the first, of the same
images, must agree with its rows without router.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CATALOG = Path(__file__).resolve().parent.parent / "diffserve" / "catalogs" / "hadis.toml"
SHARES = tuple(step / 10 for step in range(11))
DISAGREEMENT_MAX = 0.0101
"""Most by which the two tables differ: the last digit."""
BATCH_FACTOR = 0.9
"""Of HADIS's own simulation: a batch of b > 1 takes b times this times a batch of one."""
LOAD_S = 0.122
"""HADIS's mean swap of 1.22 s from page-locked memory, as fast as its experiment passes."""
SLO_S = 6.0
"""HADIS's 60 s, ten times as fast as its experiment passes."""
GIB = 2**30

HEAD = f"""\
# The four models, six cascades and quality tables of HADIS (arXiv 2509.00642), as figures; made by
# scripts/build_hadis_catalog.py from the tables of its public artifact, which is under the MIT
# licence (see NOTICE). Workers sleep by these latencies, ten times as fast as in reality, because
# HADIS's experiment passes ten times as fast: 0.5, 1.3, 13 and 27 s an image on an L40S, SLO 60 s.
# A batch of b > 1 takes {BATCH_FACTOR} b times as long as one image, as in its simulation; its real
# SD3.5-large is slower: batches of 2 and 4 take 2.21 and 4.47 times as long as one.
# Quality is the negated FID of 20,000 images for 5,000 ImageNet captions. `bypass`: quality when
# this fraction skips the light variant, the hardest by HADIS's prompt router, against the share
# deferred of the others. That router is hardly better than chance; what it is worth is in the
# tables. Deferral is f(t) = t: HADIS's thresholds are percentiles. Memory is that of the weights.
default_cascade = "hadis"

[class.hadis]
"""


@dataclass(frozen=True)
class Model:
    """A model of HADIS's.

    Attributes:
        short: Part of the names of cascades.
        name: Variant.
        steps: Of denoising.
        seconds: Per image, alone, on an L40S, divided by ten.
        gib: Weights, GiB.
        sizes: Batches that end within the SLO, as far as HADIS plans with them.
    """

    short: str
    name: str
    steps: int
    seconds: float
    gib: float
    sizes: tuple[int, ...]


MODELS = (
    Model("lightning", "sdxl-lightning", 2, 0.05, 6.5, (1, 2, 4, 8, 16, 32)),
    Model("turbo", "sd3-5-large-turbo", 4, 0.13, 27.4, (1, 2, 4, 8, 16, 32)),
    Model("medium", "sd3-5-medium", 50, 1.3, 16.6, (1, 2, 4)),
    Model("large", "sd3-5-large", 50, 2.7, 27.4, (1, 2)),
)

Pair = tuple[int, int]
Rows = dict[tuple[float, float], float]
"""(router ratio r, discriminator ratio d) -> FID."""


def main(pair_csv: str, hybrid_csv: str) -> None:
    """Write the catalog."""
    tables = read_tables(hybrid_csv)
    check(tables, pair_csv)
    names = {pair: f"hadis-{MODELS[pair[0]].short}-{MODELS[pair[1]].short}" for pair in tables}
    parts = [HEAD + f"cascades = [\n{lines(quoted(names.values()), 2)}\n]\n"]
    parts += [variant(model) for model in MODELS]
    parts.append('[discriminator.mock]\nscorer = "mock"\n')
    parts += [cascade(names[pair], pair, tables[pair]) for pair in tables]
    CATALOG.write_text("\n".join(parts), encoding="utf-8")


def read_tables(path: str) -> dict[Pair, Rows]:
    """Return HADIS's table by pair."""
    tables: dict[Pair, Rows] = {}
    with Path(path).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            pair = int(row["light_model"]), int(row["heavy_model"])
            shares = round(float(row["router_ratio"]), 2), round(float(row["disc_ratio"]), 2)
            tables.setdefault(pair, {})[shares] = float(row["fid"])
    for pair, rows in tables.items():
        assert sorted(rows) == [(r, d) for r in SHARES for d in SHARES], pair
        assert {rows[1.0, d] for d in SHARES} == {rows[0.0, 1.0]}, f"all heavy differs in {pair}"
    return tables


def check(tables: dict[Pair, Rows], path: str) -> None:
    """Compare with the table that has no router."""
    with Path(path).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            rows = tables[int(row["light_model"]), int(row["heavy_model"])]
            ours = rows[0.0, round(float(row["threshold"]), 2)]
            assert abs(ours - float(row["fid"])) < DISAGREEMENT_MAX, row


def variant(model: Model) -> str:
    """Return the entry of a model."""
    seconds = {b: round(model.seconds * (b * BATCH_FACTOR if b > 1 else 1), 4) for b in model.sizes}
    table = ", ".join(f"{size} = {value}" for size, value in seconds.items())
    return (
        f'[variant.{model.name}]\nbase = "{model.name}"\npipeline = "mock"\n'
        f"num_inference_steps = {model.steps}\n"
        f"guidance_scale = {0.0 if model.steps < 50 else 4.5}\nwidth = 1024\nheight = 1024\n"
        f"memory_bytes = {round(model.gib * GIB)}\nload_s = {LOAD_S}\nlatency_s = {{ {table} }}\n"
    )


def cascade(name: str, pair: Pair, rows: Rows) -> str:
    """Return the entry of a pair."""
    light, heavy = (MODELS[index].name for index in pair)
    shares = listed(SHARES)
    bypass = "\n".join(
        f"    {{ fraction = {r}, fractions = {shares}, qualities = {qualities(rows, r)} }},"
        for r in SHARES[1:-1]
    )
    return (
        f'[cascade.{name}]\nlight = "{light}"\nheavy = "{heavy}"\n'
        f'discriminator = "mock"\nslo_s = {SLO_S}\nbypass = [\n{bypass}\n]\n\n'
        f"[cascade.{name}.deferral]\nthresholds = {shares}\nfractions = {shares}\n\n"
        f'[cascade.{name}.quality]\nmetric = "-FID (5,000 ImageNet captions)"\n'
        f"fractions = {shares}\nqualities = {qualities(rows, 0.0)}\n"
    )


def qualities(rows: Rows, router_ratio: float) -> str:
    """Return the negated FIDs at one router ratio, by rising share deferred of the others."""
    return listed(f"{-rows[router_ratio, d]:.2f}" for d in SHARES)


def listed(values: Iterable[object]) -> str:
    """Return a TOML list."""
    return f"[{', '.join(str(value) for value in values)}]"


def quoted(names: Iterable[str]) -> list[str]:
    """Return TOML texts."""
    return [f'"{name}"' for name in names]


def lines(items: list[str], per_line: int) -> str:
    """Return list items, some per line."""
    rows = [items[i : i + per_line] for i in range(0, len(items), per_line)]
    return "\n".join(f"    {', '.join(row)}," for row in rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
