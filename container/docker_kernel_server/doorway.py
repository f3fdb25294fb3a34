"""Where connections come in, and those that have shown nothing yet.

asyncio's own server doesn't count who is still in the handshake of TLS, and can't turn one away.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import socket
from typing import TYPE_CHECKING, Callable, Dict, List, Optional

if TYPE_CHECKING:
    import ssl  # not every Python in an image has it

MAX_STRANGERS = 256
"""Connections that have not shown that they are a client's, and run nothing. Past this the oldest
is closed, and not the newest: who floods the port closes his own, and an owner gets in."""

BACKLOG = 1024

ACCEPT_AT_ONCE = 64
"""So many connections are taken before others get their turn."""

KEEPALIVE_SECONDS = 60
"""A connection that is silent for so long is asked whether its other end is still there."""

PAUSE_SECONDS = 1.0
"""How long nobody is let in where the system has no room for a further connection."""

COLLECT_EVERY = 64
"""After so many handshakes of TLS the garbage collector is run."""

NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Strangers:
    """Those that have shown nothing yet, in the order in which they came."""

    def __init__(self) -> None:
        self._all: Dict[object, Callable[[], object]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, who: object, turn_away: Callable[[], object]) -> None:
        """A further one; where there are too many, the first one is turned away."""
        self._all[who] = turn_away
        if len(self._all) > MAX_STRANGERS:
            self._all.pop(next(iter(self._all)))()

    def discard(self, who: object) -> None:
        """It is one no more."""
        self._all.pop(who, None)


class Doorway:
    """The listening sockets. Owns them, and the handshakes of TLS that are under way."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        strangers: Strangers,
        tls: "Optional[ssl.SSLContext]",
        tls_seconds: float,
    ) -> None:
        self._make = make
        self._strangers = strangers
        self._tls = tls
        self._tls_seconds = tls_seconds if tls is not None else None
        self._loop = asyncio.get_running_loop()
        self._sockets: List[socket.socket] = []
        self._tls_ended = 0
        self._entering: "Dict[asyncio.Task[None], None]" = {}

    async def open(self, host: str, port: int) -> int:
        """Listen; the port of the first address. OSError where it can't be had."""
        flags = socket.AI_PASSIVE
        kind = socket.SOCK_STREAM
        found = await self._loop.getaddrinfo(host or None, port, type=kind, flags=flags)
        try:
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                listener = socket.create_server(
                    address[:2], family=family, backlog=BACKLOG, reuse_port=False
                )
                self._sockets.append(listener)
                listener.setblocking(False)
                _tune(listener)
                self._let_in(listener)
        except OSError:
            self.close()
            raise
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Let nobody in any more."""
        for listener in self._sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self._sockets.clear()
        for task in list(self._entering):
            task.cancel()

    def _let_in(self, listener: socket.socket) -> None:
        if listener in self._sockets:
            self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, _address = listener.accept()
            except OSError as exc:
                if exc.errno in NO_ROOM:
                    self._loop.remove_reader(listener)
                    self._loop.call_later(PAUSE_SECONDS, self._let_in, listener)
                # Else there is nobody, or who was there has gone.
                return
            sock.setblocking(False)
            task = self._loop.create_task(self._enter(sock))
            self._entering[task] = None
            task.add_done_callback(functools.partial(self._entered, sock))
            self._strangers.add(task, task.cancel)

    async def _enter(self, sock: socket.socket) -> None:
        # A stranger that fails in the handshake of TLS is no news.
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(
                self._make, sock, ssl=self._tls, ssl_handshake_timeout=self._tls_seconds
            )

    def _entered(self, sock: socket.socket, task: "asyncio.Task[None]") -> None:
        del self._entering[task]
        self._strangers.discard(task)
        if task.cancelled() or task.exception() is not None:
            sock.close()
        if self._tls is not None:
            # Each has a quarter of a megabyte in asyncio, in a cycle: Python counts objects only.
            self._tls_ended += 1
            if self._tls_ended % COLLECT_EVERY == 0:
                gc.collect()


def _tune(listener: socket.socket) -> None:
    """Send each line at once; and notice a client that is gone without a word, which would hold the
    server's lease for ever. The connections have it from the socket that they came in by."""
    # Without it the second of two short lines waits some 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has all of them; macOS calls the first one otherwise.
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_SECONDS),
        ("TCP_KEEPALIVE", KEEPALIVE_SECONDS),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 6),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
