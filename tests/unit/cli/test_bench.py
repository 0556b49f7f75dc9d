"""``diffserve bench`` against a server of others, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from diffserve.cli.bench import Request, run_bench
from diffserve.cli.output import CliError
from diffserve.errors import ConfigError
from diffserve.sim.workload import WorkloadParameters


class Server(BaseHTTPRequestHandler):
    """Answers every other request with an image and refuses the rest."""

    bodies: list[dict[str, Any]]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"data": []})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.bodies.append(json.loads(self.rfile.read(length)))
        if "nosuch" in self.path:
            self._answer(404, {"error": {"message": "Not Found"}})
        elif len(self.bodies) % 2:
            self._answer(200, {"data": [{"b64_json": "abc"}]})
        else:
            self._answer(429, {"error": {"message": "full"}})

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    bodies: list[dict[str, Any]] = []
    handler = type("Handler", (Server,), {"bodies": bodies})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1", bodies
        httpd.shutdown()
        thread.join()


def request(**fields: Any) -> Request:
    values: dict[str, Any] = {
        "workload": WorkloadParameters(trace="poisson", peak_qps=30.0, duration_s=1.0),
        "warm_up_s": 0.2,
        "slo_s": None,
        "seed": 0,
        "prompts": "",
        "address": "",
        "url": "",
        "model": "",
        "size": "",
        "html": "",
    }
    return Request(**{**values, **fields})


def test_any_openai_server_can_be_measured(
    server: tuple[str, list[dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, bodies = server
    page = tmp_path / "report.html"
    run_bench(request(url=url, model="some-model", html=str(page)), as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["answered"] + document["refused"] == document["queries"] > 10
    assert abs(document["answered"] - document["refused"]) <= 2
    assert document["slo_s"] == 5.0
    assert document["heavy_share"] is None
    assert len(bodies) == document["queries"] + 3  # the warm-up
    assert {body["model"] for body in bodies} == {"some-model"}
    assert "HTTP 429: full" in page.read_text(encoding="utf-8")


def test_the_table_names_the_figures(
    server: tuple[str, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    run_bench(request(url=server[0]), as_json=False)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("in time", "goodput", "p99", "lag p99", "HTTP 429"))
    assert "[dim]" not in shown


@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_in_which_every_query_failed_is_a_failure(
    server: tuple[str, list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    with pytest.raises(CliError, match=r"^every query failed: \d+ x HTTP 404") as caught:
        run_bench(request(url=f"{server[0]}/nosuch"), as_json=as_json)
    assert caught.value.exit_code == 1
    assert "HTTP 404" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model": "m"}, "--model and --size go with --url"),
        ({"url": "http://127.0.0.1:9/v1", "address": "a:1"}, "two servers"),
        ({"url": "http://127.0.0.1:9/v1"}, "nobody answers at http://127.0.0.1:9/v1"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(CliError, match=problem):
        run_bench(request(**fields), as_json=False)


def test_a_report_that_cannot_be_written_is_one_sentence(
    server: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, bodies = server
    path = str(tmp_path / "no" / "report.html")
    with pytest.raises(CliError, match=r"--html: cannot write .*: No such file or directory"):
        run_bench(request(url=url, html=path), as_json=False)
    assert not bodies, "nothing may be sent for a report that cannot be kept"


def test_no_report_is_left_behind_by_a_run_that_failed(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with pytest.raises(CliError, match="nobody answers"):
        run_bench(request(url="http://127.0.0.1:9/v1", html=str(page)), as_json=False)
    assert not page.exists()


def test_the_figures_are_shown_before_the_report_is_written(
    server: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CliError, match="No space left"):
        run_bench(request(url=server[0], html=str(tmp_path / "report.html")), as_json=True)
    assert json.loads(capsys.readouterr().out)["queries"] > 10


def test_an_unknown_trace_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        run_bench(request(workload=WorkloadParameters(trace="nowhere.csv")), as_json=False)
