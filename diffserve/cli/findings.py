"""What a check of ``diffserve doctor`` reports."""

from __future__ import annotations

import contextlib
import enum
import os
from dataclasses import dataclass

from diffserve.config import UpSettings, load_settings
from diffserve.errors import ConfigError

REPAIR = "run `make setup`"


class Level(enum.StrEnum):
    """How bad a finding is; only FAIL makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at.
        level: How it is.
        detail: What was found.
        remedy: What to do about it; empty when nothing.
    """

    check: str
    level: Level
    detail: str
    remedy: str = ""


def settings_or_defaults() -> UpSettings:
    """Return the settings of ``diffserve up``; the defaults when they are wrong.

    What is wrong is the finding of one check; the others go on with the defaults.
    """
    with contextlib.suppress(ConfigError):
        return load_settings(UpSettings, environ=os.environ)
    return load_settings(UpSettings, environ={})
