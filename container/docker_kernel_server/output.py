"""What leaves a worker, which cell it belongs to, and the streams that the person's code sees."""

from __future__ import annotations

import codecs
import contextvars
import io
import os
import socket
import sys
import threading
import weakref
from typing import Any, Dict, List

from .errors import BadMessage
from .framing import MAX_LINE_BYTES, dump_line
from .jsonable import jsonable
from .outbox import Outbox

DESCRIPTORS = {"stdout": 1, "stderr": 2}


class Output:
    """The way out of a worker, for every thread of it."""

    def __init__(self, wire: socket.socket) -> None:
        # Before threads are followed: what is made in its thread belongs to the latest cell.
        self._outbox = Outbox(wire)
        self._cell: contextvars.ContextVar[str] = contextvars.ContextVar("cell")
        self._last_cell = ""
        self._threads: weakref.WeakKeyDictionary[threading.Thread, str]
        self._threads = weakref.WeakKeyDictionary()
        self._child: _Child | None = None
        self._follow_threads()
        os.register_at_fork(before=self.flush, after_in_child=self._become_child)

    # -- which cell

    def enter(self, cell: str) -> None:
        """What this context makes from now on belongs to ``cell``."""
        self._cell.set(cell)
        self._last_cell = cell

    def cell(self) -> str:
        """The cell that the caller belongs to: its task's, its thread's, or else the latest."""
        try:
            return self._cell.get()
        except LookupError:
            return self._threads.get(threading.current_thread(), self._last_cell)

    def _follow_threads(self) -> None:
        """Let a thread belong to the cell that started it."""
        threads, cell, start = self._threads, self.cell, threading.Thread.start

        def start_in_cell(thread: threading.Thread) -> None:
            threads[thread] = cell()
            start(thread)

        threading.Thread.start = start_in_cell  # type: ignore[method-assign,assignment]

    # -- what leaves

    def write(self, stream: str, text: str) -> None:
        """Send text of ``stream``, after all that was sent before it."""
        if self._child is not None:
            self._child.write(stream, text)
        else:
            # Most of what is printed comes this way: a call for it would show in a loop of prints.
            cell = self._cell.get(None)
            self._outbox.put_text(stream, self.cell() if cell is None else cell, text)

    def emit(self, kind: str, cell: str, content: Dict[str, Any]) -> None:
        """Send an event, after all that was sent before it.

        ValueError for content that can't be sent, with nothing sent.
        """
        if self._child is None:
            self._outbox.put_line(_line({"type": kind, "id": cell, **content}))

    def flush(self) -> None:
        """Send what waits; it has left when this returns, if the server reads."""
        if self._child is not None:
            self._child.flush()
        else:
            self._outbox.flush()

    def close(self) -> None:
        """The worker ends: see that everything has left."""
        self._outbox.flush(patience=-1)

    def _become_child(self) -> None:
        self._child = _Child()


class _Child:
    """What a process prints that the person's code has forked.

    It goes through the cell's pipe, for the wire is its parent's, in whole lines, so that those of
    several children don't mix. There is no thread that would send it late.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._texts: List[str] = []
        self._stream = "stdout"

    def write(self, stream: str, text: str) -> None:
        with self._lock:
            if self._stream != stream:
                self.flush()
                self._stream = stream
            self._texts.append(text)
            if "\n" in text:
                self.flush()

    def flush(self) -> None:
        with self._lock:
            text = "".join(self._texts)
            self._texts.clear()
            if text:
                _write_all(DESCRIPTORS[self._stream], text)


class OutStream(io.TextIOBase):
    """sys.stdout and sys.stderr of a session."""

    encoding = "UTF-8"
    errors = "replace"

    def __init__(self, output: Output, name: str) -> None:
        super().__init__()
        self._output = output
        self.name = name
        self._stream = name
        self.buffer = _Bytes(output, name)

    def write(self, text: str) -> int:
        """Write text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text)}")
        if text:
            if self.buffer.rest:
                self.buffer.finish()
            self._output.write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Send what waits."""
        self._output.flush()

    def fileno(self) -> int:
        """The descriptor of the cell's pipe, for subprocesses that are given this stream."""
        return DESCRIPTORS[self._stream]

    def isatty(self) -> bool:
        """No: a notebook has no cursor to move."""
        return False

    def writable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Not closed: the next cell prints too."""
        self.flush()


class _Bytes(io.BufferedIOBase):
    """What stands behind ``sys.stdout.buffer``: bytes as text, in order with what is printed.

    A character that is split over two writes comes out whole, where nothing is printed in between.
    """

    def __init__(self, output: Output, stream: str) -> None:
        super().__init__()
        self._output = output
        self._stream = stream
        self.rest = b""
        """The beginning of a character."""

    def write(self, data: Any) -> int:
        """Write bytes."""
        new = memoryview(data).tobytes()
        whole = self.rest + new
        text, used = codecs.utf_8_decode(whole, "replace", False)
        self.rest = whole[used:]
        if text:
            self._output.write(self._stream, text)
        return len(new)

    def finish(self) -> None:
        """Nothing more comes of a character that was begun."""
        rest, self.rest = self.rest, b""
        if rest:
            self._output.write(self._stream, rest.decode("utf-8", "replace"))

    def flush(self) -> None:
        """Send what waits."""
        self._output.flush()

    def fileno(self) -> int:
        """The descriptor of the cell's pipe, as of the stream."""
        return DESCRIPTORS[self._stream]

    def writable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Not closed: a wrapper that somebody has put around it may go."""
        self.flush()


def install_streams(output: Output) -> Dict[str, OutStream]:
    """Let print and its like go through ``output``; the streams by name."""
    streams = {name: OutStream(output, name) for name in DESCRIPTORS}
    for name, stream in streams.items():
        setattr(sys, name, stream)
    return streams


def put_back(streams: Dict[str, OutStream]) -> None:
    """Install the streams again where a cell has left nothing that can be written to.

    A stream of the person's own that works stays, as in IPython.
    """
    for name, stream in streams.items():
        if not _is_usable(getattr(sys, name, None)):
            setattr(sys, name, stream)


def _is_usable(stream: Any) -> bool:
    try:
        return callable(stream.write) and not getattr(stream, "closed", False)
    except Exception:  # noqa: BLE001 - it may be anything
        return False


def _line(event: Dict[str, Any]) -> bytes:
    try:
        line = dump_line(event)
    except (TypeError, ValueError):
        line = dump_line(jsonable(event))
    if len(line) > MAX_LINE_BYTES:
        raise BadMessage(
            f"an output of {len(line) >> 20} MiB is over the bound of {MAX_LINE_BYTES >> 20} MiB; "
            "write it to a file in the working folder instead"
        )
    return line


def _write_all(fd: int, text: str) -> None:
    data = memoryview(text.encode("utf-8", "replace"))
    while data:
        data = data[os.write(fd, data) :]
