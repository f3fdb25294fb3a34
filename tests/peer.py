"""A server for tests that says what a test wants, when it wants: true sockets, true protocol."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from docker_kernel.endpoint import Endpoint
from docker_kernel_server.messages import Event, Final, Leave, Request, Resume, encode
from docker_kernel_server.protocol import ServerSide, State

Send = Callable[[Event], None]
Answer = Callable[[Request, Send], None]


def finish(request: Request, send: Send) -> None:
    """Answer a request with success at once."""
    send(Final(request.id, 0))


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of this machine; ``serve`` gets each connection to it, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # A thread in accept() doesn't notice a close; it does notice a shutdown.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for connection in taken:
            hang_up(connection)
        for thread in threads:
            thread.join(5)


def hang_up(connection: socket.socket) -> None:
    """Close a connection, also for a thread that reads from it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def speak(connection: socket.socket, answer: Answer, secret: bytes | None = None) -> None:
    """Hold the handshake, and hand each request to ``answer``."""
    side = ServerSide(secret)

    def send(event: Event) -> None:
        with contextlib.suppress(OSError):  # the client has gone: that may be the test
            connection.sendall(encode(event))

    while side.state is not State.CLOSED:
        try:
            data = connection.recv(65536)
        except OSError:
            return
        if not data:
            return
        for item in side.receive(data):
            if isinstance(item, Event):
                send(item)
            elif isinstance(item, Resume):
                send(Final(item.id, 0, result={"new": True, "received": 0, "next": 1}))
            elif isinstance(item, Leave):
                break
            elif isinstance(item, Request):
                answer(item, send)
    hang_up(connection)


@contextmanager
def server(answer: Answer = finish, secret: bytes | None = None) -> Iterator[Endpoint]:
    """A server that answers with ``answer``."""
    with listening(lambda connection: speak(connection, answer, secret)) as port:
        yield Endpoint("127.0.0.1", port, secret)
