"""Streams to a program in a container, by the engine's own API.

The Docker SDK could open them, and gives another kind of thing for each way to the engine. Over TLS
that is a socket which can't be read by one thread while another one writes.
"""

from __future__ import annotations

import errno
import json
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ConnectionLost, EngineRefused
from ..sockets import RECEIVE_BYTES, SEND_BYTES, SocketStream, TcpStream
from .address import Address

STDOUT, STDERR = 1, 2

FRAME = struct.Struct(">BxxxL")
"""What stands before each piece of a program's output: which stream, and how many bytes."""

_ERRNO_OF_WINDOWS = {
    2: errno.ENOENT,
    5: errno.EACCES,
    109: errno.EPIPE,
    121: errno.ETIMEDOUT,
    231: errno.ECONNREFUSED,  # it is busy
    233: errno.EPIPE,
}

_MAX_HEAD_BYTES = 64 * 1024
_HEAD_END = b"\r\n\r\n"


class SilentEngine(OSError):
    """Nothing answers where an engine should listen, not even that nobody does."""


def dial(address: Address, seconds: float) -> Any:
    """A socket to the engine itself, before any TLS, or a pipe of Windows. Raises OSError."""
    if address.parts.scheme == "npipe":
        from .sdk import open_pipe  # slow, and only Windows needs it

        return open_pipe(address, seconds)
    if address.parts.scheme == "ssh":
        from .ssh import SshSocket  # few need it

        return SshSocket(address.url, seconds)
    if sys.platform != "win32" and (path := address.socket):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(seconds)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        return sock
    try:
        sock = socket.create_connection((address.host, address.parts.port or 0), seconds)
    except TimeoutError as exc:
        raise SilentEngine from exc
    # A request's head and its body leave one after the other.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect(address: Address, seconds: float) -> SocketStream:
    """A stream to the engine itself. Raises OSError, ConnectionLost."""
    sock = dial(address, seconds)
    if address.parts.scheme == "npipe":
        return PipeStream(sock, address.url)
    if not address.over_tcp:
        return SocketStream(sock, address.url)
    plain = TcpStream(sock, address.url)
    if address.tls is None:
        return plain
    from ..tls import TlsStream  # few need it

    try:
        return TlsStream(plain, address.tls.context(), address.host)
    except BaseException:
        plain.close()
        raise


def upgrade(stream: SocketStream, what: str, path: str, body: object = None) -> bytes:
    """Ask the engine for a stream in both directions instead of an answer: what came of that
    already.

    `what` names the step. Raises EngineRefused, ConnectionLost.
    """
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1",
        "Host: docker",
        "Connection: Upgrade",
        "Upgrade: tcp",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    stream.send("\r\n".join(head).encode() + _HEAD_END + content)
    return _begin(stream, what)


def follow(stream: SocketStream, what: str, path: str) -> bytes:
    """Ask the engine for an answer that goes on until its subject ends: what came of it already.

    `what` names the step. Raises EngineRefused, ConnectionLost.
    """
    # By HTTP 1.0 it comes as it is; by 1.1 it would be in chunks.
    stream.send(f"GET {path} HTTP/1.0\r\nHost: docker".encode() + _HEAD_END)
    return _begin(stream, what)


def _begin(stream: SocketStream, what: str) -> bytes:
    found = b""
    while _HEAD_END not in found:
        found += _more(stream, found)
    answer, _, rest = found.partition(_HEAD_END)
    first, *lines = answer.decode("latin-1").split("\r\n")
    status = int(first.split()[1]) if len(first.split()) > 1 and first.split()[1].isdigit() else 0
    if status in (101, 200):
        return rest
    names = {name.strip().lower(): value for name, _, value in (a.partition(":") for a in lines)}
    with suppress(ConnectionLost, ValueError):
        while len(rest) < int(names.get("content-length", 0)):
            rest += _more(stream, rest)
    raise EngineRefused(f"{what} failed", words_of(rest) or first, status=status)


def _more(stream: SocketStream, before: bytes) -> bytes:
    data = stream.receive()
    if not data or len(before) > _MAX_HEAD_BYTES:
        raise ConnectionLost(f"{stream.peer} does not answer as an engine")
    return data


def words_of(body: bytes) -> str:
    """What an answer that is an error says."""
    with suppress(ValueError, AttributeError):
        return str(json.loads(body).get("message", ""))
    return body.decode("utf-8", "replace").strip()


