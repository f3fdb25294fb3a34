"""Shell commands in the container: their output as it comes, and how they ended.

The thread that asked waits, collects the output and calls back, so that what a callback raises
(KeyboardInterrupt, too) ends the command and is raised to whoever asked.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from docker_kernel_server.errors import BadMessage
from docker_kernel_server.messages import Cancel, Chunk, Event, Final, Gap, Run

from .cancelling import Cancellation, current
from .client import Call, Client
from .errors import ConnectionLost, DockerKernelError
from .outputs import words_of_gap
from .texts import plain

MAX_KEPT_CHARS = 64 * 1024 * 1024
"""The most of stdout, and of stderr, that a result has; a callback gets all of it."""

MAX_WAITING_CHARS = 4 * 1024 * 1024
"""Output that a slow callback hasn't taken yet; past this the command waits for the callback."""

CANCEL_SECONDS = 2.0
"""How long the end of a command that is called off is waited for; its connection is closed then,
and the server kills it."""

LATE_SECONDS = 10.0
"""How long after its timeout a command's end is waited for; the server takes half a second."""

WAKE_SECONDS = 0.5
"""How often a wait looks up: on Windows, Ctrl-C is heard only between two waits."""

TIMEOUT_CODE = 124
NO_CODE = -1
SIGKILL = 9  # the container's, whatever system this is

OnText = Callable[[str, str], object]
"""Takes output as it comes: the stream ("stdout" or "stderr") and the text."""


@dataclass(frozen=True)
class Command:
    """A shell command; ``cwd`` is seen from the work folder, ``timeout`` in seconds."""

    text: str
    cwd: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    timeout: float | None = None


@dataclass(frozen=True)
class Done:
    """How a command ended.

    `exit_code` is as a shell has it: 128 + N for signal N, 124 for a timeout; -1 where there is
    none. `error` says what the exit code can't, "" where there is nothing more to say.
    """

    exit_code: int
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    error: str = ""

    @property
    def success(self) -> bool:
        """Whether it ended by itself, with 0."""
        return self.exit_code == 0 and not self.error


class _NoEnd(Exception):
    """The time is up, and the server hasn't said so."""


class Output:
    """What a command printed: kept up to a bound, and passed on at once."""

    def __init__(self, on_text: OnText | None) -> None:
        self._on_text = on_text
        self._kept: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._room = dict.fromkeys(self._kept, MAX_KEPT_CHARS)
        self._began = time.monotonic()

    def add(self, stream: str, text: str) -> None:
        """Take a piece. Raises what the callback raises."""
        room = self._room[stream]
        if room >= 0:
            self._kept[stream].append(text[:room])
            self._room[stream] = room - len(text) if len(text) <= room else -1
        if self._on_text is not None:
            self._on_text(stream, text)

    def done(self, exit_code: int, error: str = "", seconds: float | None = None) -> Done:
        """The end; ``seconds`` are measured here where nobody else did."""
        took = time.monotonic() - self._began if seconds is None else seconds
        return Done(exit_code, self._text("stdout"), self._text("stderr"), took, error)

    def _text(self, stream: str) -> str:
        mark = f"\n[{stream} is cut here, at {MAX_KEPT_CHARS} characters]\n"
        return "".join(self._kept[stream]) + (mark if self._room[stream] < 0 else "")


