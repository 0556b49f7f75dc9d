"""``diffserve train``: trains the embedded models."""

from __future__ import annotations

from pathlib import Path

import torch

from diffserve.cli.output import CliError, emit_json, stdout
from diffserve.embedded.train import TARGETS, TrainOptions, train

ALL = "all"


def run_train(
    target: str, options: TrainOptions, *, threads: int | None, as_json: bool
) -> dict[str, Path]:
    """Train one model, or all of them one after the other.

    Args:
        target: One of ``TARGETS``, or "all".
        options: How to train.
        threads: CPU threads; None leaves that to torch.
        as_json: Print one JSON document at the end instead of lines.

    Returns:
        The folder of the finished weights, by target.

    Raises:
        CliError: There is no such target or device.
    """
    if target not in (*TARGETS, ALL):
        raise CliError(f"no model {target!r}; there are {', '.join((*TARGETS, ALL))}")
    _check_device(options.device)
    if threads is not None:
        torch.set_num_threads(threads)
    folders = {}
    for name in TARGETS if target == ALL else (target,):
        folders[name] = train(name, options)
        if not as_json:
            stdout().print(f"{name}: {folders[name]}")
    if as_json:
        emit_json({name: str(folder) for name, folder in folders.items()})
    return folders


def _check_device(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise CliError(f"device {device!r} cannot be used: {reason}") from error
