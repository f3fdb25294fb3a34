"""A way to a server that has no port here: a stream over the engine's own API.

The engine runs a small program in the container (`relay.py`) and gives us its standard streams. It
is slower to begin than a connection, by the start of a process, and needs no network at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from ..deadline import Deadline
from ..errors import DockerKernelError, ServerNotThere
from ..sockets import SocketStream
from .docker import Engine
from .streams import STDOUT


def dialer(
    environ: Mapping[str, str], version: str, container: str, python: str, relay: str, port: int
) -> Callable[[float], SocketStream]:
    """What connects to the server at this port in the container; see `Endpoint.dial`.

    ``version`` is that of the engine's API. ``python`` and ``relay`` are paths in the container.
    """
    command = [python, "-I", "-S", relay, str(port)]

    def dial(seconds: float) -> SocketStream:
        deadline = Deadline(seconds)
        try:
            with closing(Engine(environ, deadline, version)) as engine:
                stream = engine.execute(container, command, deadline, kinds=(STDOUT,))
        except DockerKernelError as exc:
            raise ServerNotThere(
                f"the server in the container {container} can't be reached",
                exc.why or exc.what,
                "run it again; see that the container runs: docker ps",
            ) from exc
        stream.peer = f"{container}:{port}"
        stream.first = b"{"
        return stream

    return dial
