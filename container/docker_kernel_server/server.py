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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional, Set

from . import __version__
from .bootstrap import ZygoteProcess
from .clients import Clients
from .commands import Commands
from .connection import HANDSHAKE_SECONDS, Connection
from .doorway import Doorway, Strangers
from .files import Files
from .framing import keep_freed_memory
from .limits import read_limits
from .message import Json
from .processes import read_machine
from .sessions import Sessions

if TYPE_CHECKING:
    import ssl  # not every Python in an image has it

MAX_CONNECTIONS = 1000
"""Of clients, and of those whose commands run. See `MAX_STRANGERS` for the others."""

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
    secret: Optional[bytes] = field(default=None, repr=False)
    tls: "Optional[ssl.SSLContext]" = None
    lease: Optional[float] = None
    """Seconds without any client after which the server ends; None for never."""
    first_lease: Optional[float] = None
    """The same until the first client comes; None: as later."""
    end_with_stdin: bool = False
    """End when the other side of standard input is closed."""
    python: str = sys.executable
    lent: str = ""
    zygote: Optional[ZygoteProcess] = None
    """What was started with these two, where that is so already."""


class Server:
    """Listens, and owns the connections, the sessions, the commands and the files."""

    def __init__(self, options: Options) -> None:
        keep_freed_memory()
        self.options = options
        self.sessions = Sessions(options.python, options.lent, options.workplace, options.zygote)
        self.commands = Commands(options.workplace, dict(os.environ))
        self.files = Files(options.workplace)
        self.clients = Clients(self)
        self.connections: Set[Connection] = set()
        self._tenants: Set[Connection] = set()
        self._strangers = Strangers()
        self._started = time.monotonic()
        self._stopped = asyncio.Event()
        self._deserted = asyncio.Event()
        self._lease: Optional[asyncio.TimerHandle] = None
        self._lease_seconds = options.lease if options.first_lease is None else options.first_lease

    async def serve(self) -> None:
        """Serve until `stop`. OSError where the port can't be had."""
        loop = asyncio.get_running_loop()
        doorway = Doorway(
            lambda: Connection(self), self._strangers, self.options.tls, HANDSHAKE_SECONDS
        )
        port = await doorway.open(self.options.host, self.options.port)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGCHLD, self.commands.reap)
        _say(f"listening on {self.options.host}:{port}")
        # IPython's import takes a while, and a client is sure to come.
        self.sessions.zygote()
        self._start_lease()
        if self.options.end_with_stdin:
            loop.add_reader(sys.stdin, self._on_stdin)
        try:
            await self._stopped.wait()
        finally:
            doorway.close()
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

    def admit(self, connection: Connection) -> None:
        """Somebody has connected."""
        self.connections.add(connection)
        self._strangers.add(connection, connection.abort)
        self._deserted.clear()

    def dismiss(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._deserted.set()
        self.release_lease(connection)

    def hold_lease(self, connection: Connection) -> bool:
        """It has proved to be a client's, or runs something: the server doesn't end now.

        That somebody has connected means nothing: any program of the machine can, for ever. False
        where there are too many.
        """
        if connection in self._tenants:
            return True
        if len(self._tenants) >= MAX_CONNECTIONS:
            return False
        self._tenants.add(connection)
        self._strangers.discard(connection)
        self._lease_seconds = self.options.lease
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None
            _say("a client is here")
        return True

    def release_lease(self, connection: Connection) -> None:
        """It needs the server no more."""
        self._tenants.discard(connection)
        if connection in self.connections:
            self._strangers.add(connection, connection.abort)
        else:
            self._strangers.discard(connection)
        self._start_lease()

    def _start_lease(self) -> None:
        lease = self._lease_seconds
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
