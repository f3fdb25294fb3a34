"""The calls of the engine's API, against something that answers as an engine does, or doesn't."""

from __future__ import annotations

import http.client
import json
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from docker_kernel.backends.address import Address
from docker_kernel.backends.calls import Calls, Refused

PATIENCE = 20


class Engine(socketserver.ThreadingTCPServer):
    """Gives `answers` by path, or tells what it was asked; counts connections."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        self.connections = 0
        self.hang_up_after_each = False
        self.silent = threading.Event()
        self.closed = threading.Semaphore(0)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()

    @property
    def address(self) -> Address:
        """Where it is."""
        return Address(f"tcp://127.0.0.1:{self.server_address[1]}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Engine

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def answer(self) -> None:
        """Any request."""
        size = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, self.rfile.read(size)))
        if self.server.silent.is_set():
            self.rfile.read(1)  # until it is given up
            self.close_connection = True
            return
        told = json.dumps({"path": self.path}).encode()
        status, content = self.server.answers.get(urlsplit(self.path).path, (200, told))
        self.send_response(status)
        # As an engine sends what is long.
        if status != http.client.NOT_MODIFIED:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if status == http.client.NOT_MODIFIED:
            return
        for piece in (content[:7], content[7:]):
            if piece:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")
        if self.server.hang_up_after_each:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Not to the test's output."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def calls(engine: Engine) -> Iterator[Calls]:
    made = Calls(engine.address, PATIENCE)
    made.api_version = "1.41"
    yield made
    made.close()


def test_one_connection_serves_one_call_after_another(engine: Engine, calls: Calls) -> None:
    assert calls.engine_version() == {"path": "/version"}
    assert calls.inspect_container("a")["path"] == "/v1.41/containers/a/json"
    assert calls.inspect_volume("v")["path"] == "/v1.41/volumes/v"
    assert engine.connections == 1


def test_a_name_is_no_path(calls: Calls) -> None:
    assert (
        calls.inspect_image("host:5000/a b?c")["path"] == "/v1.41/images/host:5000/a%20b%3Fc/json"
    )


def test_what_is_asked(engine: Engine, calls: Calls) -> None:
    calls.create_container("n", {"Image": "i"})
    calls.put_archive("n", "/to", b"\0tar")
    calls.start("n")
    calls.remove_container("n")
    engine.answers["/v1.41/containers/json"] = 200, b"[]"
    assert calls.containers(all=True, filters={"label": ["x"]}) == []
    *made, listed = [(method, path, body) for method, path, body in engine.asked]
    assert made == [
        ("POST", "/v1.41/containers/create?name=n", b'{"Image": "i"}'),
        ("PUT", "/v1.41/containers/n/archive?path=%2Fto", b"\0tar"),
        ("POST", "/v1.41/containers/n/start", b""),
        ("DELETE", "/v1.41/containers/n?force=1&v=1", b""),
    ]
    query = parse_qs(urlsplit(listed[1]).query)
    assert (query["all"], json.loads(query["filters"][0])) == (["1"], {"label": ["x"]})


def test_what_runs_already_is_started(engine: Engine, calls: Calls) -> None:
    engine.answers["/v1.41/containers/n/start"] = 304, b""
    calls.start("n")


def test_a_redirection_is_a_refusal(engine: Engine, calls: Calls) -> None:
    engine.answers["/v1.41/containers/create"] = 301, b""
    with pytest.raises(Refused, match="301"):
        calls.create_container("n", {})


def test_a_connection_that_was_dropped_is_no_error(engine: Engine, calls: Calls) -> None:
    engine.hang_up_after_each = True
    for number in range(1, 4):
        calls.start("n")
        assert engine.closed.acquire(timeout=PATIENCE)
        assert engine.connections == number


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"message": "no such thing"}', "no such thing"),
        (b"plain words", "plain words"),
        (b"", "Not Found"),
    ],
)
def test_a_refusal_has_the_engines_words(
    engine: Engine, calls: Calls, content: bytes, words: str
) -> None:
    engine.answers["/v1.41/volumes/v"] = 404, content
    with pytest.raises(Refused) as caught:
        calls.inspect_volume("v")
    assert (caught.value.status, caught.value.words) == (404, words)
    assert calls.engine_version()
    assert engine.connections == 1


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'"text"', b""])
def test_an_answer_that_is_no_engines(engine: Engine, calls: Calls, content: bytes) -> None:
    engine.answers["/v1.41/containers/a/json"] = 200, content
    with pytest.raises(http.client.HTTPException):
        calls.inspect_container("a")


def test_an_engine_that_says_nothing(engine: Engine, calls: Calls) -> None:
    calls.engine_version()
    engine.silent.set()
    calls.timeout = 1
    with pytest.raises(TimeoutError):
        calls.start("n")
    engine.silent.clear()
    calls.timeout = PATIENCE
    calls.start("n")
    assert engine.connections == 2


def test_threads_have_connections_of_their_own(calls: Calls) -> None:
    def ask(number: int) -> bool:
        return bool(calls.inspect_volume(str(number))["path"] == f"/v1.41/volumes/{number}")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


def test_a_call_after_the_end_leaves_no_connection(engine: Engine, calls: Calls) -> None:
    calls.engine_version()
    calls.close()
    assert engine.closed.acquire(timeout=PATIENCE)
    calls.start("n")
    assert engine.closed.acquire(timeout=PATIENCE)


def test_all_other_calls_are_the_docker_sdks(engine: Engine, calls: Calls) -> None:
    engine.answers["/v1.41/info"] = 200, b'{"Name": "it"}'
    assert calls.info() == {"Name": "it"}
    with pytest.raises(AttributeError):
        calls.no_such_call()
