"""Shell commands on an older server, from before protocol 1.

Each goes over a connection of its own: the bytes of the command, with no length and no terminator;
back come JSON lines, chunks and a final. Such a server knows no folder, no environment, no stdin
and no timeout, and prints stdout and stderr as one: the first three are said in the shell's words,
and where a command takes too long, or is called off, the connection is closed.
"""

from __future__ import annotations

import base64
import secrets
import shlex
import time
from collections.abc import Iterator

from docker_kernel_server.errors import ProtocolError
from docker_kernel_server.framing import LineSplitter, load_line
from docker_kernel_server.message import Json
from docker_kernel_server.messages import Final

from .cancelling import Cancellation, current
from .commands import NO_CODE, TIMEOUT_CODE, Command, Done, OnText, Output, request, timed_out
from .errors import AuditLogError, ConnectionLost
from .gate import Gate
from .sockets import TcpStream
from .transport import open_stream

MAX_COMMAND_BYTES = 4000
"""A longer command goes into a file first: such a server may read 4096 bytes, and take the rest for
another command."""

PIECE_BYTES = 2700
"""So much of a file is sent at once; base64 makes 3600 of it."""

_ERRORS = {TIMEOUT_CODE: "timeout", NO_CODE: "lost"}


class RawClient:
    """The commands of one older server. Nothing stays open between two of them."""

    python = "python3"
    workplace = "."

    def __init__(
        self, host: str, port: int, connect_seconds: float, gate: Gate | None = None
    ) -> None:
        self._address = host, port
        self._connect_seconds = connect_seconds
        self._gate = gate

    def run(self, command: Command, on_text: OnText | None = None) -> Done:
        """Run a command and wait for its end. All output is stdout.

        Raises ServerNotThere where it wasn't begun, CalledOff, and what the callback raises.
        """
        if self._gate is None:
            return self._run(command, on_text)
        host, port = self._address
        message = request(secrets.token_hex(8), command)
        try:
            on_end = self._gate.admit(message, {"server": f"{host}:{port}"})
        except AuditLogError as exc:
            return Output(None).done(NO_CODE, f"the command was not begun: {exc}")
        try:
            done = self._run(command, on_text)
        except BaseException as exc:
            on_end(exc)
            raise
        reason = "ok" if done.success else _ERRORS.get(done.exit_code if done.error else 0, "exit")
        on_end(Final(message.id, done.exit_code, reason, seconds=done.seconds))
        return done

    def _run(self, command: Command, on_text: OnText | None) -> Done:
        until = None if command.timeout is None else time.monotonic() + command.timeout
        output = Output(on_text)
        try:
            text = script(command).encode("utf-8", "surrogateescape")
            if len(text) > MAX_COMMAND_BYTES:
                text = self._as_file(text, until)
            final = self._exchange(text, until, output)
        except UnicodeEncodeError as exc:
            return output.done(NO_CODE, f"the command is no text: {exc}")
        except _TooLate:
            words = f"{timed_out(command)}; an older server may let it run on"
            return output.done(TIMEOUT_CODE, words)
        except (_Failed, ConnectionLost, ProtocolError) as exc:
            return output.done(NO_CODE, f"how the command ended is not known: {exc}")
        status = final.get("status")
        if not isinstance(status, int) or isinstance(status, bool):
            return output.done(NO_CODE, f"the server gave no exit code, but {status!r}")
        return output.done(status)

    def _as_file(self, text: bytes, until: float | None) -> bytes:
        """Put a command into a file, and return the command that runs and removes it."""
        file = f"/tmp/docker-kernel-{secrets.token_hex(8)}.sh"  # noqa: S108 - in the container
        for start in range(0, len(text), PIECE_BYTES):
            piece = base64.b64encode(text[start : start + PIECE_BYTES]).decode("ascii")
            put = f"(umask 077; printf %s {piece} | base64 -d >>{file})".encode()
            words = Output(None)
            if self._exchange(put, until, words).get("status") != 0:
                raise _Failed(f"a long command needs a file: {words.done(0).stdout.strip()}")
        return f"(sh {file}; s=$?; rm -f {file}; exit $s)".encode("ascii")

    def _exchange(self, text: bytes, until: float | None, output: Output) -> Json:
        """Send a command and take its output; its final."""
        cancellation = current.get() or Cancellation()
        cancellation.check()
        stream = open_stream(*self._address, self._connect_seconds)
        try:
            with cancellation.waking(stream.deafen):
                stream.send(text)
                final = _final(stream, until, output)
            cancellation.check()
        except BaseException:
            stream.abort()  # so that a server that can do it ends the command
            raise
        stream.close()
        if final is None:
            raise ConnectionLost(f"the server at {stream.peer} closed the connection")
        return final


def script(command: Command) -> str:
    """A command, with its folder, environment and stdin, in the words of a shell."""
    text = f"sh -c {shlex.quote(command.text)}"
    text = (
        f"printf %s {shlex.quote(command.stdin)} | {text}"
        if command.stdin
        else f"{text} </dev/null"
    )
    if command.env:
        settings = [shlex.quote(f"{name}={value}") for name, value in command.env.items()]
        text = f"export {' '.join(settings)} && {text}"
    if command.cwd:
        text = f"cd -- {shlex.quote(command.cwd)} && {text}"
    # A subshell: some of these servers have one shell for all commands.
    return f"({text})"


def _final(stream: TcpStream, until: float | None, output: Output) -> Json | None:
    """Take the output up to the final, and that; None where the connection ends before."""
    silent = True
    for message in _messages(stream, until):
        kind, data = message.get("type"), message.get("data")
        if kind == "chunk" and isinstance(data, str):
            silent = False
            output.add("stdout", data)
        elif kind == "final":
            result = message.get("result")
            # A server that doesn't stream has the whole output there.
            if silent and isinstance(result, str) and result:
                output.add("stdout", result)
            return message
    return None


def _messages(stream: TcpStream, until: float | None) -> Iterator[Json]:
    lines = LineSplitter()
    while True:
        if until is not None and until <= time.monotonic():
            raise _TooLate
        stream.set_timeout(None if until is None else max(0.01, until - time.monotonic()))
        try:
            data = stream.receive()
        except ConnectionLost as exc:
            if isinstance(exc.__cause__, TimeoutError):
                raise _TooLate from exc
            raise
        if not data:
            return
        for line in lines.feed(data):
            if isinstance(line, ProtocolError):
                raise line
            if line.strip():
                yield load_line(line)


class _TooLate(Exception):
    """The command's time is up."""


class _Failed(Exception):
    """The server can't do what a command needs."""
