"""A command in a container that runs, with the streams of this process: a terminal, or pipes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from ..deadline import Deadline
from ..errors import DockerKernelError, EngineError
from ..sockets import SocketStream
from .docker import Engine
from .streams import FRAME, end_input

PIECE_BYTES = 65536
ENGINE_SECONDS = 30.0
"""How long the engine may take to begin a command."""

CODE_SECONDS = 5.0
"""How much later than the last of the output the exit code may come."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def execute(engine: Engine, container: str, command: Sequence[str], *, terminal: bool) -> int:
    """Run it as the container's user, with this process's descriptors 0, 1 and 2; its exit code.

    With `terminal` it has one of its own, which shows on ours. Raises EngineError, StartTimeout.
    """
    deadline = Deadline(ENGINE_SECONDS)
    job = engine.prepare(container, list(command), deadline, terminal=terminal)
    streams = _Streams(*engine.begin(job, deadline, terminal=terminal))
    with closing(streams), ExitStack() as undo:
        if terminal:
            undo.enter_context(_raw())
            undo.enter_context(_resizing(engine, job))
        # It waits in a read that nothing ends; so it is left to the end of the process.
        threading.Thread(target=streams.feed, name="docker-kernel stdin", daemon=True).start()
        for where, data in streams.output(framed=not terminal):
            _write(where, data)
    return _exit_code(engine, job)


def _exit_code(engine: Engine, job: str) -> int:
    patience = Deadline(CODE_SECONDS)
    while True:
        with engine.calling("asking for the exit code", Deadline(ENGINE_SECONDS)) as api:
            found = api.exec_inspect(job)
        if not found["Running"] and found["ExitCode"] is not None:
            return int(found["ExitCode"])
        if patience.expired:
            raise EngineError(
                "the command's exit code is unknown",
                "its output has ended, and the engine says that it runs",
                "see whether the container is in order: docker-kernel ps",
            )
        time.sleep(0.02)


class _Streams:
    """Those of a command that was started, and what came of them already."""

    def __init__(self, stream: SocketStream, early: bytes) -> None:
        self._stream = stream
        self._early = early

    def feed(self) -> None:
        """Pass on what is typed, until its end."""
        with suppress(OSError):
            while data := os.read(_STDIN, PIECE_BYTES):
                self._stream.send(data)
        end_input(self._stream)

    def output(self, *, framed: bool) -> Iterator[tuple[int, bytes]]:
        """What the command prints, each piece with the descriptor that it is for."""
        waiting = b""
        while data := self._receive():
            if not framed:
                yield _STDOUT, data
                continue
            waiting += data
            while len(waiting) >= FRAME.size:
                which, size = FRAME.unpack_from(waiting)
                if len(waiting) < FRAME.size + size:
                    break
                yield which, waiting[FRAME.size : FRAME.size + size]
                waiting = waiting[FRAME.size + size :]

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def _receive(self) -> bytes:
        if early := self._early:
            self._early = b""
            return early
        try:
            return self._stream.receive()
        except OSError:
            return b""  # the exit code, or the engine's error, says more


def _write(where: int, data: bytes) -> None:
    while data:
        data = data[os.write(_STDERR if where == _STDERR else _STDOUT, data) :]


@contextmanager
def _raw() -> Iterator[None]:
    """Our terminal passes on every key, Ctrl-C too."""
    if sys.platform == "win32":
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(_STDIN)
    tty.setraw(_STDIN)
    try:
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)


@contextmanager
def _resizing(engine: Engine, job: str) -> Iterator[None]:
    """The command's terminal is as large as ours."""

    def resize(*_: object) -> None:
        size = os.get_terminal_size(_STDOUT)
        # It may have ended just now.
        with (
            suppress(DockerKernelError),
            engine.calling("resizing the terminal", Deadline(ENGINE_SECONDS)) as api,
        ):
            api.exec_resize(job, height=size.lines, width=size.columns)

    resize()
    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
