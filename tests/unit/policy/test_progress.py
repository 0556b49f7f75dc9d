from __future__ import annotations

import pytest

from diffserve.core import CascadeStage, Preference
from diffserve.policy.progress import UNSCORED_RANK, Phase, Progress
from tests.unit.policy.harness import make_query


@pytest.mark.parametrize("phase", Phase)
def test_light_image_is_at_hand_from_the_heavy_queue_on(phase: Phase) -> None:
    expected = phase in (Phase.HEAVY_QUEUE, Phase.HEAVY_EXECUTION)
    assert Progress(make_query("a"), phase).has_light_image == expected


def test_bypassed_query_has_no_light_image_to_fall_back_on() -> None:
    progress = Progress(make_query("a"), Phase.HEAVY_QUEUE, is_bypassed=True)
    assert progress.stage is CascadeStage.HEAVY
    assert not progress.has_light_image


def test_rank_is_the_percentile_unless_the_client_chose() -> None:
    progress = Progress(make_query("a"), Phase.HEAVY_QUEUE)
    assert progress.rank == UNSCORED_RANK
    progress.percentile = 0.4
    assert progress.rank == 0.4
    chosen = make_query("b", preference=Preference.HEAVY)
    assert Progress(chosen, Phase.HEAVY_QUEUE, percentile=0.4).rank == UNSCORED_RANK
