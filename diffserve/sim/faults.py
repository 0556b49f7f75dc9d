"""What breaks during a run, read from a TOML file.

::

    [[worker_loss]]        # processes die; with duration_s they come back, restarted
    at_s = 200.0
    share = 0.2            # of the workers, chosen by the seed; or: workers = [0, 3]
    duration_s = 60.0

    [[slow_down]]          # devices take factor times as long
    at_s = 50.0
    duration_s = 100.0
    share = 0.25
    factor = 1.5

    [[late_plan]]          # plans arrive delay_s late
    at_s = 100.0
    duration_s = 60.0
    delay_s = 7.0

    [[lost_telemetry]]     # reports do not reach the controller
    at_s = 150.0
    duration_s = 30.0

    [[confidence_shift]]   # the discriminator gives logit / temperature + offset
    at_s = 120.0
    temperature = 2.0      # above 1: less sure of everything
    offset = 1.0           # above 0: more confident of everything
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from diffserve.errors import ConfigError
from diffserve.files import text_of


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    at_s: float = Field(ge=0)
    duration_s: float = Field(math.inf, gt=0)

    def is_active(self, now_s: float) -> bool:
        """Whether it holds at an instant."""
        return self.at_s <= now_s < self.at_s + self.duration_s


class _WorkerFault(_Fault):
    share: float = Field(0.0, ge=0, le=1)
    workers: tuple[NonNegativeInt, ...] = ()

    def chosen(self, num_workers: int, generator: np.random.Generator) -> Sequence[int]:
        """Return the indices of the workers that it strikes."""
        if self.workers:
            return [index for index in self.workers if index < num_workers]
        count = round(self.share * num_workers)
        return sorted(generator.permutation(num_workers)[:count].tolist())


class WorkerLoss(_WorkerFault):
    """Worker processes die with what they run."""


class SlowDown(_WorkerFault):
    """Devices take longer."""

    factor: float = Field(gt=0)


class LatePlan(_Fault):
    """Plans take longer to reach the router."""

    delay_s: float = Field(ge=0)


class LostTelemetry(_Fault):
    """Reports do not reach the controller."""


class ConfidenceShift(_Fault):
    """Confidences drift: new prompts, weights or encodings score differently.

    The order of the images stays, so ranks, once the sketch has adapted, mean the same.
    """

    temperature: float = Field(1.0, gt=0)
    offset: float = Field(0.0, allow_inf_nan=False)


class Faults(BaseModel):
    """Everything that breaks in one run; empty by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    worker_loss: tuple[WorkerLoss, ...] = ()
    slow_down: tuple[SlowDown, ...] = ()
    late_plan: tuple[LatePlan, ...] = ()
    lost_telemetry: tuple[LostTelemetry, ...] = ()
    confidence_shift: tuple[ConfidenceShift, ...] = ()

    def plan_delay_s(self, now_s: float) -> float:
        """Return by how much a plan made now is late."""
        return max((f.delay_s for f in self.late_plan if f.is_active(now_s)), default=0.0)

    def loses_telemetry(self, now_s: float) -> bool:
        """Whether a report sent now is lost."""
        return any(fault.is_active(now_s) for fault in self.lost_telemetry)


def read_faults(path: str) -> Faults:
    """Read a fault file.

    Raises:
        ConfigError: it cannot be read, or an entry is wrong; names the field.
    """
    try:
        return Faults(**tomllib.loads(text_of(path)))
    except OSError as error:
        raise ConfigError(f"faults: cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}") from None
