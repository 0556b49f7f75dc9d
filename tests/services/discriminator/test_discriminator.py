"""Score and DescribeSketch over a real socket, with the mock scorer and with odd ones."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffserve.catalog import Catalog, Discriminator, load_catalog
from diffserve.config import DiscriminatorSettings
from diffserve.core import Population
from diffserve.errors import BackendError, ConfigError
from diffserve.profiles.curves import DeferralProfile
from diffserve.rpc.channel import open_channel
from diffserve.rpc.server import Health
from diffserve.rpc.v1 import common_pb2, discriminator_pb2, discriminator_pb2_grpc
from diffserve.telemetry.store import TelemetryStore
from services.discriminator.application import DiscriminatorApplication
from services.discriminator.persistence import SketchKeeper

MOCK = Population("mock", "mock-light")


class HalfScorer:
    """Loads from anywhere and scores by the brightness of the image."""

    def __init__(self) -> None:
        self.device = ""

    @classmethod
    def from_pretrained(cls, directory: str) -> HalfScorer:
        return cls()

    def to(self, device: str) -> None:
        self.device = device

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        return (images.mean(axis=(1, 2, 3)) / 255.0).astype(np.float32)


class FailingScorer(HalfScorer):
    """Works on blank images only, as at warm-up."""

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        if "nan" in prompts:
            return np.full(len(images), np.nan, np.float32)
        if images.any():
            raise RuntimeError("no such luck")
        return np.zeros(len(images), np.float32)


class BrokenScorer(HalfScorer):
    """Never works."""

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        raise RuntimeError("broken")


def catalog_with(scorer: str, source: Path) -> Catalog:
    catalog = load_catalog("mock")
    entry = Discriminator(discriminator_id="odd", scorer=f"{__name__}:{scorer}", source=str(source))
    return dataclasses.replace(catalog, discriminators={**catalog.discriminators, "odd": entry})


@asynccontextmanager
async def running(
    catalog: Catalog | None = None, **settings: Any
) -> AsyncIterator[tuple[DiscriminatorApplication, discriminator_pb2_grpc.DiscriminatorStub]]:
    application = DiscriminatorApplication(
        DiscriminatorSettings(**settings), catalog or load_catalog("mock")
    )
    server = grpc.aio.server()
    discriminator_pb2_grpc.add_DiscriminatorServicer_to_server(application.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await application.start(Health([]), port)
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield application, discriminator_pb2_grpc.DiscriminatorStub(channel)
    finally:
        await server.stop(0)
        await application.stop()


def raw(prompt: str, value: int = 7, width: int = 8, height: int = 4) -> Any:
    return discriminator_pb2.ScoredImage(
        prompt=prompt,
        image=common_pb2.Image(
            data=bytes([value]) * (width * height * 3),
            media_type="image/x-rgb8",
            width=width,
            height=height,
        ),
    )


def encoded(prompt: str, image_format: str, value: int = 7) -> Any:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4), (value, value, value)).save(buffer, image_format)
    return discriminator_pb2.ScoredImage(
        prompt=prompt,
        image=common_pb2.Image(data=buffer.getvalue(), media_type=f"image/{image_format.lower()}"),
    )


def score_request(*images: Any, name: str = "mock", **options: Any) -> Any:
    return discriminator_pb2.ScoreRequest(
        **{"discriminator": name, "images": images, "variant_id": "mock-light", **options}
    )


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details() or ""


async def test_the_same_pixels_score_the_same_raw_or_encoded() -> None:
    async with running() as (_, stub):
        response = await stub.Score(
            score_request(raw("a"), encoded("a", "PNG"), encoded("a", "PNG", 8), raw("b"))
        )
    first, same, other_image, other_prompt = (s.confidence for s in response.scores)
    assert first == same
    assert len({first, other_image, other_prompt}) == 3
    assert all(0.0 <= s.percentile <= 1.0 for s in response.scores)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
async def test_every_encoding_of_the_protocol_is_read(image_format: str) -> None:
    async with running() as (_, stub):
        response = await stub.Score(score_request(encoded("a", image_format)))
    assert len(response.scores) == 1


@pytest.mark.parametrize("name", ["mock", "paper-sdturbo"])
async def test_confidences_of_the_mock_are_distributed_as_the_cascade_says(name: str) -> None:
    catalog = load_catalog(name)
    async with running(catalog) as (_, stub):
        light = catalog.cascades[catalog.default_cascade].light
        scores = [
            score
            for block in range(20)
            for score in (
                await stub.Score(
                    score_request(
                        *(raw(f"{block}-{n}") for n in range(50)),
                        variant_id=light,
                        exclude_from_sketch=True,
                    )
                )
            ).scores
        ]
    confidences = np.array([score.confidence for score in scores])
    profile = catalog.deferral[catalog.default_cascade]
    for threshold in (0.1, 0.3, 0.5):
        below = profile.fraction_at(threshold)
        assert np.mean(confidences < threshold) == pytest.approx(below, abs=0.06)
    # So the sketch, which starts as the profile says, ranks them evenly from the first one on.
    percentiles = [score.percentile for score in scores]
    assert np.mean(percentiles) == pytest.approx(0.5, abs=0.04)
    assert np.std(percentiles) == pytest.approx(12**-0.5, abs=0.03)


async def test_a_score_is_ranked_before_it_joins_the_sketch() -> None:
    async with running() as (application, stub):
        sketch = application.scoring.populations.sketches[MOCK]
        before = len(sketch)
        probe = score_request(raw("a"), exclude_from_sketch=True)
        first = (await stub.Score(probe)).scores[0]
        again = (await stub.Score(probe)).scores[0]
        assert len(sketch) == before
        joined = (await stub.Score(score_request(raw("a")))).scores[0]
        assert len(sketch) == before + 1
        assert first == again == joined
        assert sketch.percentile(first.confidence) != first.percentile
    assert first.percentile == pytest.approx(first.confidence, abs=0.005)


async def test_the_sketch_starts_as_the_deferral_profile_says() -> None:
    catalog = load_catalog("mock")
    profile = DeferralProfile((0.0, 0.1, 0.2, 1.0), (0.0, 0.5, 0.9, 1.0))
    catalog = dataclasses.replace(catalog, deferral={"mock": profile})
    async with running(catalog) as (_, stub):
        described = await stub.DescribeSketch(
            discriminator_pb2.DescribeSketchRequest(discriminator="mock", variant_id="mock-light")
        )
    assert list(described.fractions) == pytest.approx([n / 20 for n in range(21)])
    assert described.thresholds[10] == pytest.approx(0.1, abs=0.005)
    assert described.thresholds[18] == pytest.approx(0.2, abs=0.02)
    assert list(described.thresholds) == sorted(described.thresholds)
    assert described.num_scores > 100


def replaced(image: Any, **changes: Any) -> Any:
    for name, value in changes.items():
        setattr(image.image, name, value)
    return image


@pytest.mark.parametrize(
    ("images", "field"),
    [
        ([], "images:"),
        ([raw("a")] * 65, "images:"),
        ([raw("a"), raw("b", width=4)], "images.1.image:"),
        ([replaced(raw("a"), width=9)], "images.0.image.data"),
        ([replaced(raw("a"), width=0)], "images.0.image.width"),
        ([replaced(raw("a"), height=4096)], "images.0.image.height"),
        ([replaced(raw("a"), height=-4)], "images.0.image.height"),
        ([replaced(raw("a"), media_type="image/gif")], "images.0.image.media_type"),
        ([replaced(raw("a"), media_type="image/png")], "images.0.image.data"),
        ([replaced(encoded("a", "PNG"), media_type="image/jpeg")], "images.0.image.data"),
        ([replaced(encoded("a", "PNG"), data=b"")], "images.0.image.data"),
        ([raw("x" * 5000)], "images.0.prompt"),
    ],
)
async def test_unusable_images_are_refused_by_name(images: list[Any], field: str) -> None:
    async with running() as (_, stub):
        code, text = await refusal(stub.Score(score_request(*images)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith(field)


async def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    buffer = io.BytesIO()
    Image.new("1", (4096, 4096)).save(buffer, "PNG")
    bomb = replaced(encoded("a", "PNG"), data=buffer.getvalue())
    async with running() as (_, stub):
        code, text = await refusal(stub.Score(score_request(bomb)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("images.0.image.width")


async def test_a_truncated_image_is_refused() -> None:
    whole = encoded("a", "PNG")
    async with running() as (_, stub):
        cut = replaced(encoded("a", "PNG"), data=whole.image.data[:-25])
        code, _ = await refusal(stub.Score(score_request(cut)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_unknown_names_are_not_found() -> None:
    async with running() as (_, stub):
        scored = await refusal(stub.Score(score_request(raw("a"), name="nobody")))
        described = await refusal(
            stub.DescribeSketch(discriminator_pb2.DescribeSketchRequest(discriminator="nobody"))
        )
    assert scored[0] is described[0] is grpc.StatusCode.NOT_FOUND
    assert "there are: mock" in scored[1]


async def test_a_scoring_class_is_loaded_moved_and_asked(tmp_path: Path) -> None:
    async with running(catalog_with("HalfScorer", tmp_path), device="cpu") as (application, stub):
        response = await stub.Score(score_request(raw("a", 51), raw("b", 255), name="odd"))
        scorer: Any = application.scoring.thread._scorers[Population("odd", "")]
        assert scorer.device == "cpu"
    assert [s.confidence for s in response.scores] == pytest.approx([0.2, 1.0])


async def test_a_failing_scorer_is_an_error_and_the_next_call_works(tmp_path: Path) -> None:
    async with running(catalog_with("FailingScorer", tmp_path)) as (_, stub):
        failed = await refusal(stub.Score(score_request(raw("a"), name="odd")))
        invalid = await refusal(stub.Score(score_request(raw("nan"), name="odd")))
        blank = await stub.Score(score_request(raw("a", 0), name="odd"))
    assert failed[0] is invalid[0] is grpc.StatusCode.INTERNAL
    assert "no such luck" in failed[1]
    assert blank.scores[0].confidence == 0.0


async def test_what_cannot_be_loaded_ends_start_up(tmp_path: Path) -> None:
    for scorer, source, expected in (
        ("Nothing", tmp_path, "discriminator.odd.scorer"),
        ("HalfScorer", tmp_path / "absent", "discriminator.odd.source"),
    ):
        with pytest.raises(ConfigError, match=expected):
            async with running(catalog_with(scorer, source)):
                pass
    with pytest.raises(BackendError, match="broken"):
        async with running(catalog_with("BrokenScorer", tmp_path)):
            pass


async def test_draining_refuses_new_work() -> None:
    async with running() as (application, stub):
        await application.drain()
        code, _ = await refusal(stub.Score(score_request(raw("a"))))
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_the_sketch_survives_a_restart(redis_url: str) -> None:
    async with running(redis_url=redis_url, sketch_size=64) as (application, stub):
        await stub.Score(score_request(*(raw(str(n)) for n in range(60))))
        before = application.scoring.populations.sketches[MOCK].scores()
    async with running(redis_url=redis_url, sketch_size=64) as (application, _):
        after = application.scoring.populations.sketches[MOCK].scores()
    assert after == pytest.approx(before, abs=1e-5)


async def test_without_redis_the_profile_is_the_start() -> None:
    async with running(redis_url="redis://127.0.0.1:1/0") as (application, stub):
        assert len(application.scoring.populations.sketches[MOCK]) > 100
        assert len((await stub.Score(score_request(raw("a")))).scores) == 1


async def test_a_sketch_is_restored_when_redis_comes_back(redis_url: str) -> None:
    class Outage(TelemetryStore):
        is_down = True

        async def load_sketch(self, population: Population) -> list[float]:
            if self.is_down:
                raise OSError("down")
            return await super().load_sketch(population)

    remembered = [n / 100 for n in range(40)]
    restored: list[Population] = []
    async with running(sketch_size=64) as (application, _):
        populations = application.scoring.populations
        store = Outage(redis_url)
        await store.save_sketch(MOCK, remembered)
        keeper = SketchKeeper(store, populations, restored.append)
        await keeper.restore()
        populations.join(MOCK, [0.91, 0.92])
        await keeper.save()
        store.is_down = False
        assert await store.load_sketch(MOCK) == remembered
        assert restored == []
        await keeper.save()
        assert restored == [MOCK]
        assert populations.sketches[MOCK].scores() == pytest.approx([*remembered, 0.91, 0.92])
        assert await store.load_sketch(MOCK) == pytest.approx([*remembered, 0.91, 0.92])
        await store.close()


async def test_saving_goes_on_after_an_outage(redis_url: str) -> None:
    class Outage(TelemetryStore):
        is_down = True

        async def save_sketch(self, population: Population, confidences: Sequence[float]) -> None:
            if self.is_down:
                raise OSError("down")
            await super().save_sketch(population, confidences)

    async with running() as (application, _):
        store = Outage(redis_url)
        keeper = SketchKeeper(store, application.scoring.populations, print, save_period_s=0.01)
        saving = asyncio.create_task(keeper.run())
        await asyncio.sleep(0.05)
        assert await store.load_sketch(MOCK) == []
        store.is_down = False
        for _ in range(100):
            if await store.load_sketch(MOCK):
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the sketch was never saved")
        saving.cancel()
        await store.close()
