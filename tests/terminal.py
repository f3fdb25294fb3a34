"""A program whose stderr is a terminal, and its stdout a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping
from contextlib import suppress


def on_terminal(
    command: list[str], environ: Mapping[str, str] = os.environ
) -> tuple[int, str, bytes]:
    """Run it to its end: its exit code, what it printed, and what the terminal has got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with (
        os.fdopen(ours, "rb", buffering=0) as terminal,
        subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=theirs, text=True
        ) as process,
    ):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while data := terminal.read(4096):
                shown += data
        assert process.stdout is not None
        printed = process.stdout.read()
    return process.returncode, printed, shown