@contextmanager
def os_errors() -> Iterator[None]:
    """Make OSError of a Windows pipe's errors, which the Docker SDK lets through as they are."""
    try:
        yield
    except Exception as exc:
        number = getattr(exc, "winerror", None)
        if number is None or isinstance(exc, OSError):
            raise
        words = str(getattr(exc, "strerror", exc))
        raise OSError(_ERRNO_OF_WINDOWS.get(number, errno.EIO), words) from exc


class PipeStream(SocketStream):
    """A stream over what the Docker SDK has for a Windows pipe: a socket that can't be shut."""

    def send(self, data: bytes) -> None:
        """Send all of it. Raises ConnectionLost."""
        try:
            with os_errors():
                super().send(data)
        except OSError as exc:
            raise self._lost(exc) from exc

    def receive(self) -> bytes:
        """Wait for bytes; b"" at the end. Raises ConnectionLost."""
        found = bytearray(RECEIVE_BYTES)
        try:
            with os_errors():  # not by the SDK's recv: it has no timeout
                size = self.socket.recv_into(found)
        except BrokenPipeError:
            return b""
        except OSError as exc:
            raise self._lost(exc) from exc
        return bytes(found[:size])

    def writable(self) -> bool:
        """Nothing tells."""
        return True

    def close(self) -> None:
        """End both directions."""
        self.socket.close()

    shut = deafen = abort = close


def end_input(stream: SocketStream) -> None:
    """Say that no more is sent, where the way to the engine has a half to close: neither TLS nor a
    Windows pipe has."""
    if type(stream) in (SocketStream, TcpStream):
        with suppress(OSError):
            stream.socket.shutdown(socket.SHUT_WR)


class ProgramStream(SocketStream):
    """The standard streams of a program in a container. Owns the connection to the engine.

    What comes is in frames: a header of 8 bytes with the stream and the size, and so many bytes.
    """

    def __init__(self, stream: SocketStream, early: bytes, kinds: tuple[int, ...]) -> None:
        """`kinds` are those of the program's streams that `receive` gives; `early` came behind the
        engine's answer."""
        super().__init__(stream.socket, stream.peer)
        self.first = b""
        """What the program's words begin with, where it's known; an engine that can't run it says
        why in their place."""
        self._stream = stream
        self._kinds = kinds
        self._early = early
        self._header = b""
        self._left = 0
        self._wanted = False

    def send(self, data: bytes) -> None:
        """Send all of it to the program's input. Raises ConnectionLost."""
        for start in range(0, len(data), SEND_BYTES):
            if start:
                self.progress_at = time.monotonic()
            self._stream.send(data[start : start + SEND_BYTES])

    def receive(self) -> bytes:
        """Wait for what the program prints; b"" at the end. Raises ConnectionLost."""
        while data := self._early or self._stream.receive():
            self._early = b""
            if found := self._unpack(data):
                if not found.startswith(self.first):
                    what = f"the engine could run no program for {self.peer}"
                    raise ConnectionLost(what, found.decode("utf-8", "replace").strip())
                self.first = b""
                return found
        return b""

    def set_timeout(self, seconds: float | None) -> None:
        """How long one send or receive may wait; None: for ever."""
        self._stream.set_timeout(seconds)

    def writable(self) -> bool:
        """Whether a short line can be sent without a wait."""
        return self._stream.writable()

    def close(self) -> None:
        """End both directions, and the connection to the engine."""
        self._stream.close()

    def shut(self) -> None:
        """End both directions, also for a thread that sends or receives just now."""
        self._stream.shut()

    def deafen(self) -> None:
        """End a `receive` that waits in another thread."""
        self._stream.deafen()

    def abort(self) -> None:
        """Hang up at once."""
        self._stream.abort()

    def end_input(self) -> None:
        """Let the program see the end of its input, as `end_input` can."""
        end_input(self._stream)

    def _unpack(self, data: bytes) -> bytes:
        found = []
        while data:
            if not self._left:
                needed = FRAME.size - len(self._header)
                self._header, data = self._header + data[:needed], data[needed:]
                if len(self._header) < FRAME.size:
                    break
                kind, self._left = FRAME.unpack(self._header)
                self._wanted, self._header = kind in self._kinds, b""
            else:
                if self._wanted:
                    found.append(data[: self._left])
                data, self._left = data[self._left :], max(0, self._left - len(data))
        return b"".join(found)
