"""Residency, assignment, health, registration and drain with mock variants."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest

from diffserve.catalog import load_catalog
from diffserve.config import WorkerSettings
from diffserve.errors import ConfigError
from diffserve.rpc.v1 import controller_pb2_grpc, worker_pb2
from services.worker import executor, membership
from services.worker.application import WorkerApplication
from tests.services.worker.harness import (
    FakeController,
    RunningWorker,
    collect,
    listening,
    mock_catalog,
    request,
    running_worker,
)

GIB = 1024**3


async def until(condition: Callable[[], bool], timeout_s: float = 3.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        await asyncio.sleep(0.01)


async def assign(
    worker: RunningWorker, variant_id: str, plan_id: int, *coresident: str
) -> worker_pb2.AssignResponse:
    return await worker.stub.Assign(
        worker_pb2.AssignRequest(variant_id=variant_id, plan_id=plan_id, coresident=coresident)
    )


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details() or ""


async def test_only_what_is_resident_runs_and_assignment_makes_it_so() -> None:
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.01})
    async with running_worker(catalog, preload="v-a") as worker:
        refused = await refusal(collect(worker.stub.Execute(request("v-b", "q"))))
        assert refused[0] is grpc.StatusCode.FAILED_PRECONDITION
        assert "v-b is not resident" in refused[1]
        response = await assign(worker, "v-b", 1)
        assert list(response.resident) == ["v-a", "v-b"]
        assert (await assign(worker, "v-b", 1)).load_s == 0.0
        assert (await collect(worker.stub.Execute(request("v-b", "q")))).results["q"].image.data
        described = await worker.stub.Describe(worker_pb2.DescribeRequest())
    assert (described.assigned, described.plan_id) == ("v-b", 1)
    assert 0 < described.memory_used_bytes < described.memory_total_bytes


async def test_loading_lasts_until_the_variant_is_warm() -> None:
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.2, "v-c": 0.3})
    async with running_worker(catalog, preload="v-a") as worker:
        began_s = time.monotonic()
        response = await assign(worker, "v-b", 1, "v-c")
        took_s = time.monotonic() - began_s
    # Nothing is loaded: the mock's warm-up batches are all that takes time.
    assert 0.5 <= response.load_s <= took_s


async def test_an_older_plan_is_refused() -> None:
    async with running_worker(mock_catalog({"v-a": 0.01, "v-b": 0.01})) as worker:
        await assign(worker, "v-a", 7)
        code, text = await refusal(assign(worker, "v-b", 6))
        unknown = await refusal(assign(worker, "v-x", 8))
        described = await worker.stub.Describe(worker_pb2.DescribeRequest())
    assert code is grpc.StatusCode.ABORTED
    assert "older than plan 7" in text
    assert unknown[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (described.assigned, described.plan_id) == ("v-a", 7)


async def test_the_least_recently_used_variant_is_evicted() -> None:
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.01, "v-c": 0.01}, memory_bytes=GIB)
    async with running_worker(catalog, preload="v-a,v-b", memory_bytes_max=2 * GIB) as worker:
        await collect(worker.stub.Execute(request("v-a", "q")))
        assert list((await assign(worker, "v-c", 1)).resident) == ["v-a", "v-c"]
        assert list((await assign(worker, "v-b", 2)).resident) == ["v-b", "v-c"]


async def test_variants_that_share_a_worker_are_held_together() -> None:
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.01, "v-c": 0.01}, memory_bytes=GIB)
    async with running_worker(catalog, preload="v-c", memory_bytes_max=2 * GIB) as worker:
        response = await assign(worker, "v-a", 1, "v-b")
        assert list(response.resident) == ["v-a", "v-b"]
        code, text = await refusal(assign(worker, "v-c", 2, "v-a", "v-b"))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "lacks 1024 MiB beside" in text
        # The placement was loaded first, and what fits beside it stays.
        resident = worker.application.executor.residency.resident
        assert set(resident) == {"v-c", "v-a"}


async def test_registration_tells_the_kind_of_device_and_follows_co_residents() -> None:
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.01})
    controller = FakeController()
    controller.assigned, controller.coresident, controller.plan_id = "v-a", ("v-b",), 3
    async with listening() as (server, port):
        controller_pb2_grpc.add_ControllerServicer_to_server(controller, server)
        await server.start()
        address = f"127.0.0.1:{port}"
        async with running_worker(
            catalog,
            preload="none",
            controller_address=address,
            device_type="A100",
            memory_bytes_max=3 * GIB,
        ) as worker:
            await until(
                lambda: worker.application.executor.residency.resident == ("v-a", "v-b"), 5.0
            )
        assert controller.registrations[0].device_type == "A100"
        assert controller.registrations[0].memory_bytes_max == 3 * GIB


async def test_variants_of_one_base_share_memory() -> None:
    shared = {"base": "shared"}
    catalog = mock_catalog(
        {"v-a": 0.01, "v-b": 0.01}, memory_bytes=GIB, **{"v-a": shared, "v-b": shared}
    )
    async with running_worker(catalog, preload="all", memory_bytes_max=GIB) as worker:
        assert {"v-a", "v-b"} <= set(worker.application.executor.residency.resident)


async def test_preload_all_stops_where_memory_is_full() -> None:
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.01, "v-c": 0.01}, memory_bytes=GIB)
    async with running_worker(catalog, preload="all", memory_bytes_max=2 * GIB) as worker:
        resident = worker.application.executor.residency.resident
        assert [name for name in resident if name.startswith("v")] == ["v-a", "v-b"]


async def test_what_never_fits_is_refused_and_evicts_nothing() -> None:
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.01}, **{"v-b": {"memory_bytes": 2 * GIB}})
    async with running_worker(catalog, preload="v-a", memory_bytes_max=GIB) as worker:
        code, text = await refusal(assign(worker, "v-b", 1))
        assert worker.application.executor.residency.resident == ("v-a",)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "memory_bytes_max" in text


async def test_a_load_waits_for_accepted_batches_and_holds_new_ones_off() -> None:
    catalog = mock_catalog({"v-a": 0.5, "v-b": 0.1}, memory_bytes=GIB)
    async with running_worker(catalog, preload="v-a", memory_bytes_max=GIB) as worker:
        running = asyncio.ensure_future(collect(worker.stub.Execute(request("v-a", "q"))))
        await worker.has_accepted(1)
        loading = asyncio.ensure_future(assign(worker, "v-b", 1))
        await until(lambda: worker.application.executor.plan_id == 1)
        code, _ = await refusal(collect(worker.stub.Execute(request("v-a", "r"))))
        superseded = asyncio.ensure_future(assign(worker, "v-b", 2))
        await until(lambda: worker.application.executor.plan_id == 2)
        back = await assign(worker, "v-a", 3)
        assert (await running).results["q"].image.data
        assert (await refusal(loading))[0] is grpc.StatusCode.ABORTED
        assert (await refusal(superseded))[0] is grpc.StatusCode.ABORTED
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert list(back.resident) == ["v-a"]


async def test_health_says_serving_only_after_warm_up_and_answers_while_a_batch_runs() -> None:
    catalog = mock_catalog({"v-a": 0.5})
    async with running_worker(catalog) as worker:
        described = await worker.stub.Describe(worker_pb2.DescribeRequest())
        assert [s.execution_s_p50 for s in described.latencies] == [pytest.approx(0.5, abs=0.2)]
        running = asyncio.ensure_future(collect(worker.stub.Execute(request("v-a", "q"))))
        await worker.has_accepted(1)
        took: list[float] = []
        for _ in range(10):
            started_s = time.monotonic()
            assert await worker.is_serving()
            took.append(time.monotonic() - started_s)
        assert sorted(took)[5] < 0.05
        await running


async def test_a_hung_device_is_reported_until_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executor, "HANG_AFTER_S", 0.1)
    catalog = mock_catalog({"v-a": 0.01})
    controller = FakeController()
    async with listening() as (server, port):
        controller_pb2_grpc.add_ControllerServicer_to_server(controller, server)
        await server.start()
        async with running_worker(
            catalog, hang_factor=2.0, controller_address=f"127.0.0.1:{port}"
        ) as worker:
            replica = worker.application.executor.residency.use(catalog.variants["v-a"])
            gate = asyncio.Event()
            loop = asyncio.get_running_loop()

            def hang(*args: object) -> list[object]:
                asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
                raise RuntimeError("woke up")

            replica.run = hang  # type: ignore[method-assign, assignment]
            running = asyncio.ensure_future(collect(worker.stub.Execute(request("v-a", "q"))))
            await until(lambda: worker.application.is_hung)
            assert not await worker.is_serving()
            code, text = await refusal(collect(worker.stub.Execute(request("v-a", "r"))))
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "hangs" in text
            await until(lambda: controller.registrations[-1].draining)
            gate.set()
            assert "woke up" in (await running).results["q"].error
            await until(lambda: not worker.application.is_hung)
            assert await worker.is_serving()


async def test_drain_finishes_what_was_accepted_and_resume_takes_work_again() -> None:
    async with running_worker(mock_catalog({"v-a": 0.4})) as worker:
        calls = [
            asyncio.ensure_future(collect(worker.stub.Execute(request("v-a", name))))
            for name in ("a", "b")
        ]
        await worker.has_accepted(2)
        draining = asyncio.ensure_future(worker.stub.Drain(worker_pb2.DrainRequest()))
        await until(lambda: worker.application.executor.is_draining)
        code, text = await refusal(collect(worker.stub.Execute(request("v-a", "c"))))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "draining" in text
        assert (await draining).num_finished == 2
        answers = [await call for call in calls]
        assert all(r.image.data for answer in answers for r in answer.results.values())
        await worker.stub.Drain(worker_pb2.DrainRequest(resume=True))
        again = await collect(worker.stub.Execute(request("v-a", "d")))
    assert again.results["d"].image.data


async def test_registration_survives_the_controller_and_follows_its_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "REPORT_PERIOD_S", 0.1)
    catalog = mock_catalog({"v-a": 0.01, "v-b": 0.01})
    async with listening() as (first_server, port):
        first = FakeController()
        controller_pb2_grpc.add_ControllerServicer_to_server(first, first_server)
        await first_server.start()
        async with running_worker(
            catalog, preload="v-a", controller_address=f"127.0.0.1:{port}", worker_id="w7"
        ) as worker:
            await until(lambda: len(first.registrations) > 1)
            await first_server.stop(0)
            await asyncio.sleep(0.3)
            answer = await collect(worker.stub.Execute(request("v-a", "q")))
            assert answer.results["q"].image.data
            async with listening(port) as (second_server, _):
                second = FakeController()
                second.assigned, second.plan_id = "v-b", 5
                controller_pb2_grpc.add_ControllerServicer_to_server(second, second_server)
                await second_server.start()
                await until(lambda: bool(second.registrations), timeout_s=5.0)
                await until(lambda: "v-b" in second.registrations[-1].resident)
                await until(lambda: any(r.latencies for r in second.reports))
                await worker.application.drain()
                last = second.registrations[-1]
                assert worker.application.executor.plan_id == 5
    known = first.registrations[0]
    assert (known.worker_id, known.address, known.device) == ("w7", worker.address, "cpu")
    assert list(known.resident) == ["v-a"]
    assert last.leaving
    assert last.incarnation == known.incarnation
    by_size = {(s.variant_id, s.batch_size) for s in second.reports[-1].latencies}
    assert ("v-a", 1) in by_size


async def test_a_wrong_preload_ends_start_up() -> None:
    with pytest.raises(ConfigError, match=r"worker\.preload: no variant 'v-x'"):
        async with running_worker(mock_catalog({"v-a": 0.01}), preload="v-x"):
            pass


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"host": "127.0.0.1"}, "worker-50061"),
        ({"host": "0.0.0.0"}, f"worker-{socket.gethostname()}-50061"),
        ({"host": "0.0.0.0", "worker_id": "mine"}, "mine"),
    ],
)
async def test_replicas_of_a_container_have_names_of_their_own(
    settings: dict[str, str], expected: str
) -> None:
    application = WorkerApplication(WorkerSettings(**settings), load_catalog("mock"), 1)
    assert application.worker_id == expected
