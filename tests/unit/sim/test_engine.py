from __future__ import annotations

import pytest

from diffserve.sim.engine import Engine, Priority


def test_events_run_by_time_then_priority_then_order() -> None:
    engine, seen = Engine(), []
    engine.at(2.0, Priority.WORKER, lambda: seen.append("later"))
    engine.at(1.0, Priority.PLAN, lambda: seen.append("plan"))
    engine.at(1.0, Priority.ARRIVAL, lambda: seen.append("first"))
    engine.at(1.0, Priority.ARRIVAL, lambda: seen.append("second"))
    while engine.next_s is not None:
        engine.step()
    assert seen == ["first", "second", "plan", "later"]
    assert engine.now_s == 2.0


def test_time_never_goes_back() -> None:
    engine = Engine()
    engine.advance_to(3.0)
    engine.advance_to(1.0)
    assert engine.now_s == 3.0
    with pytest.raises(AssertionError):
        engine.at(2.0, Priority.WORKER, lambda: None)
