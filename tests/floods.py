"""Floods at a server's port: strangers who say nothing, many in a row, and who guess the secret."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator

from docker_kernel_server.doorway import MAX_STRANGERS
from wire import PATIENCE, Lines, make_nonce

CROWD = MAX_STRANGERS
"""As many strangers as a server puts up with."""

BEGINNINGS = (
    b"",
    b'{"type": "hello", "no',
    b"#",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x16\x03\x01",
)
"""How a connection may begin that never gets on."""


@contextlib.contextmanager
def crowd(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections at once, of which none gets on."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for number in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            with contextlib.suppress(OSError):  # it was turned away already
                sock.sendall(BEGINNINGS[number % len(BEGINNINGS)])
            sockets.append(sock)
        yield sockets


def in_a_row(port: int, count: int) -> None:
    """So many connections one after another: closed, reset, or with half a word."""
    for number in range(count):
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with sock, contextlib.suppress(OSError):
            sock.sendall(BEGINNINGS[number % len(BEGINNINGS)])
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wrong_proofs(port: int, over: Callable[[], bool]) -> int:
    """Guess until it's over; how many guesses there were."""
    count = 0
    while not over():
        with Lines(port) as client, contextlib.suppress(OSError, EOFError):
            hello = {"type": "hello", "id": "h", "protocol": 1, "nonce": make_nonce()}
            client.sock.sendall(json.dumps(hello).encode() + b"\n")
            assert client.receive()["type"] == "hello"
            client.receive()
            guess = {"type": "auth", "id": "a", "proof": make_nonce()}
            client.sock.sendall(json.dumps(guess).encode() + b"\n")
            assert client.receive()["code"] == "authentication_failed"
            count += 1
    return count
