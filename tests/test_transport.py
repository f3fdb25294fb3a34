"""Connecting: what is tried again, and what is an error of which kind."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

import peer
from docker_kernel import sockets, transport
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import (
    AuthenticationFailed,
    ConnectionLost,
    NotAServer,
    ServerNotThere,
    VersionMismatch,
)
from docker_kernel_server.messages import Final, ServerHello, encode
from ports import spare_port


def connect(
    port: int, seconds: float = 5, secret: bytes | None = None, ours: bool = True
) -> transport.Link:
    return transport.connect(Endpoint("127.0.0.1", port, secret, ours), Deadline(seconds))


def hang_up(connection: socket.socket) -> None:
    """What the published port of a container without a server does."""
    connection.recv(1000)
    peer.hang_up(connection)


def test_handshake_without_a_secret() -> None:
    with peer.server() as endpoint:
        link = transport.connect(endpoint, Deadline(5))
        assert link.protocol.ready
        assert link.protocol.server is not None
        link.stream.close()


def test_handshake_with_a_secret() -> None:
    with peer.server(secret=b"open sesame") as endpoint:
        transport.connect(endpoint, Deadline(5)).stream.close()


@pytest.mark.parametrize(("ours", "theirs"), [(b"a", b"b"), (None, b"b"), (b"a", None)])
def test_secrets_that_differ(ours: bytes | None, theirs: bytes | None) -> None:
    with peer.server(secret=theirs) as endpoint, pytest.raises(AuthenticationFailed) as caught:
        connect(endpoint.port, secret=ours)
    assert "SECRET_FILE" in caught.value.remedy


def test_a_port_that_hangs_up_until_the_server_is_there() -> None:
    """What a published port of an engine does while the container starts."""
    calls = []

    def serve(connection: socket.socket) -> None:
        calls.append(connection)
        if len(calls) < 4:
            peer.hang_up(connection)
        else:
            peer.speak(connection, peer.finish)

    with peer.listening(serve) as port:
        connect(port).stream.close()
    assert len(calls) == 4


def test_a_port_that_is_opened_late() -> None:
    port = spare_port()
    links: list[transport.Link] = []
    waiter = threading.Thread(target=lambda: links.append(connect(port)))
    waiter.start()
    with socket.create_server(("127.0.0.1", port)) as listener:
        connection, _ = listener.accept()
        peer_thread = threading.Thread(target=peer.speak, args=(connection, peer.finish))
        peer_thread.start()
        waiter.join(5)
        links[0].stream.close()
        peer_thread.join(5)
        connection.close()


def test_nothing_listens() -> None:
    with pytest.raises(ServerNotThere, match="refused"):
        connect(spare_port(), seconds=0.2)


def test_another_s_server_that_is_not_there_is_not_awaited() -> None:
    begin = time.monotonic()
    with pytest.raises(ServerNotThere, match="refused") as caught:
        connect(spare_port(), seconds=60, ours=False)
    assert time.monotonic() - begin < 10
    assert "docker_kernel_server" in caught.value.remedy


def test_another_s_port_that_hangs_up_is_tried_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "HANG_UP_SECONDS", 0.3)
    taken = []

    def serve(connection: socket.socket) -> None:
        taken.append(connection)
        hang_up(connection)

    begin = time.monotonic()
    with (
        peer.listening(serve) as port,
        pytest.raises(NotAServer, match="closes each connection") as caught,
    ):
        connect(port, seconds=60, ours=False)
    assert time.monotonic() - begin < 10
    assert len(taken) > 1
    assert "DOCKER_KERNEL_PORT" in caught.value.remedy


def test_our_own_port_may_hang_up_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANG_UP_SECONDS", 0.0)
    with peer.listening(hang_up) as port, pytest.raises(ServerNotThere, match="closes each"):
        connect(port, seconds=0.5)


def test_a_server_that_died_ends_the_wait() -> None:
    endpoint = Endpoint("127.0.0.1", spare_port(), None)
    begin = time.monotonic()
    with pytest.raises(ServerNotThere, match="exit code 3"):
        transport.connect(endpoint, Deadline(60), lambda: "exit code 3")
    assert time.monotonic() - begin < 5


def test_an_unknown_host() -> None:
    for name in ("no-such-host.invalid", "a b", ".."):
        with pytest.raises(ServerNotThere, match="there is no host"):
            transport.connect(Endpoint(name, 1, None), Deadline(5))


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b'{"type": "chunk", "id": "", "data": "x"}\n',
        encode(
            Final("", 126, "refused", "this port does not speak TLS\n", code="not_this_protocol")
        ),
    ],
)
def test_something_else_listens(words: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(words)

    with peer.listening(serve) as port, pytest.raises(NotAServer) as caught:
        connect(port)
    assert str(port) in str(caught.value)


def test_something_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HELLO_SECONDS", 0.2)
    with (
        peer.listening(lambda _: None) as port,
        pytest.raises(NotAServer, match="said nothing"),
    ):
        connect(port, ours=False)


def test_something_that_never_comes_to_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """P3: a byte now and then makes nobody wait for longer."""
    monkeypatch.setattr(transport, "HELLO_SECONDS", 0.2)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b" ")
                time.sleep(0.01)  # slowly, but never for long enough to be silent

    with peer.listening(serve) as port, pytest.raises(NotAServer, match="handshake in"):
        connect(port, ours=False)


def test_our_own_server_may_be_silent_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HELLO_SECONDS", 0.2)
    calls = []

    def serve(connection: socket.socket) -> None:
        calls.append(connection)
        if len(calls) > 2:
            peer.speak(connection, peer.finish)

    with peer.listening(serve) as port:
        connect(port).stream.close()
    assert len(calls) == 3


def test_half_a_hello() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b'{"type": "hel')
        peer.hang_up(connection)

    with peer.listening(serve) as port, pytest.raises(NotAServer):
        connect(port)


def test_another_version() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(encode(ServerHello("hello", 7, "9.9.9", "n" * 64)))

    with peer.listening(serve) as port, pytest.raises(VersionMismatch, match=r"9\.9\.9"):
        connect(port)


def test_receive_after_a_reset() -> None:
    connected = threading.Event()

    def serve(connection: socket.socket) -> None:
        connected.wait(5)
        # Linger 0: a close sends RST, as a crashed machine's would.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    with peer.listening(serve) as port:
        stream = sockets.TcpStream(socket.create_connection(("127.0.0.1", port)), "there")
        connected.set()
        with pytest.raises(ConnectionLost, match="there"):
            stream.receive()
        stream.close()
        stream.close()
