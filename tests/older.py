"""An older server, from before protocol 1: one recv is one command, the answer is JSON lines.

A fake, as there is none to be had any more. It has the faults that such servers had: it reads no
more than 4096 bytes for a command, and takes what comes after them for another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peer

RECEIVE_BYTES = 4096


class OlderServer:
    """What it serves; `seen` has every command that came."""

    def __init__(self, folder: Path, streams: bool) -> None:
        self.folder = folder
        self.seen: list[str] = []
        self.on_command: Callable[[socket.socket, str], bool] = lambda *_: False
        """Asked before a command is run; True where it was taken care of."""
        self._streams = streams
        self._processes: list[subprocess.Popen[bytes]] = []

    def serve(self, connection: socket.socket) -> None:
        """One connection."""
        # ValueError: no command, but something of a stranger's that tries all ports.
        with connection, contextlib.suppress(OSError, ValueError):
            while data := connection.recv(RECEIVE_BYTES):
                command = data.decode("utf-8", "surrogateescape")
                self.seen.append(command)
                if not self.on_command(connection, command):
                    self._run(connection, command)

    def _run(self, connection: socket.socket, command: str) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.append(process)
        whole = ""
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                text = line.decode(errors="replace")
                whole += text
                if self._streams:
                    send(connection, {"type": "chunk", "data": text})
        send(connection, {"type": "final", "status": process.returncode, "result": whole})

    def close(self) -> None:
        """End what its commands have left: it doesn't do that by itself when a client hangs up."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """One line."""
    connection.sendall(json.dumps(message).encode() + b"\n")


@contextlib.contextmanager
def serving(folder: Path, streams: bool = True) -> Iterator[tuple[OlderServer, int]]:
    """An older server, and its port."""
    server = OlderServer(folder, streams)
    with peer.listening(server.serve) as port:
        try:
            yield server, port
        finally:
            server.close()
