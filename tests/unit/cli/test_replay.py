"""Prompts of a file, and the log of queries."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from diffserve.cli.output import CliError
from diffserve.cli.replay import COLUMNS, Request, prompts_of, run_replay, write_log
from diffserve.core import Outcome
from diffserve.embedded.captions import split_words, vocabulary
from diffserve.errors import ConfigError, InputError
from diffserve.replay.client import Answer
from diffserve.rpc.status import to_bytes
from diffserve.rpc.streams import split
from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc
from diffserve.sim.workload import WorkloadParameters


def test_prompts_of_a_file_repeat(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("an owl\n\n  a boat  \n")
    prompt_of = prompts_of(str(file))
    assert [prompt_of(index) for index in range(3)] == ["an owl", "a boat", "an owl"]


def test_without_a_file_prompts_are_scenes_of_words_that_the_embedded_models_know() -> None:
    prompt_of = prompts_of("")
    prompts = [prompt_of(number) for number in range(60)]
    assert prompts == [prompt_of(number) for number in range(60)]
    assert len(set(prompts)) > 50
    assert set(split_words(" ".join(prompts))) <= set(vocabulary())


@pytest.mark.parametrize("content", [None, "", " \n\n"])
def test_a_file_without_prompts_is_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CliError, match="--prompts"):
        prompts_of(str(file))


def test_prompts_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"an owl\n\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"prompts\.txt:2: is no UTF-8"):
        prompts_of(str(file))


def answer(outcome: Outcome, variant_id: str = "", error: str = "") -> Answer:
    return Answer(
        index=3,
        prompt_id=9,
        arrival_s=1.5,
        lag_s=0.001,
        latency_s=0.25,
        outcome=outcome,
        variant_id=variant_id,
        error=error,
    )


def test_the_log_has_a_row_per_query(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    write_log(
        str(file), [answer(Outcome.HEAVY, "big"), answer(Outcome.EXPIRED, error="late, sorry")]
    )
    with file.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert [row["outcome"] for row in rows] == ["heavy", "expired"]
    assert rows[0]["variant"] == "big"
    assert float(rows[0]["latency_s"]) == 0.25
    assert rows[1]["error"] == "late, sorry"


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="--log"):
        write_log(str(tmp_path / "no" / "log.csv"), [])


class Door(generation_pb2_grpc.ImageGenerationServicer):
    """Draws light images at once, and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[generation_pb2.GenerateRequest] = []
        self.answering = "mock"

    def GenerateMany(self, request_iterator: Any, context: Any) -> Any:
        for message in request_iterator:
            for request in split(message):
                reply = generation_pb2.GenerateManyResponse(call_id=request.call_id)
                try:
                    reply.response.CopyFrom(self._answered(request.begin))
                except InputError as error:
                    reply.status = to_bytes(error)
                yield reply

    def _answered(self, request: generation_pb2.GenerateRequest) -> generation_pb2.GenerateResponse:
        if request.cascade_id not in ("", "mock"):
            raise InputError("cascade_id", f"no cascade {request.cascade_id!r}; there is mock")
        if request.HasField("deadline_s") and request.deadline_s <= 0.0:
            raise InputError("deadline_s", "must be above 0")
        self.requests.append(request)
        return generation_pb2.GenerateResponse(
            outcome=common_pb2.OUTCOME_LIGHT, cascade_id=self.answering
        )


@pytest.fixture
def door() -> Iterator[tuple[Door, str]]:
    servicer, server = Door(), grpc.server(ThreadPoolExecutor(4))
    generation_pb2_grpc.add_ImageGenerationServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(1.0).wait()


def request(address: str, **fields: Any) -> Request:
    values: dict[str, Any] = {
        "workload": WorkloadParameters(trace="poisson", peak_qps=20.0, duration_s=1.0),
        "catalog": "mock",
        "slo_s": None,
        "seed": 0,
        "prompts": "",
        "log": "",
        "address": address,
    }
    return Request(**{**values, **fields})


def test_queries_ask_for_what_the_report_is_about(
    door: tuple[Door, str], capsys: pytest.CaptureFixture[str]
) -> None:
    servicer, address = door
    run_replay(request(address), as_json=True)
    assert json.loads(capsys.readouterr().out)["cascade"] == "mock"
    assert {request.cascade_id for request in servicer.requests} == {"mock"}


def test_nothing_is_sent_to_a_deployment_that_runs_another_catalog(door: tuple[Door, str]) -> None:
    servicer, address = door
    problem = "does not run catalog embedded: no cascade 'sprites'; there is mock; .* --catalog"
    with pytest.raises(CliError, match=problem):
        run_replay(request(address, catalog="embedded"), as_json=True)
    assert not servicer.requests


def test_the_first_answer_of_another_cascade_ends_the_replay(door: tuple[Door, str]) -> None:
    """A class of the same name may hold other cascades there."""
    servicer, address = door
    servicer.answering = "other"
    with pytest.raises(CliError, match="'mock' was answered by 'other' there, not by mock"):
        run_replay(request(address), as_json=True)
    assert len(servicer.requests) < 10


def test_nothing_is_sent_for_a_log_that_cannot_be_written(
    door: tuple[Door, str], tmp_path: Path
) -> None:
    servicer, address = door
    with pytest.raises(CliError, match=r"--log: cannot write .*: No such file or directory"):
        run_replay(request(address, log=str(tmp_path / "no" / "log.csv")), as_json=True)
    assert not servicer.requests


def test_the_report_is_shown_before_the_log_is_written(
    door: tuple[Door, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise CliError("--log: no space left")

    monkeypatch.setattr("diffserve.cli.replay.write_log", full)
    with pytest.raises(CliError, match="no space left"):
        run_replay(request(door[1], log=str(tmp_path / "log.csv")), as_json=True)
    assert json.loads(capsys.readouterr().out)["queries"] > 10
