"""Options that all commands about the embedded variants share, checked."""

from __future__ import annotations

from pathlib import Path

from diffserve.cli.output import CliError
from diffserve.embedded.presets import PRESETS, WEIGHTS, Preset


def presets_named(names: tuple[str, ...]) -> tuple[Preset, ...]:
    """Return the variants of some names, the fastest first; all without names.

    Raises:
        CliError: one is not known, or there is nothing to compare one with.
    """
    known = {preset.name: preset for preset in PRESETS}
    for name in names:
        if name not in known:
            raise CliError(f"--variants: no variant {name!r}; there are {', '.join(known)}", 2)
    chosen = tuple(preset for preset in PRESETS if not names or preset.name in names)
    if len(chosen) < 2:
        raise CliError("--variants: name at least two, for there is nothing to compare one with", 2)
    return chosen


def checked_weights(folder: Path | None) -> Path:
    """Return the folder of the models' folders; the shipped one for None.

    Raises:
        CliError: it is no folder.
    """
    if folder is not None and not folder.is_dir():
        raise CliError(f"--weights: {folder} is no folder", 2)
    return folder or WEIGHTS
