"""Queues by stage, and when a query is due there."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from diffserve.core import CascadeStage
from diffserve.policy.book import QueryBook
from diffserve.policy.fleet import Fleet
from diffserve.policy.progress import Phase, Progress
from diffserve.policy.routing import ClassRouter
from diffserve.policy.stages import Stages
from tests.unit.policy.harness import make_query
from tests.unit.policy.mixture import CASCADES, PROFILES

MARGIN_S = 0.05


def made() -> tuple[Stages, Fleet, QueryBook]:
    fleet, book = Fleet(PROFILES, CASCADES.values()), QueryBook()
    return Stages(CASCADES, fleet, ClassRouter(CASCADES, {}, {}), book, MARGIN_S), fleet, book


def opened(book: QueryBook, cascade_id: str) -> Progress:
    query = replace(make_query(f"q-{cascade_id}"), cascade_id=cascade_id)
    progress = Progress(query, Phase.LIGHT_QUEUE)
    book.open(progress)
    return progress


def test_a_variant_has_a_queue_for_each_of_its_stages() -> None:
    stages, fleet, book = made()
    near, far = opened(book, "near"), opened(book, "far")
    stages.enqueue_heavy(near, 0.0)
    stages.enqueue_light(far, 0.0)
    assert [q.query_id for q in fleet.pool("mid", CascadeStage.HEAVY).queue] == ["q-near"]
    assert [q.query_id for q in fleet.pool("mid", CascadeStage.LIGHT).queue] == ["q-far"]
    stages.leave(near)
    assert not len(fleet.pool("mid", CascadeStage.HEAVY).queue)


def test_due_with_an_image_is_before_the_deadline() -> None:
    stages, _, book = made()
    progress = opened(book, "near")
    stages.enqueue_light(progress, 0.0)
    assert stages.due_s(progress) == 5.0
    stages.leave(progress)
    stages.enqueue_heavy(progress, 0.0)
    assert stages.due_s(progress) == 5.0 - MARGIN_S
    assert book.next_wakeup_s == 5.0 - MARGIN_S


def test_due_without_an_image_is_while_the_light_variant_can_still_help() -> None:
    stages, _, book = made()
    progress = opened(book, "near")
    stages.enqueue_bypassed(progress, 0.0)
    # Two full light batches take 0.5 s, longer than one heavy image.
    assert stages.due_s(progress) == pytest.approx(5.0 - 0.5 - MARGIN_S)
    assert book.next_wakeup_s == stages.due_s(progress)
    stages.leave(progress)
    stages.enqueue_light(progress, 1.0)
    assert (progress.is_bypassed, progress.light_by_s) == (False, math.inf)
    assert stages.due_s(progress) == 5.0
