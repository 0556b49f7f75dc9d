"""Which failures are tried again, and after which pause."""

from __future__ import annotations

import math

import pytest

from diffserve.client import Retries
from diffserve.errors import BackendError, DeadlineError, OverloadedError, UnavailableError

RETRIES = Retries(num_max=2, pause_s=0.1)
BUSY = OverloadedError("busy", predicted_wait_s=3.0, retry_after_s=0.7)


def test_pauses_double_while_no_server_is_there() -> None:
    gone = UnavailableError("gone")
    assert RETRIES.pause_after(gone, 1, math.inf) == pytest.approx(0.1)
    assert RETRIES.pause_after(gone, 2, math.inf) == pytest.approx(0.2)
    assert RETRIES.pause_after(gone, 3, math.inf) is None


def test_a_refusal_is_tried_again_when_the_server_says() -> None:
    assert RETRIES.pause_after(BUSY, 1, 10.0) == 0.7
    assert RETRIES.pause_after(BUSY, 1, 0.5) is None


@pytest.mark.parametrize("error", [BackendError("broke"), DeadlineError("late")])
def test_answers_are_not_tried_again(error: BackendError | DeadlineError) -> None:
    assert RETRIES.pause_after(error, 1, math.inf) is None
