"""Finished steps are not done twice, and unreadable ones are done again."""

from __future__ import annotations

from pathlib import Path

from diffserve.building.store import Store


def test_a_finished_step_is_remembered_until_the_build_is_finished(tmp_path: Path) -> None:
    calls = []

    def make() -> int:
        calls.append(1)
        return len(calls)

    store = Store(tmp_path / "key")
    assert store.load("step") is None
    assert [store.remember("step", make) for _ in range(2)] == [1, 1]
    assert Store(tmp_path / "key").remember("step", make) == 1
    store.forget()
    assert store.remember("step", make) == 2


def test_what_was_cut_short_is_done_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save("step", [1, 2])
    (tmp_path / "step.pickle").write_bytes((tmp_path / "step.pickle").read_bytes()[:5])
    assert store.load("step") is None
