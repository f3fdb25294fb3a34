"""The ports of a kernel, listened on before its channels are there.

A frontend connects as soon as it has started the process. Where nobody listens yet, ZeroMQ waits
0.1 to 0.2 s before it tries again (its ZMQ_RECONNECT_IVL, with some chance), on each channel. So
the ports are opened as soon as they are known; ZeroMQ takes them over when it has been imported,
and finds the frontend's connections waiting there.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_CONNECTION_FILE = re.compile(r"(?:-f|--f|--IPKernelApp\.connection_file)(?:=(.+))?")

CHANNELS = ("shell_port", "iopub_port", "stdin_port", "control_port")
"""Not the heartbeat's: no frontend waits for it."""

BACKLOG = 100
"""How many connections wait at a port; ZeroMQ's own default."""


def connection_file(argv: Sequence[str]) -> str:
    """The connection file on a command line as Jupyter makes it, "" where there is none."""
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if match := _CONNECTION_FILE.fullmatch(word):
            return match[1] or following
    return ""


class Listeners:
    """Owns the listening sockets until each is taken, or `close`. Any thread may call it.

    What can't be listened on is left to ZeroMQ, which says what is wrong.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self._late = os.name != "posix"  # elsewhere the sockets of libzmq are no descriptors

    def open(self, connection_file: str) -> None:
        """Listen on the ports of a connection file that a frontend has written."""
        with suppress(OSError, ValueError, TypeError, KeyError, OverflowError):
            found = json.loads(Path(connection_file).read_text())
            if found["transport"] == "tcp":
                socket.inet_pton(socket.AF_INET, found["ip"])  # no name, and no "*"
                for channel in CHANNELS:
                    self._listen(found["ip"], int(found[channel]))

    def take(self, ip: str, port: int) -> int | None:
        """The descriptor of the socket that listens there, None where none does. It is the
        caller's; and from now on nothing is opened that the caller might miss."""
        with self._lock:
            self._late = True
            found, listener = self._sockets.pop(port, ("", None))
            if listener is None or found == ip:
                return listener.detach() if listener else None
            listener.close()  # else nobody could listen there on another address
            return None

    def close(self) -> None:
        """Close what nobody has taken."""
        with self._lock:
            self._late = True
            while self._sockets:
                self._sockets.popitem()[1][1].close()

    def _listen(self, ip: str, port: int) -> None:
        with self._lock:
            if self._late or not port:
                return
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setblocking(False)
                listener.bind((ip, port))
                listener.listen(BACKLOG)
            except BaseException:
                listener.close()
                raise
            self._sockets[port] = ip, listener
