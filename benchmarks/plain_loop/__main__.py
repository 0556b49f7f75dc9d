"""``python -m benchmarks.plain_loop``: images per second, worker against plain diffusers."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.plain_loop.architectures import SD_TURBO, SD_V1_5, TINY, Architecture, save
from benchmarks.plain_loop.measuring import (
    Row,
    compare,
    plain_loop,
    variant_of,
    worker_backend,
)

HEAD = "| architecture | batch | plain loop, images/s | worker, images/s | ratio | least ratio |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write it."""
    options = _parser().parse_args(arguments)
    on_cuda = torch.cuda.is_available()
    if not on_cuda and not options.tiny:
        print("no CUDA device: `--tiny` tries the benchmark out on the CPU", file=sys.stderr)
        return 1
    device, dtype = ("cuda:0", "float16") if on_cuda else ("cpu", "float32")
    architectures = (TINY,) if options.tiny else (SD_TURBO, SD_V1_5)
    rows = [
        row
        for architecture in architectures
        for row in _measured(architecture, device, dtype, options)
    ]
    name = torch.cuda.get_device_name(0) if on_cuda else "CPU"
    text = "\n".join(_page(rows, name, dtype))
    print(text)
    if options.out:
        Path(options.out).with_suffix(".md").write_text(text + "\n", encoding="utf-8")
        document = {"device": name, "torch": torch.__version__, "rows": [asdict(r) for r in rows]}
        Path(options.out).with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_loop", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny networks: a trial, no result")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 8], help="batch sizes")
    parser.add_argument("--rounds", type=int, default=5, help="times that both take turns")
    parser.add_argument("--round-s", type=float, default=5.0, help="least length of a turn, s")
    parser.add_argument("--compile", default="auto", help="mode, as worker.compile")
    parser.add_argument("--out", default="", help="file to write, without its suffix")
    return parser


def _measured(
    architecture: Architecture, device: str, dtype: str, options: argparse.Namespace
) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        save(architecture, Path(directory), getattr(torch, dtype))
        variant = variant_of(architecture, Path(directory), dtype)
        plain = plain_loop(variant, device)
        worker = worker_backend(variant, device, options.sizes, options.compile)
        rows = []
        for size in options.sizes:
            print(f"{architecture.name}, batches of {size} ...", file=sys.stderr)
            rows.append(
                compare(
                    *(variant, size, plain, worker),
                    num_rounds=options.rounds,
                    round_s=options.round_s,
                )
            )
        return rows


def _page(rows: Sequence[Row], device: str, dtype: str) -> list[str]:
    return [
        "# A worker against a plain diffusers loop",
        "",
        f"Measured on {device}, torch {torch.__version__}, {dtype}. Random weights: `tiny` of tiny "
        "networks, a trial and no result; the others of the published architectures, 512 pixels. "
        "Both return images on the host. Made by `python -m benchmarks.plain_loop`.",
        "",
        HEAD,
        "|" + "---|" * 6,
        *(
            f"| {row.architecture} | {row.batch_size} | {row.plain_ips:.2f} | {row.worker_ips:.2f} "
            f"| {row.ratio:.2f} | {row.ratio_low:.2f} |"
            for row in rows
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
