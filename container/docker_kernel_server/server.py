"""The server: it listens, and owns the connections, the sessions, the commands and the files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Set

from . import __version__
from .clients import Clients
from .commands import Commands
from .connection import HANDSHAKE_SECONDS, Connection
from .files import Files
from .limits import read_limits
from .messages import Json
from .processes import read_machine
from .sessions import Sessions

if TYPE_CHECKING:
    import ssl  # not every Python in an image has it

MAX_CONNECTIONS = 1000

READ_BYTES = 4096
"""What is read of standard input at a time; nothing is expected there."""

STOPPED = (
    "the server was told to stop, as when its container or the engine is stopped; variables are "
    "lost. Run it again: that starts a new one"
)
"""What is said to whoever waits for an answer then."""

FAREWELL_SECONDS = 1.0
"""How long a client that reads slowly has for the rest when the server stops."""


@dataclass(frozen=True)
class Options:
    """What the server is started with."""

    workplace: str
    host: str = "127.0.0.1"
    port: int = 8000
    secret: Optional[bytes] = None
    tls: "Optional[ssl.SSLContext]" = None
    lease: Optional[float] = None
    """Seconds without any client after which the server ends; None for never."""
    end_with_stdin: bool = False
    """End when the other side of standard input is closed."""
    python: str = sys.executable
    lent: str = ""


class Server:
    """Listens, and owns the connections, the sessions, the commands and the files."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.sessions = Sessions(options.python, options.lent, options.workplace)
        self.commands = Commands(options.workplace, dict(os.environ))
        self.files = Files(options.workplace)
        self.clients = Clients(self)
        self.connections: Set[Connection] = set()
        self._tenants: Set[Connection] = set()
        self._started = time.monotonic()
        self._stopped = asyncio.Event()
        self._deserted = asyncio.Event()
        self._lease: Optional[asyncio.TimerHandle] = None

    async def serve(self) -> None:
        """Serve until `stop`. OSError where the port can't be had."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: Connection(self),
            self.options.host,
            self.options.port,
            reuse_address=True,
            backlog=1024,
            ssl=self.options.tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self.options.tls else None,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGCHLD, self.commands.reap)
        port = listener.sockets[0].getsockname()[1]
        _say(f"listening on {self.options.host}:{port}")
        # IPython's import takes a while, and a client is sure to come.
        self.sessions.zygote()
        self._start_lease()
        if self.options.end_with_stdin:
            loop.add_reader(sys.stdin, self._on_stdin)
        try:
            await self._stopped.wait()
        finally:
            listener.close()
            for connection in list(self.connections):
                connection.finish(STOPPED)
            self.clients.end_away()
            self.commands.close()
            await self.sessions.close()
            await self.files.close()
            for connection in list(self.connections):
                connection.finish(STOPPED)
                connection.close()
            await self._wait_for_farewells()

    async def _wait_for_farewells(self) -> None:
        """Until every client has what is on its way to it, or is too slow."""
        if self.connections:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._deserted.wait(), FAREWELL_SECONDS)
        for connection in list(self.connections):
            connection.abort()

    def _on_stdin(self) -> None:
        if not os.read(sys.stdin.fileno(), READ_BYTES):
            self.stop()

    def stop(self) -> None:
        """End `serve`."""
        self._stopped.set()

    def admit(self, connection: Connection) -> bool:
        """Somebody has connected. False where there are too many."""
        self.connections.add(connection)
        self._deserted.clear()
        return len(self.connections) <= MAX_CONNECTIONS

    def dismiss(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._deserted.set()
        self.release_lease(connection)

    def hold_lease(self, connection: Connection) -> None:
        """It has proved to be a client's, or runs something: the server doesn't end now.

        That somebody has connected means nothing: any program of the machine can, for ever.
        """
        self._tenants.add(connection)
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None
            _say("a client is here")

    def release_lease(self, connection: Connection) -> None:
        """It needs the server no more."""
        self._tenants.discard(connection)
        self._start_lease()

    def _start_lease(self) -> None:
        lease = self.options.lease
        if self._tenants or lease is None or self._lease is not None or self._stopped.is_set():
            return
        self._lease = asyncio.get_running_loop().call_later(lease, self.stop)
        # The host's side reads this in the container's log: a sweep can't ask, without the secret.
        _say(f"no client: ends in {lease:g} s unless one comes")

    def status(self) -> Json:
        """The answer to a status request."""
        return {
            "version": __version__,
            "python": platform.python_version(),
            "executable": self.options.python,
            "workplace": self.options.workplace,
            "temp": tempfile.gettempdir(),
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "uptime": time.monotonic() - self._started,
            "connections": len(self.connections),
            "commands": len(self.commands),
            "sessions": self.sessions.status(),
            "limits": read_limits(),
            "machine": read_machine(),
        }


def _say(line: str) -> None:
    """Print a line, where somebody still takes it."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())
