"""Byte streams over sockets, whose errors are ours."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time

from .errors import ConnectionLost

RECEIVE_BYTES = 256 * 1024
"""How much is read at once: the most that this side holds of what isn't parsed yet."""

SEND_BYTES = 64 * 1024
"""How much is sent at once: who waits for the end of a long line sees that it goes on."""


class SocketStream:
    """A stream over a socket of any kind."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self.progress_at = 0.0
        """When a part of a long line was sent last."""
        self.socket = sock

    def send(self, data: bytes) -> None:
        """Send all of it. Raises ConnectionLost."""
        try:
            for start in range(0, len(data), SEND_BYTES):
                if start:
                    self.progress_at = time.monotonic()
                self.socket.sendall(data[start : start + SEND_BYTES])
        except OSError as exc:
            raise self._lost(exc) from exc

    def receive(self) -> bytes:
        """Wait for bytes; b"" at the end. Raises ConnectionLost."""
        try:
            return self.socket.recv(RECEIVE_BYTES)
        except OSError as exc:
            raise self._lost(exc) from exc

    def set_timeout(self, seconds: float | None) -> None:
        """How long one send or receive may wait; None: for ever."""
        self.socket.settimeout(seconds)

    def close(self) -> None:
        """End both directions."""
        with contextlib.suppress(OSError):  # the other end was first
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def shut(self) -> None:
        """End both directions, also for a thread that sends or receives just now; `close` it
        later."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def writable(self) -> bool:
        """Whether a short line can be sent without a wait."""
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(self.socket, selectors.EVENT_WRITE)
            except ValueError:  # it is closed
                return False
            return bool(selector.select(0))

    def deafen(self) -> None:
        """End a `receive` that waits in another thread, and nothing else."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Hang up with a reset. A close may mean that this side sends no more, and still reads."""
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def _lost(self, exc: OSError) -> ConnectionLost:
        what = f"the connection to the server at {self.peer} was lost"
        return ConnectionLost(what, in_words(exc))


class TcpStream(SocketStream):
    """A stream over TCP."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        super().__init__(sock, peer)
        # Requests are small and each is waited for: no batching by the kernel.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A machine that vanished without a word is noticed in the end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def in_words(exc: OSError | UnicodeError) -> str:
    """What an error of the operating system says, in a form for people."""
    if isinstance(exc, TimeoutError):
        return "it took too long"
    return (getattr(exc, "strerror", None) or str(exc)).lower()
