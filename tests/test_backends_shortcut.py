"""The way to a container's own address: where it is taken, and what comes where it fails."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import peer
from docker_kernel.backends import shortcut
from docker_kernel.backends.shortcut import shortened
from docker_kernel.endpoint import Endpoint
from docker_kernel.launcher import in_thread
from docker_kernel_server.handshake import Secret
from wire import Server

SECRET = "a secret of the tests, long enough"
OTHERS = "the secret of another container, as long"
HERE = {"bridge": {"IPAddress": "127.0.0.1", "Gateway": "127.0.0.1"}}
"""This machine is its own container."""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server that listens at the container's address, however busy this machine is."""
    monkeypatch.setattr(shortcut, "SECONDS", 30.0)
    with Server(tmp_path, secret=SECRET) as server:
        yield server


@pytest.fixture
def published() -> Iterator[socket.socket]:
    """What listens at the published port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def endpoint_of(published: socket.socket, secret: str = SECRET) -> Endpoint:
    return Endpoint("127.0.0.1", published.getsockname()[1], Secret(secret.encode()))


def port_reached(endpoint: Endpoint) -> int:
    assert endpoint.dial is not None
    with closing(endpoint.dial(5)) as stream:
        return int(stream.socket.getpeername()[1])


def test_the_containers_own_address_is_taken(there: Server, published: socket.socket) -> None:
    usual = endpoint_of(published)
    short = shortened(usual, HERE, there.port)
    assert port_reached(short) == there.port
    assert (short, str(short)) == (usual, str(usual))  # people are told the published one


def test_the_published_port_is_there_where_it_fails(
    there: Server, published: socket.socket
) -> None:
    short = shortened(endpoint_of(published), HERE, there.port)
    there.kill()
    assert port_reached(short) == published.getsockname()[1]


@pytest.mark.parametrize(
    "networks",
    [
        {},
        {"host": {"IPAddress": "", "Gateway": ""}},
        {"another machine's": {"IPAddress": "127.0.0.1", "Gateway": "192.0.2.1"}},
        {"nobody's": {"IPAddress": "127.0.0.1", "Gateway": "no address"}},
    ],
    ids=lambda networks: " ".join(networks) or "none",
)
def test_only_where_this_machine_is_on_the_network(
    there: Server, published: socket.socket, networks: dict[str, Any]
) -> None:
    assert shortened(endpoint_of(published), networks, there.port).dial is None


def test_another_containers_address_is_not_taken(there: Server, published: socket.socket) -> None:
    """Two engines, of which each has a bridge with the same addresses."""
    assert shortened(endpoint_of(published, OTHERS), HERE, there.port).dial is None
    there.kill()
    assert shortened(endpoint_of(published), HERE, there.port).dial is None


def test_who_listens_there_and_says_nothing_is_not_waited_for(published: socket.socket) -> None:
    silent = published.getsockname()[1]
    assert shortened(endpoint_of(published), HERE, silent).dial is None


def test_who_listens_there_and_never_ends_is_not_waited_for(published: socket.socket) -> None:
    tried = threading.Event()

    def drip(connection: socket.socket) -> None:
        with suppress(OSError):
            while not tried.wait(0.001):
                connection.send(b" ")

    with peer.listening(drip) as port:
        short = in_thread(lambda: shortened(endpoint_of(published), HERE, port), "look")
        try:
            assert short.result(10).dial is None
        finally:
            tried.set()
