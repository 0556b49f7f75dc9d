"""A resumable training loop with a known budget, shared by all embedded models."""

from __future__ import annotations

import copy
import json
import math
import random
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_ALL_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_CHECKPOINT = "checkpoint.pt"
_WARM_UP_SHARE = 0.02
_GRADIENT_NORM_MAX = 1.0


class TrainingTask(nn.Module, ABC):
    """A module that knows how to compute its own training loss."""

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return what to optimise, as torch's parameter groups.

        The learning rate of a group is the configured one times its "scale", 1 by default.
        """
        return [{"params": list(self.parameters())}]

    @abstractmethod
    def loss(
        self, batch_size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Draw a batch and return its loss, a scalar; all randomness comes from the arguments."""


TaskT = TypeVar("TaskT", bound=TrainingTask)


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, or of seconds when ``seconds`` is given."""

    steps: int = 0
    seconds: float | None = None

    def progress(self, step: int, elapsed_s: float) -> float:
        """Return the share of the budget that is used up, in [0, 1]."""
        spent = step / max(1, self.steps) if self.seconds is None else elapsed_s / self.seconds
        return min(1.0, spent)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run.

    Attributes:
        budget: When to stop; the learning rate falls to zero exactly then.
        batch_size: Samples per step.
        learning_rate: Peak learning rate.
        ema_decay: Decay of the weight average that is exported, per step.
        seed: Seeds data, noise and initial weights.
        checkpoint_s: Seconds between checkpoints.
        device: Torch device name.
    """

    budget: Budget
    batch_size: int
    learning_rate: float = 1e-3
    ema_decay: float = 0.999
    seed: int = 0
    checkpoint_s: float = 120.0
    device: str = "cpu"


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy's legacy state and torch: initial weights depend on the seed only."""
    random.seed(seed)
    torch.manual_seed(seed)


def learning_rate_factor(progress: float) -> float:
    """Return the share of the peak learning rate: a short warm-up, then a cosine to zero."""
    warm_up = min(1.0, (progress + 1e-4) / _WARM_UP_SHARE)
    return warm_up * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer(Generic[TaskT]):
    """Optimises a task, keeps an average of its weights and survives interruption.

    Args:
        task: What to train, with freshly initialised weights.
        config: Settings.
        run_dir: Receives ``checkpoint.pt`` and ``log.jsonl``.
    """

    def __init__(
        self,
        task: TaskT,
        config: TrainConfig,
        run_dir: Path,
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._task = task.to(config.device).train()
        self._average = copy.deepcopy(self._task).eval().requires_grad_(False)
        self._optimizer = torch.optim.AdamW(
            self._task.parameter_groups(), lr=config.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self._step = 0
        self._elapsed_s = 0.0
        run_dir.mkdir(parents=True, exist_ok=True)

    @property
    def averaged(self) -> TaskT:
        """The task with averaged weights, in evaluation mode."""
        return self._average

    def resume(self) -> None:
        """Continue from the run directory's checkpoint, if there is one."""
        path = self._run_dir / _CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, map_location=self._config.device, weights_only=True)
        self._task.load_state_dict(state["task"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._elapsed_s = state["step"], state["elapsed_s"]

    def run(self) -> None:
        """Train until the budget is used up."""
        # Seeding by step keeps a resumed run from repeating the batches it has already seen.
        rng = np.random.default_rng([self._config.seed, self._step])
        generator = torch.Generator().manual_seed(self._config.seed + self._step)
        saved_at = time.monotonic()
        started_at = saved_at - self._elapsed_s
        losses: list[float] = []
        columns = (
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            bar_id = bar.add_task("train", total=1.0, step=self._step, loss=math.nan)
            while self._progress() < 1:
                losses.append(self._train_step(rng, generator))
                self._elapsed_s = time.monotonic() - started_at
                mean_loss = sum(losses[-100:]) / len(losses[-100:])
                bar.update(bar_id, completed=self._progress(), step=self._step, loss=mean_loss)
                if time.monotonic() - saved_at > self._config.checkpoint_s:
                    self._save(mean_loss)
                    saved_at = time.monotonic()
        self._save(sum(losses[-100:]) / max(1, len(losses[-100:])))

    def _progress(self) -> float:
        return self._config.budget.progress(self._step, self._elapsed_s)

    def _train_step(self, rng: np.random.Generator, generator: torch.Generator) -> float:
        factor = learning_rate_factor(self._progress())
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.learning_rate * factor * group.get("scale", 1.0)
        # On CPUs the fused attention kernels are slow to differentiate; plain algebra is not.
        backends = [SDPBackend.MATH] if self._config.device == "cpu" else _ALL_BACKENDS
        autocast = torch.autocast(self._config.device.split(":")[0], dtype=torch.bfloat16)
        with autocast, sdpa_kernel(backends):
            loss = self._task.loss(self._config.batch_size, rng, generator)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._task.parameters(), _GRADIENT_NORM_MAX)
        self._optimizer.step()
        self._step += 1
        # Early on, the average must forget the initial weights quickly.
        decay = min(self._config.ema_decay, (1 + self._step) / (10 + self._step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._average.parameters()), list(self._task.parameters()), 1 - decay
            )
        return loss.item()

    def _save(self, loss: float) -> None:
        state = {
            "task": self._task.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "elapsed_s": self._elapsed_s,
        }
        partial = self._run_dir / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self._run_dir / _CHECKPOINT)
        with (self._run_dir / "log.jsonl").open("a") as log:
            entry = {"step": self._step, "elapsed_s": round(self._elapsed_s), "loss": loss}
            log.write(json.dumps(entry) + "\n")
