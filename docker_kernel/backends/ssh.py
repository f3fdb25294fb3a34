"""The way to an engine by the system's own ssh, as `docker` itself goes it.

Each connection is an ssh of its own, which runs `docker system dial-stdio` over there: that passes
bytes to that machine's engine. What stands in ~/.ssh/config holds.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

END_SECONDS = 1.0
"""How long an ssh may take to say why it has ended, or to end when it is told to."""

_MAX_WORDS = 2000


class SshFailed(OSError):
    """The program ssh ended with an error; its last words are the text."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words or f"ssh ended with status {status}")
        self.status = status


class SshSocket(socket.socket):
    """One end of a pair whose other end is an ssh's standard input and output. Owns that ssh.

    Where ssh fails, who reads or writes gets its words as SshFailed.
    """

    def __init__(self, url: str, seconds: float) -> None:
        """Start ssh. Raises OSError where there is none."""
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self._shut = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the socket
        try:
            # In a session of its own: a Ctrl-C in the terminal is for us, and not for it.
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                _command(url, seconds),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as exc:
            self._process = None
            self.close()
            if isinstance(exc, FileNotFoundError):
                raise SshFailed("there is no program ssh on this machine", 127) from exc
            raise
        finally:
            theirs.close()
        self.settimeout(seconds)

    def recv(self, *arguments: Any) -> bytes:
        """As any socket's. Raises SshFailed."""
        try:
            return super().recv(*arguments) or self._ended()
        except ConnectionResetError:  # it has ended, and not read all that it was told
            return self._ended()

    def recv_into(self, *arguments: Any) -> int:
        """As any socket's. Raises SshFailed."""
        try:
            return super().recv_into(*arguments) or len(self._ended())
        except ConnectionResetError:
            return len(self._ended())

    def sendall(self, *arguments: Any) -> None:
        """As any socket's. Raises SshFailed."""
        try:
            super().sendall(*arguments)
        except (BrokenPipeError, ConnectionResetError):
            self._ended()
            raise

    def shutdown(self, how: int, /) -> None:
        """As any socket's."""
        self._shut = self._shut or how != socket.SHUT_WR
        super().shutdown(how)

    def close(self) -> None:
        """Close it; with the last that uses it, ssh ends."""
        super().close()
        if self.fileno() >= 0:
            return
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._errors.close()

    def _ended(self) -> bytes:
        """The end of what comes: b"", or ssh's words where it is the end of an ssh that failed."""
        process = self._process
        if process is None or self._shut:
            return b""
        try:
            status = process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return b""
        if status in (0, -signal.SIGTERM):
            return b""
        words = b""
        with suppress(OSError, ValueError):
            self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(0, self._errors.tell() - _MAX_WORDS))
            words = self._errors.read()
        raise SshFailed(" ".join(words.decode("utf-8", "replace").split()), status)


def _command(url: str, seconds: float) -> list[str]:
    parts = urlsplit(url)
    far = ["docker", "system", "dial-stdio"]
    if parts.path.strip("/"):
        far[1:1] = ["--host", f"unix://{parts.path}"]
    return [
        *("ssh", "-T"),
        # Nobody is there whom it could ask.
        *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(seconds))}"),
        # Forwardings in the configuration are for the person's own sessions.
        *("-o", "ClearAllForwardings=yes"),
        *(["-l", unquote(parts.username)] if parts.username else []),
        *(["-p", str(parts.port)] if parts.port else []),
        *("--", parts.hostname or "", shlex.join(far)),
    ]
