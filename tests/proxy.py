"""A TCP proxy between a client and a server, that does to the bytes what a bad network does."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

PIECE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Fate:
    """What becomes of a piece on its way, and of its connection after it."""

    passes: bytes
    cut: bool = False
    reset: bool = False


Fault = Callable[[bytes], Fate]


@dataclass
class Pair:
    """One connection through the proxy: the client's side and the server's."""

    client: socket.socket
    server: socket.socket
    open: bool = True
    pumps: int = 2
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self, *, reset: bool = False) -> None:
        """End both sides, politely or with a reset. They are closed with `leave`."""
        with self.lock:
            if not self.open:
                return
            self.open = False
        for side in (self.client, self.server):
            with contextlib.suppress(OSError):
                if reset:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # A thread that reads doesn't notice a close; it does notice a shutdown.
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """A thread uses it no more. The last one closes it: else its number could be another
        connection's, and get what was meant for this one."""
        with self.lock:
            self.pumps -= 1
            if not self.pumps:
                self.client.close()
                self.server.close()


class Proxy:
    """Listens on a port of its own from `__enter__` to `__exit__`, and passes on to ``port``.

    ``to_client`` and ``to_server`` are called with each piece that goes there; see `Fate`.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.to_client: Fault = Fate
        self.to_server: Fault = Fate
        self.connections = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: list[Pair] = []
        self._threads: list[threading.Thread] = []
        self._refusing = False
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended = True
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self, *, reset: bool = False) -> None:
        """Cut every connection."""
        for pair in list(self._pairs):
            pair.cut(reset=reset)

    def half_close(self) -> None:
        """Say to each client that nothing more comes; what it sends is still taken."""
        for pair in list(self._pairs):
            with contextlib.suppress(OSError):
                pair.client.shutdown(socket.SHUT_WR)

    def hold_little(self) -> None:
        """Keep the buffers of the connections to come small."""
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)

    def refuse(self, refusing: bool = True) -> None:
        """Hang up on whoever connects; with False, no more."""
        self._refusing = refusing

    def stall(self, stalled: bool = True) -> None:
        """Pass nothing on, and lose nothing; with False, go on."""
        if stalled:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            pair = Pair(client, server)
            self._pairs.append(pair)
            for source, target, fault in (
                (client, server, lambda data: self.to_server(data)),
                (server, client, lambda data: self.to_client(data)),
            ):
                thread = threading.Thread(
                    target=self._pump, args=(pair, source, target, fault), daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _pump(self, pair: Pair, source: socket.socket, target: socket.socket, fault: Fault) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                self._flowing.wait()
                if self._ended or not pair.open:
                    break
                fate = fault(data)
                target.sendall(fate.passes)
                if fate.cut:
                    pair.cut(reset=fate.reset)
        pair.cut()
        pair.leave()


def cutting(points: list[int], chance: random.Random) -> Fault:
    """Cuts at each of these numbers of bytes, counted over all connections, in one of several ways.

    The piece is lost, or half of it arrives, or all of it; the end is polite or a reset; sometimes
    it takes a moment first.
    """
    left = sorted(points, reverse=True)
    seen = 0
    lock = threading.Lock()

    def fault(data: bytes) -> Fate:
        nonlocal seen
        with lock:
            seen += len(data)
            if not left or seen < left[-1]:
                return Fate(data)
            left.pop()
            size = chance.choice((0, len(data) // 2, len(data) - 1, len(data)))
            late = chance.random() < 0.2
            reset = chance.random() < 0.5
        if late:
            time.sleep(0.05)  # the network is slow; nobody waits for anything here
        return Fate(data[:size], cut=True, reset=reset)

    return fault
