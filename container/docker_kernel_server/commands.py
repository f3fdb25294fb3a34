"""Shell commands, each of which ends with all that it has started, or by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Optional, Set, Union, cast

from .channel import OutputPipe
from .errors import RequestRefused
from .ladder import Ladder
from .links import MAX_LINGERING_PIPES
from .messages import Final, Run
from .processes import Tree, expose_to_oom, raised_oom_score, signal_all
from .shortage import of_refusal

MAX_ARGUMENT_BYTES = 100_000
"""A longer command goes through a file: Linux takes arguments of up to 128 KiB."""

RUNG_SECONDS = 0.2
"""How long a command has to end after Ctrl-C, and after SIGTERM."""

MARK = b"DOCKER_KERNEL_COMMAND"
"""A variable that each command gets, to find what it has started by."""

TIMEOUT_STATUS = 124

OnText = Callable[[str, str], None]


class Command:
    """One shell command: output as it comes, then its `Final`.

    ``on_text`` gets (stream, text), also after the end where a background child goes on to print.
    With ``merged`` all of it is stdout, in the order in which it was written.
    """

    def __init__(self, request: Run, on_text: OnText, commands: "Commands", merged: bool) -> None:
        self._request = request
        self._on_text = on_text
        self._commands = commands
        self._merged = merged
        self._process: "Optional[subprocess.Popen[bytes]]" = None
        self._exited: "asyncio.Future[int]" = asyncio.get_running_loop().create_future()
        self._pipes: List[OutputPipe] = []
        self._ended_by = ""
        self._mark = os.urandom(16).hex().encode()
        self._tree: Optional[Tree] = None
        self._ladder = Ladder(self._signal, RUNG_SECONDS, RUNG_SECONDS)

    async def run(self) -> Final:
        """Run it to its end. `RequestRefused` where it can't be started."""
        started = time.monotonic()
        timer = None
        if self._ended_by == "closed":  # the client has gone before it began
            raise RequestRefused("the connection was closed")
        with contextlib.ExitStack() as stack:
            self._start(stack)
            if self._request.timeout is not None:
                loop = asyncio.get_running_loop()
                timer = loop.call_later(self._request.timeout, self.stop, "timeout")
            if self._ended_by:  # while it was being started
                self._ladder.climb()
            try:
                code = await self._exited
            except asyncio.CancelledError:  # the server stops
                self._ladder.kill()
                raise
            finally:
                if timer is not None:
                    timer.cancel()
        if self._ended_by:
            # What ignored the signals, or was left in the background, ends with it.
            self._ladder.end()
        # A background child may hold the pipes for ever; what there is now is the output.
        for pipe in list(self._pipes):
            pipe.drain()
        return self._final(code, time.monotonic() - started)

    def stop(self, why: str) -> None:
        """End it and all that it has started: "timeout", "interrupt" or "closed"."""
        if self._ended_by:
            return
        self._ended_by = why
        if self._process is not None:
            self._ladder.climb()

    def look(self) -> None:
        """A process has ended: perhaps this one."""
        if self._process is not None and not self._exited.done():
            code = self._process.poll()
            if code is not None:
                self._exited.set_result(code)

    def pause(self) -> None:
        """The client reads slowly: let the command wait."""
        for pipe in self._pipes:
            pipe.pause()

    def resume(self) -> None:
        """The client reads again."""
        for pipe in self._pipes:
            pipe.resume()

    def close(self) -> None:
        """End it at once, where it has to end; close the pipes that a background child holds."""
        if self._ladder.climbing or not self._exited.done():
            self._ladder.kill()
        for pipe in list(self._pipes):
            pipe.close()

    @property
    def lingers(self) -> bool:
        """Whether a background child still holds a pipe, or is being ended."""
        return bool(self._pipes) or self._ladder.climbing

    def _start(self, stack: contextlib.ExitStack) -> None:
        if not all(isinstance(value, str) for value in self._request.env.values()):
            raise RequestRefused("the command could not be started: 'env' must hold strings")
        try:
            writers = [self._open_pipe("stdout", stack)]
            writers.append(writers[0] if self._merged else self._open_pipe("stderr", stack))
            # Not asyncio's: that needs a thread for each, and there may be no further one.
            self._process = subprocess.Popen(
                self._argv(stack),
                stdin=self._open_stdin(stack),
                stdout=writers[0],
                stderr=writers[1],
                cwd=self._commands.folder(self._request.cwd),
                env={**self._commands.env, **_encoded(self._request.env), MARK: self._mark},
                start_new_session=True,
            )
            expose_to_oom(self._process.pid, self._commands.oom_score)
        except (OSError, ValueError) as exc:
            self.close()
            why = ". ".join([str(exc), *of_refusal(exc)])
            raise RequestRefused(f"the command could not be started: {why}") from exc
        self.look()

    def _open_pipe(self, stream: str, stack: contextlib.ExitStack) -> int:
        read, write = os.pipe()
        stack.callback(os.close, write)
        self._pipes.append(
            OutputPipe(read, lambda text: self._on_text(stream, text), self._pipes.remove)
        )
        return write

    def _open_stdin(self, stack: contextlib.ExitStack) -> Union[int, BinaryIO]:
        if not self._request.stdin:
            return subprocess.DEVNULL
        file = stack.enter_context(_unnamed_file())
        _write(file, self._request.stdin.encode("utf-8", "surrogateescape"))
        file.seek(0)
        return file

    def _argv(self, stack: contextlib.ExitStack) -> List[str]:
        command = self._request.command.encode("utf-8", "surrogateescape")
        if len(command) <= MAX_ARGUMENT_BYTES and b"\0" not in command:
            return ["/bin/sh", "-c", self._request.command]
        made = tempfile.NamedTemporaryFile(suffix=".sh", buffering=0)  # noqa: SIM115
        file = stack.enter_context(made)
        _write(file, command)
        return ["/bin/sh", file.name]

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        if self._tree is None:
            # Not at its start: to look at a process that is just being made takes a while. The
            # number of one that has been waited for may be another's by now.
            root = self._process.pid if self._process.returncode is None else 0
            self._tree = Tree(root, MARK + b"=" + self._mark)
        # With Ctrl-C, too: as long as the parents live, they tell whose a process is.
        found = self._tree.find()
        if number == signal.SIGINT or not found:  # or there is no /proc
            for each in (number, signal.SIGCONT):
                with contextlib.suppress(OSError):
                    os.killpg(self._process.pid, each)
        else:
            if number == signal.SIGKILL and self._process.pid in found:
                # With what it forks in this moment: a list of processes may be old already.
                with contextlib.suppress(OSError):
                    os.killpg(self._process.pid, number)
            signal_all(found, number)

    def _final(self, code: int, seconds: float) -> Final:
        number = -code if code < 0 else None
        result: Dict[str, Optional[int]] = {
            "exit_code": code if code >= 0 else None,
            "signal": number,
        }
        status = 128 + number if number else code
        reason = "signal" if number else "exit" if code else "ok"
        if self._ended_by == "timeout":
            status, reason = TIMEOUT_STATUS, "timeout"
        elif self._ended_by:
            status, reason = status or 130, self._ended_by
        return Final(self._request.id, status, reason, result, seconds=seconds)