class Mailbox:
    """Output on its way from the client's reading thread to the thread that asked for it.

    It has a bound: past it the reading thread waits, and TCP makes the command wait.
    """

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._change = threading.Condition()
        self._texts: deque[tuple[str, str]] = deque()
        self._chars = 0
        self._ended = False
        self._closed = False

    def put(self, event: Event) -> None:
        """An event of the command; called by the reading thread."""
        if isinstance(event, Gap):
            event = Chunk(event.id, words_of_gap(event), "stderr")
        if isinstance(event, Chunk):
            with self._change:
                self._change.wait_for(lambda: self._chars < MAX_WAITING_CHARS or self._closed)
                if not self._closed:
                    self._texts.append((event.stream, event.data))
                    self._chars += len(event.data)
                    self._change.notify_all()

    def end(self) -> None:
        """No more will come."""
        with self._change:
            self._ended = True
            self._change.notify_all()

    def close(self) -> None:
        """Nobody takes any more: what still comes is thrown away, and the reading thread free."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def wake(self) -> None:
        """Let the thread that waits look at its cancellation."""
        with self._change:
            self._change.notify_all()

    def texts(self, seconds: float | None) -> Iterator[tuple[str, str]]:
        """Each piece as it comes, up to the end. Raises CalledOff; _NoEnd where it hasn't come
        within ``seconds``."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            with self._change:
                while not self._texts and not self._ended:
                    self._cancellation.check()
                    if until is not None and time.monotonic() > until:
                        raise _NoEnd
                    self._change.wait(WAKE_SECONDS)
                self._cancellation.check()
                if not self._texts:
                    return
                item = self._texts.popleft()
                self._chars -= len(item[1])
                self._change.notify_all()
            yield item


def run(client: Client, command: Command, on_text: OnText | None = None) -> Done:
    """Run a command over a connection that nobody else uses, and wait for its end.

    Whatever ends the wait (a lost connection, Ctrl-C, a callback that raises) ends the command; the
    first is a `Done`, the others are raised. What can't be sent is a `Done`, too.
    """
    cancellation = current.get() or Cancellation()
    cancellation.check()
    box, output = Mailbox(cancellation), Output(on_text)
    limit = None if command.timeout is None else command.timeout + LATE_SECONDS
    try:
        call = client.request(request(client.new_id(), command), box.put)
    except (BadMessage, DockerKernelError) as exc:
        return output.done(NO_CODE, f"the command was not begun: {exc}")
    call.future.add_done_callback(lambda _future: box.end())
    try:
        with cancellation.waking(box.wake):
            for stream, text in box.texts(limit):
                output.add(stream, text)
    except _NoEnd:
        return output.done(TIMEOUT_CODE, f"{timed_out(command)}, and the server does not answer")
    except KeyboardInterrupt:
        # What the command says to it is of use: its traceback, what it has put away.
        with contextlib.suppress(ConnectionLost, _NoEnd):
            client.request(Cancel(client.new_id(), call.id))
            for stream, text in box.texts(CANCEL_SECONDS):
                output.add(stream, text)
        raise
    finally:
        box.close()
        if not call.future.done():
            _cancel(client, call)
    try:
        return _done(call.result(), output, command)
    except ConnectionLost as exc:
        return output.done(NO_CODE, f"how the command ended is not known: {exc}")


def request(name: str, command: Command) -> Run:
    """The request for a command."""
    return Run(name, command.text, command.cwd, command.env, command.timeout, command.stdin)


def timed_out(command: Command) -> str:
    """The words for a command that took too long."""
    return f"the command took longer than {command.timeout:g} s"


def _cancel(client: Client, call: Call) -> None:
    with contextlib.suppress(ConnectionLost, TimeoutError):
        client.request(Cancel(client.new_id(), call.id))
        call.result(CANCEL_SECONDS)


def _done(final: Final, output: Output, command: Command) -> Done:
    status, error = final.status, ""
    if final.reason == "timeout":
        error = f"{timed_out(command)}, and was ended"
    elif final.reason == "signal":
        error = _signal_words(final.result)
    elif final.reason == "interrupt":
        error = "the command was interrupted"
    elif final.reason not in ("ok", "exit"):
        status, error = NO_CODE, plain(str(final.result or final.reason))
    return output.done(status, error, final.seconds)


def _signal_words(result: Any) -> str:
    number = result.get("signal") if isinstance(result, dict) else None
    words = plain(f"signal {number} ended the command")
    if number == SIGKILL:
        words = f"{words} (SIGKILL): perhaps it needed more memory than the container has"
    return words
