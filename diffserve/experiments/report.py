"""Writes what experiments found: a page, its numbers and its figures, and an index of all pages."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffserve import __version__
from diffserve.errors import ConfigError
from diffserve.experiments.drawing import STYLE
from diffserve.experiments.experiment import Figure, Result, Table

SVG_BYTES_MAX = 150_000
_PNG_DPI = 130
_NUMBER = re.compile(r"[-+]?\d")
SIMULATED = (
    "Everything on this page is **simulated**: `diffserve simulate` drives the live balancer and "
    "planner, and re-implementations of the baselines, on virtual time. No figure of a serving "
    "system on it was measured on a device."
)
_DIR = (
    "`DIR` is a folder with the authors' trace files that are named below. Without `--data` the "
    "page has everything on our own loads, and needs nothing that does not come with the project."
)
OTHERS = {
    "embedded.md": "The embedded zoo: the models that come with the project",
    "overhead.md": "What DiffServe adds to a model: the data plane",
    "peers.md": "DiffServe beside general servers",
}
LIVE = "This page compares a **running deployment** with the simulator; it says which is which."


@dataclass(frozen=True, slots=True)
class Made:
    """How a page came about.

    Attributes:
        command: Makes it again; folders of other people's files are called DIR.
        seeds: With which every run was repeated; none where every prompt has its own.
        quick: Whether points were left out.
    """

    command: str
    seeds: tuple[int, ...]
    quick: bool


def check_drawing() -> None:
    """Fail before hours of simulation, not after.

    Raises:
        ConfigError: figures cannot be drawn.
    """
    try:
        import matplotlib as _  # noqa: F401
    except ImportError:
        raise ConfigError(
            "figures need matplotlib: pip install 'diffserve[reproduce]', or `make setup`"
        ) from None


def write_page(result: Result, made: Made, folder: Path) -> Path:
    """Write a result and return its page; old figures of the same page are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{result.name}--*"):
        old.unlink()
    files = [_write_figure(result.name, figure, folder) for figure in result.figures]
    page = folder / f"{result.name}.md"
    page.write_text(_page(result, made, files), encoding="utf-8")
    document = {
        "name": result.name,
        "title": result.title,
        "question": result.question,
        "answer": result.answer,
        "is_simulated": result.is_simulated,
        "command": made.command,
        "version": __version__,
        "seeds": list(made.seeds),
        "quick": made.quick,
        "inputs": list(result.inputs),
        "data": result.data,
    }
    text = json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / f"{result.name}.json").write_text(text + "\n", encoding="utf-8")
    return page


def _page(result: Result, made: Made, files: Sequence[str]) -> str:
    seeds = ", ".join(str(seed) for seed in made.seeds)
    several = len(made.seeds) > 1
    parts = [
        f"# {result.title}",
        result.origin or (SIMULATED if result.is_simulated else LIVE),
        f"**Question.** {result.question}",
        f"**Answer.** {result.answer}",
        *(_table(table) for table in result.tables),
        *(_figure(figure, file) for figure, file in zip(result.figures, files, strict=True)),
        "## Made by",
        f"```\n{made.command}\n```",
        _DIR if " DIR" in made.command else "",
        f"DiffServe {__version__}"
        + (f", seed{'s' if several else ''} {seeds}" if seeds else "")
        + ("; quick mode, with fewer points" if made.quick else "")
        + (
            "; figures are medians over the seeds, with least and largest in brackets where they "
            "differ. "
            if several
            else ". "
        )
        + f"The numbers are in [{result.name}.json]({result.name}.json).",
        "## Inputs",
        "\n".join(f"* {line}" for line in result.inputs),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    """Return Markdown; columns that hold numbers are aligned to the right."""
    is_number = [
        all(_NUMBER.match(row[column]) or row[column] == "-" for row in table.rows)
        for column in range(len(table.columns))
    ]
    rules = ["---:" if right else "---" for right in is_number]
    lines = [list(table.columns), rules, *table.rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {table.title}\n\n{text}" + (f"\n\n{table.note}" if table.note else "")


def _figure(figure: Figure, file: str) -> str:
    return f"## {figure.title}\n\n![{figure.title}]({file})\n\n{figure.caption}"


def _write_figure(page: str, figure: Figure, folder: Path) -> str:
    """Write an SVG, or a PNG where that would be large; return the name of the file."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(dict[Any, Any](STYLE)):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        figure.draw(canvas)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        name, content = f"{page}--{figure.name}.svg", buffer.getvalue()
        if len(content) > SVG_BYTES_MAX:
            buffer = io.BytesIO()
            canvas.savefig(buffer, format="png", dpi=_PNG_DPI, metadata={"Software": None})
            name, content = f"{page}--{figure.name}.png", buffer.getvalue()
    (folder / name).write_bytes(content)
    return name


def write_index(folder: Path, order: Sequence[str], command: str) -> Path:
    """Write the list of all pages of the folder, in the given order; return it."""
    pages = []
    for name in order:
        path = folder / f"{name}.json"
        if path.is_file():
            pages.append(json.loads(path.read_text(encoding="utf-8")))
    rows = [
        f"| [{page['title']}]({page['name']}.md) | {page['question']} | "
        f"{'simulated' if page['is_simulated'] else 'measured'}"
        f"{', quick' if page['quick'] else ''} |"
        for page in pages
    ]
    parts = [
        "# Results",
        "Made by the project itself, by one command; each page names its own.",
        f"```\n{command}\n```",
        "\n".join(["| page | question | kind |", "|---|---|---|", *rows]),
        "What the words mean: a *violation* is a query that was accepted and not answered by its "
        "deadline; refusals at the door are counted apart. *FID* is read off the paper's authors' "
        "table at the share of heavy answers, not measured; *windowed* is its mean over windows of "
        "5 s of arrival; lower is better. *Devices busy* is the share of device time spent on "
        "batches. The *bound* is a clairvoyant fluid that nobody can beat.",
        _others(folder),
    ]
    index = folder / "README.md"
    index.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return index


def _others(folder: Path) -> str:
    """Return links to the pages of other commands, as far as the folder has them."""
    there = [f"* [{title}]({file})" for file, title in OTHERS.items() if (folder / file).is_file()]
    return "\n".join(["Measured by commands of their own:", "", *there]) if there else ""


def _plain(value: Any) -> Any:
    """Return JSON values: six digits are plenty, and what is not a number is null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
