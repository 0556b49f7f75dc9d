from __future__ import annotations

from diffserve.core import Outcome
from diffserve.policy.ledger import Ledger


def test_what_has_not_ended_is_in_progress() -> None:
    ledger = Ledger()
    for _ in range(3):
        ledger.arrived("c")
    ledger.arrived("other")
    ledger.ended("c", Outcome.LIGHT)
    assert ledger.num_arrivals("c") == 3
    assert ledger.num_in_progress("c") == 2
    assert ledger.outcomes("c")[Outcome.LIGHT] == 1
    assert sum(ledger.outcomes("other").values()) == 0
