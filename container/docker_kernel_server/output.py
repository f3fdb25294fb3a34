"""All that leaves a worker, in the order in which it was made.

Text is collected for a moment, so that a loop of prints doesn't become a message each; a line that
comes after a pause leaves at once, and nothing waits longer than `FLUSH_SECONDS`.
"""

from __future__ import annotations

import codecs
import contextvars
import io
import os
import socket
import sys
import threading
import time
import weakref
from collections import deque
from typing import Any, Deque, Dict, List, Tuple

from .errors import BadMessage
from .framing import MAX_LINE_BYTES, dump_line
from .interrupts import Interrupts
from .jsonable import jsonable

FLUSH_SECONDS = 0.01
FLUSH_CHARS = 64 * 1024
MAX_CHUNK_CHARS = 1024 * 1024
"""A longer text leaves in pieces of this size."""

DESCRIPTORS = {"stdout": 1, "stderr": 2}


class Output:
    """The way out of a worker, for every thread of it."""

    def __init__(self, wire: socket.socket, interrupts: Interrupts) -> None:
        self._wire = wire
        self._out: Deque[memoryview] = deque()
        self._sending = False
        self._interrupts = interrupts
        # Re-entrant: the garbage collector may close a comm, and so emit, in the middle of an emit.
        self._lock = threading.RLock()
        self._texts: List[str] = []
        self._size = 0
        self._key: Tuple[str, str] = ("", "")
        self._sent = 0.0
        self._due = threading.Event()
        self._flusher: threading.Thread | None = None
        self._forked = False
        self._cell: contextvars.ContextVar[str] = contextvars.ContextVar("cell")
        self._last_cell = ""
        self._threads: weakref.WeakKeyDictionary[threading.Thread, str]
        self._threads = weakref.WeakKeyDictionary()
        self._follow_threads()
        self._follow_forks()

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
        """Send text of ``stream``, at the latest after `FLUSH_SECONDS`."""
        if self._forked:
            self._write_as_child(stream, text)
            return
        with self._interrupts, self._lock:
            key = (stream, self.cell())
            if key != self._key:
                self._flush()
                self._key = key
            self._texts.append(text)
            self._size += len(text)
            if self._size >= FLUSH_CHARS or (
                text.endswith("\n") and time.monotonic() - self._sent > FLUSH_SECONDS
            ):
                self._flush()
            elif not self._due.is_set():
                self._schedule()

    def emit(self, kind: str, cell: str, content: Dict[str, Any]) -> None:
        """Send an event, after all text that was written before it.

        ValueError for content that can't be sent, with nothing sent.
        """
        if self._forked:
            return
        line = _line({"type": kind, "id": cell, **content})
        with self._interrupts, self._lock:
            self._flush()
            self._send(line)

    def flush(self) -> None:
        """Send the text that waits."""
        if self._forked:
            self._flush_as_child()
            return
        with self._interrupts, self._lock:
            self._flush()

    def _flush(self) -> None:
        if not self._texts:
            return
        texts, self._texts = self._texts, []
        text = "".join(texts)
        self._size = 0
        stream, cell = self._key
        for start in range(0, len(text), MAX_CHUNK_CHARS):
            data = text[start : start + MAX_CHUNK_CHARS]
            chunk = {"type": "chunk", "id": cell, "stream": stream, "data": data}
            self._send(dump_line(chunk))
        self._sent = time.monotonic()

    def _send(self, line: bytes) -> None:
        # A handler of a signal may run in the middle of this. What it prints comes after the line.
        self._out.append(memoryview(line))
        if self._sending:
            return
        self._sending = True
        try:
            while self._out:
                sent = self._wire.send(self._out[0])
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                else:
                    self._out.popleft()
        finally:
            self._sending = False

    def _schedule(self) -> None:
        self._due.set()
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_late, daemon=True)
            self._flusher.start()

    def _flush_late(self) -> None:
        while True:
            self._due.wait()
            time.sleep(FLUSH_SECONDS)
            self._due.clear()
            try:
                self.flush()
            except OSError:  # the server is gone, and this process about to be
                return

    # -- forks of the person's code

    def _follow_forks(self) -> None:
        """A forked child must neither share the wire nor inherit a lock that nobody will open."""

        def before() -> None:
            self._lock.acquire()
            self._flush()

        os.register_at_fork(
            before=before, after_in_parent=self._lock.release, after_in_child=self._become_child
        )

    def _become_child(self) -> None:
        # What a child prints goes through the cell's pipe; it has no thread to flush late. Whole
        # lines, so that those of several children don't mix.
        self._forked = True
        self._lock = threading.RLock()

    def _write_as_child(self, stream: str, text: str) -> None:
        with self._lock:
            if self._key[0] != stream:
                self._flush_as_child()
                self._key = (stream, "")
            self._texts.append(text)
            if "\n" in text:
                self._flush_as_child()

    def _flush_as_child(self) -> None:
        with self._lock:
            text = "".join(self._texts)
            self._texts.clear()
            if text:
                _write_all(DESCRIPTORS[self._key[0]], text)


class OutStream(io.TextIOBase):
    """sys.stdout and sys.stderr of a session."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, output: Output, name: str) -> None:
        super().__init__()
        self._output = output
        self.name = f"<{name}>"
        self._stream = name
        self.buffer = io.BufferedWriter(_Bytes(self), 1)

    def write(self, text: str) -> int:
        """Write text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
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


class _Bytes(io.RawIOBase):
    """What stands behind ``sys.stdout.buffer``: bytes as text, split characters made whole."""

    def __init__(self, stream: OutStream) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(self._decoder.decode(bytes(data)))
        return len(data)


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
