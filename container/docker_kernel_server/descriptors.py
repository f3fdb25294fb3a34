"""Descriptors 1 and 2 of a worker: pipes of each cell's own, whose other ends the server gets.

So what children and C libraries write streams even while the worker holds its GIL, and belongs to
its cell when that has long ended.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import sys
from typing import Any, Tuple

from .output import DESCRIPTORS


class CellPipes:
    """Gives each cell its pipes. ``server`` is the socket that takes the other ends."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server

    def open(self, cell: str) -> None:
        """Give descriptors 1 and 2 new pipes.

        Where the person's code holds all the descriptors that there may be, the pipes of the cell
        before serve on: what gives some back is most likely this very cell.
        """
        try:
            self._open(cell)
        except OSError as exc:
            if exc.errno not in (errno.EMFILE, errno.ENFILE):
                raise

    def _open(self, cell: str) -> None:
        ends = array.array("i")
        try:
            for _ in DESCRIPTORS:
                ends.extend(_pipe())
            for fd, write in zip(DESCRIPTORS.values(), ends[1::2]):
                os.dup2(write, fd)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, ends[::2])
            self._server.sendmsg([cell.encode("utf-8") + b"\n"], [rights])
        finally:
            for end in ends:
                os.close(end)


def _pipe() -> Tuple[int, int]:
    """A pipe, of which no end is where a cell has closed 0, 1 or 2."""
    ends = os.pipe()
    if min(ends) > max(DESCRIPTORS.values()):
        return ends
    for end in ends:
        os.close(end)
    _fill_standard_descriptors()
    return os.pipe()


def _fill_standard_descriptors() -> None:
    """Put /dev/null where they are closed."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > max(DESCRIPTORS.values()):
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def flush_foreign_buffers() -> None:
    """Let out what C libraries and sys.__stdout__ hold back, for it belongs to this cell."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):  # whatever the person's code has put there
            if stream is not None:
                stream.flush()
    if _LIBC is not None:
        _LIBC.fflush(None)


try:
    import ctypes

    _LIBC: Any = ctypes.CDLL(None)
except (ImportError, OSError):
    _LIBC = None
