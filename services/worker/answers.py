"""From pixels to answers: encodes and scores a finished batch, off the device thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diffserve.core import Population
from diffserve.errors import BackendError
from diffserve.rpc.v1 import common_pb2, discriminator_pb2, worker_pb2
from services.worker import encoding
from services.worker.backends.base import Picture, settled
from services.worker.batch import Drawing
from services.worker.runs import BatchRun
from services.worker.scoring import ImageScoring

logger = logging.getLogger(__name__)

SMALL_PIXELS = 128 * 128
"""Batches of no more are encoded on the event loop: handing over to a thread takes longer."""
APART_S = 0.0005
"""Small images leave in groups that took so long to encode: whoever gets the first of a large batch
works on them while the others are encoded."""
NUM_PAIRING_MAX = 4
"""Batches whose heavy images are being scored; those of later ones are left unscored."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Picture:
    drawing: Drawing
    pixels: NDArray[np.uint8]
    small: NDArray[np.uint8]
    unknown_words: tuple[str, ...]


class _Encoding:
    """A batch's images on their way into files: small ones when asked for, others in threads."""

    def __init__(self, pictures: Sequence[_Picture], pool: ThreadPoolExecutor) -> None:
        self._pictures = pictures
        self._futures: list[asyncio.Future[common_pb2.Image]] = []
        self._group_s = 0.0
        if sum(picture.pixels.size for picture in pictures) > 3 * SMALL_PIXELS:
            loop = asyncio.get_running_loop()
            self._futures = [loop.run_in_executor(pool, _encode, p) for p in pictures]

    def parts_before(self, index: int) -> bool:
        """Return whether what is ready leaves before this image, which then begins a new group."""
        if self._futures:
            return not self._futures[index].done()
        if self._group_s < APART_S:
            return False
        self._group_s = 0.0
        return True

    async def image(self, index: int) -> common_pb2.Image:
        """Return the file of an image, once it is encoded."""
        if self._futures:
            return await self._futures[index]
        began_s = time.monotonic()
        image = _encode(self._pictures[index])
        self._group_s += time.monotonic() - began_s
        return image


