"""A way to a server that has no port here: a stream over the engine's own API.

The engine runs a small program in the container (`relay.py`) and gives us its standard streams. It
is slower to begin than a connection, by the start of a process, and needs no network at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from ..deadline import Deadline
from ..errors import DockerKernelError, ServerNotThere
from ..transport import SocketStream
from .docker import FRAME, Engine

_STDOUT = 1


class Tunnel(SocketStream):
    """The standard streams of a program in a container. Owns the connection to the engine.

    What comes is in frames: a header of 8 bytes with the stream and the size, and so many bytes.
    """

    def __init__(self, stream: Any, engine: Engine, peer: str) -> None:
        # The SDK gives a file for a Unix socket, and the socket itself otherwise.
        super().__init__(getattr(stream, "_sock", stream), peer)
        self._keep = stream
        self._engine = engine
        self._header = b""
        self._left = 0
        self._wanted = False

    def receive(self) -> bytes:
        """Wait for bytes; b"" at the end. Raises ConnectionLost."""
        while data := super().receive():
            if found := self._unpack(data):
                return found
        return b""

    def close(self) -> None:
        """End both directions, and the connection to the engine."""
        super().close()
        with suppress(OSError):
            self._keep.close()
        self._engine.close()

    def _unpack(self, data: bytes) -> bytes:
        """The bytes of the program's standard output in a piece of the stream."""
        found = []
        while data:
            if not self._left:
                needed = FRAME.size - len(self._header)
                self._header, data = self._header + data[:needed], data[needed:]
                if len(self._header) < FRAME.size:
                    break
                kind, self._left = FRAME.unpack(self._header)
                self._wanted, self._header = kind == _STDOUT, b""
            else:
                if self._wanted:
                    found.append(data[: self._left])
                data, self._left = data[self._left :], max(0, self._left - len(data))
        return b"".join(found)


def dialer(
    environ: Mapping[str, str], container: str, python: str, relay: str, port: int
) -> Callable[[float], SocketStream]:
    """What connects to the server at this port in the container; see `Endpoint.dial`.

    ``python`` and ``relay`` are paths in the container.
    """
    command = [python, "-I", "-S", relay, str(port)]

    def dial(seconds: float) -> SocketStream:
        deadline = Deadline(seconds)
        with ExitStack() as undo:
            try:
                # One of its own: it lives as long as the stream.
                engine = Engine(environ, deadline)
                undo.callback(engine.close)
                with engine.calling("connecting through the engine", deadline) as api:
                    job = api.exec_create(container, command, stdin=True)["Id"]
                    stream = api.exec_start(job, socket=True)
            except DockerKernelError as exc:
                raise ServerNotThere(
                    f"the server in the container {container} can't be reached",
                    exc.why or exc.what,
                    "run it again; see that the container runs: docker ps",
                ) from exc
            undo.pop_all()
            return Tunnel(stream, engine, f"{container}:{port}")

    return dial
