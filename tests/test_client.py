"""The client: who gets which event, and what becomes of calls when the connection goes."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import peer
from docker_kernel import client as client_module
from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import ConnectionLost, RequestRefused
from docker_kernel_server.messages import Chunk, Event, Execute, Final, Request, Status


def connect(endpoint: Endpoint, **keys: object) -> Client:
    return Client(endpoint, Deadline(5), **keys)  # type: ignore[arg-type]


def echo(request: Request, send: peer.Send) -> None:
    """Two chunks, the end, and a chunk that comes after the end."""
    send(Chunk(request.id, "one "))
    send(Chunk(request.id, "two "))
    send(Final(request.id, 0, result={"id": request.id}))
    send(Chunk(request.id, "late"))


def test_a_call() -> None:
    with peer.server(echo) as endpoint:
        client = connect(endpoint)
        events: queue.Queue[Event] = queue.Queue()
        call = client.request(Status("1"), events.put)
        assert call.result(5) == Final("1", 0, result={"id": "1"})
        texts = [events.get(timeout=5) for _ in range(3)]
        assert [event.data for event in texts if isinstance(event, Chunk)] == [
            "one ",
            "two ",
            "late",
        ]
        client.close()


def test_await() -> None:
    async def wait() -> Final:
        return await asyncio.wrap_future(client.request(Status("1")).future)

    with peer.server(echo) as endpoint:
        client = connect(endpoint)
        assert asyncio.run(wait()).status == 0
        client.close()


def test_a_waiter_that_gives_up_leaves_the_call() -> None:
    release = threading.Event()

    def later(request: Request, send: peer.Send) -> None:
        release.wait(5)
        send(Final(request.id, 0))

    async def give_up() -> None:
        waiting = asyncio.wrap_future(call.future)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with peer.server(later) as endpoint:
        client = connect(endpoint)
        call = client.request(Status("1"))
        asyncio.run(give_up())
        release.set()
        assert call.result(5).status == 0
        client.close()


def test_a_result_that_takes_too_long() -> None:
    with peer.server(lambda *_: None) as endpoint:
        client = connect(endpoint)
        with pytest.raises(TimeoutError):
            client.request(Status("1")).result(0.05)
        client.close()


def test_many_threads_get_their_own_answers() -> None:
    with peer.server(echo) as endpoint:
        client = connect(endpoint)

        def one(_: int) -> bool:
            name = client.new_id()
            return bool(client.request(Status(name)).result(10).result == {"id": name})

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(one, range(300)))
        client.close()


def test_late_handlers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_LATE_HANDLERS", 2)
    seen: queue.Queue[tuple[str, str]] = queue.Queue()

    def answer(request: Request, send: peer.Send) -> None:
        send(Final(request.id, 0))
        if request.id == "4":
            for name in "1234":
                send(Chunk(name, "late"))

    with peer.server(answer) as endpoint:
        client = connect(endpoint, on_event=lambda event: seen.put(("rest", event.id)))
        for name in "1234":
            client.request(Status(name), lambda event: seen.put(("own", event.id))).result(5)
        got = [seen.get(timeout=5) for _ in range(4)]
        assert got == [("rest", "1"), ("rest", "2"), ("own", "3"), ("own", "4")]
        client.close()


def test_a_handler_that_fails_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_event: Event) -> None:
        raise RuntimeError("a bug")

    with peer.server(echo) as endpoint:
        client = connect(endpoint)
        assert client.request(Status("1"), fail).result(5).status == 0
        assert client.request(Status("2")).result(5).status == 0
        client.close()
    assert "a bug" in caplog.text


def test_a_lost_connection_answers_every_call() -> None:
    both = threading.Barrier(2, timeout=5)

    def serve(connection: socket.socket) -> None:
        def answer(request: Request, _send: peer.Send) -> None:
            if request.id == "2":
                both.wait()
                peer.hang_up(connection)

        peer.speak(connection, answer)

    with peer.listening(serve) as port:
        client = connect(Endpoint("127.0.0.1", port, None), why_lost=lambda: "out of memory (2g)")
        calls = [client.request(Status("1")), client.request(Status("2"))]
        both.wait()
        for call in calls:
            with pytest.raises(ConnectionLost, match="out of memory"):
                call.result(5)
        assert not client.connected
        with pytest.raises(ConnectionLost):
            client.request(Status("3"))
        client.close()


def test_a_server_that_is_dying_is_not_said_to_run() -> None:
    """C5: it hangs up before its end can be seen from outside."""
    answers = iter(["", "", "killed by the code"])
    served = iter([True])

    def serve(connection: socket.socket) -> None:
        if next(served, False):
            peer.speak(connection, lambda *_: peer.hang_up(connection))
        peer.hang_up(connection)

    with peer.listening(serve) as port:
        client = connect(Endpoint("127.0.0.1", port, None), why_lost=lambda: next(answers))
        with pytest.raises(ConnectionLost, match="killed by the code"):
            client.request(Status("1")).result(5)
        client.close()


def test_close_ends_the_calls_and_the_thread() -> None:
    with peer.server(lambda *_: None) as endpoint:
        client = connect(endpoint)
        call = client.request(Status("1"))
        client.close()
        with pytest.raises(ConnectionLost, match="this side"):
            call.result(5)
        client.close()


def test_close_from_a_handler() -> None:
    closed = threading.Event()

    def close(_event: Event) -> None:
        client.close()
        closed.set()

    with peer.server(echo) as endpoint:
        client = connect(endpoint)
        client.request(Status("1"), close)
        assert closed.wait(5)


def test_one_id_at_a_time() -> None:
    with peer.server(lambda *_: None) as endpoint:
        client = connect(endpoint)
        client.request(Status("1"))
        with pytest.raises(ValueError, match="still open"):
            client.request(Status("1"))
        client.close()


def test_too_large_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_LINE_BYTES", 1000)
    with peer.server() as endpoint:
        client = connect(endpoint)
        with pytest.raises(RequestRefused, match="1000"):
            client.request(Execute("1", "main", "x" * 1000))
        assert client.request(Status("2")).result(5).status == 0
        client.close()


def test_ask_gives_the_result_or_the_servers_words() -> None:
    def answer(request: Request, send: peer.Send) -> None:
        if request.id == "no":
            send(Final("no", 1, "refused", "there is no such thing", code="refused"))
        else:
            send(Final(request.id, 0, result=42))

    with peer.server(answer) as endpoint:
        client = connect(endpoint)
        assert client.ask(Status("yes"), 5) == 42
        with pytest.raises(RequestRefused, match="no such thing"):
            client.ask(Status("no"), 5)
        client.close()


def test_a_slow_handler_slows_the_server() -> None:
    """Nothing piles up on this side: a server that sends 40 MB has to wait for the handler."""
    sent = 0
    stopped = threading.Event()
    go_on = threading.Event()

    def flood(request: Request, send: peer.Send) -> None:
        nonlocal sent
        for _ in range(160):
            send(Chunk(request.id, "x" * 250_000))
            sent += 1
        send(Final(request.id, 0))

    def slow(_event: Event) -> None:
        if not go_on.is_set():
            stopped.set()
            go_on.wait(10)

    with peer.server(flood) as endpoint:
        client = connect(endpoint)
        call = client.request(Status("1"), slow)
        assert stopped.wait(5)
        with pytest.raises(TimeoutError):
            call.result(0.5)
        assert sent < 120
        go_on.set()
        assert call.result(20).status == 0
        client.close()