class Answers:
    """Makes the results of released batches."""

    def __init__(self, scoring: ImageScoring) -> None:
        self._scoring = scoring
        # Pillow and numpy release the interpreter lock in the work that counts.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="encoder")
        self._pairing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Release the threads and the connection."""
        for task in self._pairing:
            task.cancel()
        await asyncio.gather(*self._pairing, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._scoring.close()

    async def of(self, run: BatchRun) -> AsyncIterator[list[worker_pb2.QueryResult]]:
        """Yield one result per query of a batch that has left the device, all that are ready."""
        released_s = time.monotonic()
        if run.trace is not None and run.started_s is not None:
            run.trace.executed(run.accepted_s, run.started_s, run.execution.execution_s)
        pictures, errors = await self._pictures(run)
        ready = [
            worker_pb2.QueryResult(query_id=query_id, error=error)
            for query_id, error in errors.items()
            if query_id not in run.aborted
        ]
        if ready:
            yield ready
            ready = []
        # Small copies were made first: encoding overlaps with the discriminator's work.
        files = _Encoding(pictures, self._pool)
        scores, scoring_error = await self._scores(run, pictures)
        answered = set(errors)
        for index, (picture, score) in enumerate(zip(pictures, scores, strict=True)):
            if ready and files.parts_before(index):
                yield ready
                await asyncio.sleep(0)  # they leave now
                ready = []
            image = await files.image(index)
            if run.trace is not None:
                run.trace.encoded(picture.drawing.query_id, released_s, time.monotonic())
            if picture.drawing.query_id in run.aborted:
                continue
            answered.add(picture.drawing.query_id)
            ready.append(
                worker_pb2.QueryResult(
                    query_id=picture.drawing.query_id,
                    image=image,
                    confidence=score.confidence if score else None,
                    percentile=score.percentile if score else None,
                    scoring_s=time.monotonic() - released_s,
                    scoring_error=scoring_error,
                    unknown_words=picture.unknown_words,
                )
            )
        ready += [
            worker_pb2.QueryResult(query_id=drawing.query_id, aborted=True)
            for drawing in run.spec.drawings
            if drawing.query_id not in answered
        ]
        if ready:
            yield ready
        self._pair([picture for picture in pictures if picture.drawing.light is not None])

    def _pair(self, pictures: list[_Picture]) -> None:
        """Have heavy images scored beside the light ones', after the answers and beside them."""
        if not pictures or len(self._pairing) >= NUM_PAIRING_MAX:
            return
        task = asyncio.create_task(self._score_pairs(pictures))
        self._pairing.add(task)
        task.add_done_callback(self._pairing.discard)

    async def _score_pairs(self, pictures: list[_Picture]) -> None:
        """Score one image at a time, so that a light batch waits for one at most."""
        for picture in pictures:
            drawing = picture.drawing
            assert drawing.light is not None, drawing.query_id
            try:
                await self._scoring.pair(drawing.light, drawing.prompt, picture.small)
            except BackendError as error:
                logger.debug("query %s: pair not scored: %s", drawing.query_id, error)

    async def _pictures(self, run: BatchRun) -> tuple[list[_Picture], dict[str, str]]:
        """Round and shrink the images somebody waits for; return them and the errors by query."""
        live = [
            (index, drawing)
            for index, drawing in enumerate(run.spec.drawings)
            if drawing.query_id not in run.aborted
        ]
        execution = run.execution
        if not execution.images:
            error = execution.error or "the batch did not run"
            return [], {drawing.query_id: error for _, drawing in live}
        images = [execution.images[index] for index, _ in live]
        is_small = all(
            isinstance(image, np.ndarray) and image.size <= 3 * SMALL_PIXELS for image in images
        )
        made = [self._submit(_prepare, image, inline=is_small) for image in images]
        pictures: list[_Picture] = []
        errors: dict[str, str] = {}
        for (index, drawing), prepared in zip(live, made, strict=True):
            try:
                pixels, small = await prepared
            except Exception as error:
                errors[drawing.query_id] = str(error)
            else:
                words = execution.unknown_words[index]
                pictures.append(_Picture(drawing, pixels, small, words))
        return pictures, errors

    async def _scores(
        self, run: BatchRun, pictures: list[_Picture]
    ) -> tuple[list[discriminator_pb2.ImageScore | None], str]:
        """Return a score per picture, or none and the reason."""
        unscored: list[discriminator_pb2.ImageScore | None] = [None] * len(pictures)
        if not run.spec.discriminator or not pictures:
            return unscored, ""
        elapsed_s = time.monotonic() - run.accepted_s
        budgets = [picture.drawing.budget_s - elapsed_s for picture in pictures]
        ids = [picture.drawing.query_id for picture in pictures]
        try:
            with run.trace.scoring(ids) if run.trace else _untraced() as parents:
                scores = await self._scoring.score(
                    Population(run.spec.discriminator, run.spec.variant.variant_id),
                    [picture.drawing.prompt for picture in pictures],
                    [picture.small for picture in pictures],
                    # A query that is late already must not deny its batch-mates their scores.
                    budget_s=min((budget for budget in budgets if budget > 0.0), default=0.0),
                    parents=[parents.get(query_id, "") for query_id in ids],
                )
        except BackendError as error:
            return unscored, str(error)
        return [*scores], ""

    def _submit(
        self, work: Callable[[ItemT], ResultT], item: ItemT, *, inline: bool
    ) -> asyncio.Future[ResultT]:
        loop = asyncio.get_running_loop()
        if not inline:
            return loop.run_in_executor(self._pool, work, item)
        done: asyncio.Future[ResultT] = loop.create_future()
        try:
            done.set_result(work(item))
        except Exception as error:
            done.set_exception(error)
        return done


def _untraced() -> contextlib.AbstractContextManager[dict[str, str]]:
    return contextlib.nullcontext({})


def _prepare(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image in bytes, and its copy for the discriminator.

    Raises:
        BackendError: this query gets none.
    """
    rounded = encoding.to_bytes(settled(picture))
    return rounded, encoding.shrink(rounded)


def _encode(picture: _Picture) -> common_pb2.Image:
    height, width, _ = picture.pixels.shape
    media_type = picture.drawing.media_type
    return common_pb2.Image(
        data=encoding.encode(picture.pixels, media_type),
        media_type=media_type,
        width=width,
        height=height,
    )
