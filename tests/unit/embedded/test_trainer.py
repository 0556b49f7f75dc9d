import json

import numpy as np
import pytest
import torch
from torch import nn

from diffserve.embedded.trainer import (
    Budget,
    TrainConfig,
    Trainer,
    TrainingTask,
    learning_rate_factor,
    seed_everything,
)


class Line(TrainingTask):
    """Learns y = 2x."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def loss(self, batch_size, rng, generator):
        x = torch.from_numpy(rng.random((batch_size, 1), np.float32))
        return ((self.layer(x) - 2 * x) ** 2).mean()


def config(steps, **changes):
    settings = {"budget": Budget(steps=steps), "batch_size": 16, "learning_rate": 0.05} | changes
    return TrainConfig(**settings)


def train(run_dir, steps, resume=False, **changes):
    seed_everything(0)
    trainer = Trainer(Line(), config(steps, **changes), run_dir)
    if resume:
        trainer.resume()
    trainer.run()
    return trainer.averaged


def test_training_learns_and_is_reproducible(tmp_path):
    one, other = (train(tmp_path / name, 200, ema_decay=0.9) for name in "ab")
    assert one.layer.weight.item() == other.layer.weight.item()
    loss = one.loss(64, np.random.default_rng(1), torch.Generator()).item()
    assert loss < 0.05


def test_a_finished_run_is_not_trained_again(tmp_path):
    before = train(tmp_path, 20).layer.weight.item()
    assert train(tmp_path, 20, resume=True).layer.weight.item() == before
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [20, 20]


def test_a_run_goes_on_where_it_stopped(tmp_path):
    train(tmp_path, 20)
    resumed = train(tmp_path, 40, resume=True)
    kept = torch.load(tmp_path / "checkpoint.pt", map_location="cpu", weights_only=True)
    loaded = Line()
    loaded.load_state_dict(kept["average"])
    assert loaded.layer.weight.item() == resumed.layer.weight.item()
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 40


def test_the_learning_rate_rises_then_falls_to_zero():
    assert learning_rate_factor(0.0) < 0.05
    assert learning_rate_factor(0.02) > 0.99
    assert learning_rate_factor(0.5) == pytest.approx(0.5, abs=0.01)
    assert learning_rate_factor(1.0) == pytest.approx(0.0)


def test_budgets_count_steps_or_seconds():
    assert Budget(steps=10).progress(step=5, elapsed_s=1e9) == 0.5
    assert Budget(seconds=10).progress(step=10**9, elapsed_s=2.5) == 0.25
    assert Budget(steps=10).progress(step=50, elapsed_s=0.0) == 1.0
