"""Strangers at the port: P3, P6, P9, P10. The owner gets in, and what they took is given back.

`make fuzz` does the same with more of them, and writes the figures of docs/security.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel_server.doorway import MAX_STRANGERS
from docker_kernel_server.messages import Ping
from floods import CROWD, crowd, in_a_row, wrong_proofs
from system import wait_until
from test_server import connect, in_process
from test_tls import Files, files
from wire import PATIENCE, Lines, Server, make_nonce

__all__ = ["files"]

SECRET = "the tests' own secret"


@pytest.fixture(scope="module", params=["plain", "tls"])
def guarded(
    request: pytest.FixtureRequest, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Endpoint]]:
    """A server with a secret, and how the owner reaches it."""
    tls = request.param == "tls"
    folder = tmp_path_factory.mktemp("work")
    with Server(folder, secret=SECRET, args=files.arguments if tls else ()) as server:
        trust = files.fingerprint if tls else ""
        yield server, Endpoint("127.0.0.1", server.port, SECRET.encode(), ours=False, tls=trust)


@contextlib.contextmanager
def owner(endpoint: Endpoint) -> Iterator[Client]:
    """The owner's client."""
    client = Client(endpoint, Deadline(PATIENCE))
    try:
        yield client
    finally:
        client.close()


def alive(client: Client) -> bool:
    """Whether the server answers."""
    client.ask(Ping(client.new_id()), PATIENCE)
    return True


def test_a_crowd_of_strangers_keeps_nobody_out(guarded: tuple[Server, Endpoint]) -> None:
    """P9: who says nothing, half a hello, half a handshake of TLS; the first of them go."""
    server, endpoint = guarded
    process = psutil.Process(server.process.pid)
    with owner(endpoint) as before:
        assert alive(before)
        files_before = process.num_fds()
        with crowd(server.port, 3 * CROWD) as sockets:
            assert alive(before)
            with owner(endpoint) as late:
                assert alive(late)
            assert wait_until(lambda: process.num_fds() <= files_before + MAX_STRANGERS + 8, 5)
            sockets[0].settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert sockets[0].recv(1) == b""
        assert wait_until(lambda: process.num_fds() <= files_before, PATIENCE)
        assert alive(before)
    assert "Traceback" not in server.log()


def test_connections_in_a_row_leave_nothing(guarded: tuple[Server, Endpoint]) -> None:
    """P10: `make fuzz` does it with ten thousand."""
    server, endpoint = guarded
    process = psutil.Process(server.process.pid)
    with owner(endpoint) as client:
        in_a_row(server.port, 300)
        files_before = process.num_fds()
        in_a_row(server.port, 1000)
        assert alive(client)
        assert wait_until(lambda: process.num_fds() <= files_before, PATIENCE)
        assert process.memory_info().rss < 250_000_000
    assert "Traceback" not in server.log()


def test_guessing_is_of_no_use(tmp_path: Path) -> None:
    """P6: each guess needs a connection of its own, and the owner is not slowed by others'."""
    with Server(tmp_path, secret=SECRET) as server:
        endpoint = Endpoint("127.0.0.1", server.port, SECRET.encode(), ours=False)
        stop = threading.Event()
        counts: list[int] = []
        guesser = threading.Thread(
            target=lambda: counts.append(wrong_proofs(server.port, stop.is_set))
        )
        guesser.start()
        try:
            for _ in range(20):
                with owner(endpoint) as client:
                    assert alive(client)
        finally:
            stop.set()
            guesser.join(PATIENCE)
        assert counts[0] > 0
        assert server.log() == ""


def test_one_connection_has_one_guess(guarded: tuple[Server, Endpoint]) -> None:
    """P6"""
    server, endpoint = guarded
    if endpoint.tls:
        return
    with Lines(server.port) as client:
        hello = {"type": "hello", "id": "h", "protocol": 1, "nonce": make_nonce()}
        guess = {"type": "auth", "id": "a", "proof": "0" * 64}
        lines = [json.dumps(line).encode() + b"\n" for line in (hello, guess, guess, guess)]
        client.sock.sendall(b"".join(lines))
        assert [client.receive()["type"] for _ in range(2)] == ["hello", "final"]
        assert client.receive()["code"] == "authentication_failed"
        assert client.is_closed()


@pytest.mark.parametrize("first", [b"", b'{"type": "hello", "nonce": "', b"#"])
def test_a_slow_drip_ends(
    first: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """P9: a byte now and then, and never a line, holds a place for so long and no longer."""
    monkeypatch.setattr("docker_kernel_server.connection.HANDSHAKE_SECONDS", 0.3)

    async def drip() -> None:
        async with in_process(tmp_path, free_port, b"a secret of the tests") as (running, _):
            reader, writer = await connect(free_port)
            reading = asyncio.create_task(reader.read())
            writer.write(first)
            while not reading.done():
                writer.write(b" ")
                await asyncio.sleep(0.02)
            with contextlib.suppress(ConnectionError):
                reading.result()
            writer.close()
            while running.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(drip(), PATIENCE))