def _encoded(env: Mapping[str, str]) -> Dict[bytes, bytes]:
    return {os.fsencode(key): os.fsencode(value) for key, value in env.items()}


def _unnamed_file() -> BinaryIO:
    """A file for what a command reads: in memory where the system can, as /tmp may be full."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return open(os.memfd_create("stdin"), "w+b", buffering=0)
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))


def _write(file: Any, data: bytes) -> None:
    """Write all of it. Files without a buffer: one that has no room would hang on to it, and fail
    again when it's closed."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


class Commands:
    """The commands that run, and those whose background children still print."""

    def __init__(self, workplace: str, env: Dict[str, str]) -> None:
        self.workplace = workplace
        # As the system has it, once: `subprocess` would encode it for each command.
        self.env = _encoded(env)
        self.oom_score = raised_oom_score()
        self._running: Set[Command] = set()
        self._lingering: List[Command] = []

    def __len__(self) -> int:
        return len(self._running)

    def reap(self) -> None:
        """A process of the server has ended (SIGCHLD)."""
        for command in list(self._running):
            command.look()

    def folder(self, cwd: Optional[str]) -> str:
        """Where a command runs that was given this folder."""
        return os.path.join(self.workplace, cwd) if cwd else self.workplace

    async def run(self, command: Command) -> Final:
        """Run one, and keep an eye on what it leaves."""
        self._running.add(command)
        try:
            return await command.run()
        finally:
            self._running.discard(command)
            self._lingering = [item for item in self._lingering if item.lingers]
            if command.lingers:
                self._lingering.append(command)
            if len(self._lingering) > MAX_LINGERING_PIPES:
                self._lingering.pop(0).close()

    def close(self) -> None:
        """End all of them."""
        for command in [*self._running, *self._lingering]:
            command.close()
