"""What is asked of a worker's process arrives there, and what it measures comes back."""

from __future__ import annotations

import json
from pathlib import Path

from diffserve.building.catalog_file import Profile
from diffserve.building.rehearsal import (
    Order,
    Rehearsal,
    profile_from_event,
    profile_to_event,
)
from diffserve.core import Lora, Variant

VARIANT = Variant(
    variant_id="v",
    base="b",
    pipeline="StableDiffusionPipeline",
    source="owner/name",
    num_inference_steps=4,
    guidance_scale=1.0,
    width=64,
    height=64,
    scheduler_options=(("spacing", "trailing"), ("shift", 3.0), ("on", True)),
    loras=(Lora(source="a/b", scale=0.5),),
)


def test_a_rehearsal_survives_the_pipe(tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        variant=VARIANT,
        device="cuda:1",
        batch_sizes=(1, 2),
        is_profiled=True,
        orders=(Order(path=str(tmp_path / "a"), prompt='"ein Bär"\n', seed=2**32 - 1),),
        drawn_at_once=2,
    )
    assert Rehearsal.from_json(rehearsal.to_json()) == rehearsal


def test_a_profile_survives_the_pipe() -> None:
    profile = Profile(
        execution_s={1: 0.1, 8: 0.5}, execution_s_p95={1: 0.2, 8: 0.6}, memory_bytes=7, load_s=2.0
    )
    assert profile_from_event(json.loads(json.dumps(profile_to_event(profile)))) == profile


def test_an_order_is_done_when_there_is_an_image_or_none_to_be(tmp_path: Path) -> None:
    drawn, withheld, scored = (Order(str(tmp_path / name), name, 0) for name in "abc")
    drawn.image.touch()
    withheld.withheld.touch()
    scored.scored.touch()
    assert [order.is_done for order in (drawn, withheld, scored)] == [True, True, False]
    assert len({drawn.image, drawn.scored, drawn.withheld}) == 3
