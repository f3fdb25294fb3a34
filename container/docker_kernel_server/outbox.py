"""The worker's end of the wire.

Whoever has something to send puts it into a queue, which is one step: neither a signal's handler
that raises, nor an interrupt, nor the garbage collector comes in the midst of it. A thread sends
what is in the queue: handlers run in the main thread alone, so it is never torn out of a line.

To wake that thread, and to wait for it, takes ten times as long as to send. So the main thread
sends a little by itself, where that can be one step as well (`_send_here`).
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from queue import Empty, SimpleQueue
from time import monotonic
from typing import List, Optional, Tuple, Union

from .errors import BadMessage
from .framing import dump_line, keep_freed_memory

FLUSH_SECONDS = 0.01
"""Text that comes within this after other text is collected, so that a loop of prints doesn't
become a message each. Nothing waits longer than this."""

FLUSH_BYTES = 512 * 1024
"""So much is sent without a wait for more. For messages of twice the size who reads them has to get
fresh memory each time, which costs a client of Jupyter's a third of its time."""

MAX_CHUNK_CHARS = 1024 * 1024
"""A longer text leaves in pieces of this size."""

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Past this, who writes waits until the server has read."""

ITEM_BYTES = 100
"""What a short text costs in the queue, beside its characters."""

PATIENCE_SECONDS = 1.0
"""How long a flush waits for a server that doesn't read. What it wanted to send keeps its turn."""

MAX_BYTES_HERE = 16 * 1024
"""More than this is left to the thread: the person's code goes on meanwhile."""

HERE = sys.version_info >= (3, 11) and getattr(sys, "_is_gil_enabled", lambda: True)()
"""Before 3.11, Python looks for signals between almost any two of its steps; since then, only where
a call has returned, a function begins or a loop goes round. And two threads see what the other one
does in its order only where there is a GIL."""

Text = Tuple[str, str, str]
"""Stream, cell, text."""

Item = Union[Text, bytes, threading.Lock]
"""A text, a line, or the lock of one who waits for what was put before it."""


class Outbox:
    """Sends texts and lines in the order in which they were put, from any thread.

    Made in the main thread.
    """

    def __init__(self, wire: socket.socket) -> None:
        keep_freed_memory()
        self._wire = wire
        self._queue: List[Item] = []
        # About what waits. Threads that write at the same time may miscount it, until it's empty.
        self._waiting = 0
        self._fresh = True
        self._sent = 0.0
        # Of the main thread and the one that sends, one at a time takes from the queue.
        self._main = threading.get_ident()
        self._here = self._there = False
        self._removed = 0
        self._urgent = False
        self._bell: SimpleQueue[None] = SimpleQueue()
        # The thread that sends wants to be woken when more than this waits.
        self._wake_past = sys.maxsize
        self._thread = threading.Thread(target=self._run, name="docker-kernel-sender", daemon=True)
        self._thread.start()

    def put_text(self, stream: str, cell: str, text: str) -> None:
        """Send text; what ends a line after a pause or an event has left when this returns."""
        try:
            self._queue.append((stream, cell, text))
            self._waiting += len(text) + ITEM_BYTES
            if self._waiting > MAX_WAITING_BYTES:
                self._wait_for_room()
            elif text[-1] == "\n" and (self._fresh or monotonic() - self._sent > FLUSH_SECONDS):
                self._fresh = False
                self.flush()
            elif self._waiting > self._wake_past:
                self._ring()
        except BaseException:
            self._hurry()  # it has come behind the first step, and perhaps nothing more is put
            raise

    def put_line(self, line: bytes) -> None:
        """Send a line, at once."""
        try:
            self._queue.append(line)
            self._waiting += len(line)
            self._fresh = True
            if self._waiting > MAX_WAITING_BYTES:
                self._wait_for_room()
            elif not self._send_here():
                self._hurry()
        except BaseException:
            self._hurry()
            raise

    def flush(self, patience: float = PATIENCE_SECONDS) -> None:
        """Return when all that was put has left, or after so many seconds; -1 for any time."""
        if self._is_sending():
            self._hurry()
        elif not self._send_here():
            left = threading.Lock()
            left.acquire()
            self._queue.append(left)
            self._hurry()
            left.acquire(timeout=patience)

    def _wait_for_room(self) -> None:
        while self._waiting > MAX_WAITING_BYTES and not self._is_sending():
            self.flush()

    def _is_sending(self) -> bool:
        """Whether this thread sends, and so can't wait for that.

        The collector and a debugger may call code of the person's in the midst of it.
        """
        me = threading.get_ident()
        return me == self._thread.ident or (self._here and me == self._main)

    def _send_here(self) -> bool:
        """Send what waits, if it is little and the server reads; say whether all of it has left."""
        if not HERE or self._here or self._waiting > MAX_BYTES_HERE:
            return False
        if threading.get_ident() != self._main:
            return False
        removed = self._removed
        batch = _Batch()
        try:
            data = batch.fill(self._queue)
        except (BadMessage, MemoryError, RecursionError):  # it's too deep for that here
            return False
        if len(data) > MAX_BYTES_HERE or batch.locks:
            return False
        done, size = slice(batch.count), len(data)
        sending = map(self._wire.send, [data], [socket.MSG_DONTWAIT])
        # From here on no call returns and no loop goes round: so no handler comes between the
        # sending and the removal. That is why it is a loop that leads to the call of `send`.
        sent = 0
        try:
            self._here = True
            if self._there or self._removed != removed:
                return False
            for sent in sending:
                if sent < size:
                    self._queue[done] = [data[sent:]]
                else:
                    del self._queue[done]
                self._removed += 1
                break
        except OSError:
            return False
        finally:
            self._here = False
        self._sent = monotonic()
        self._waiting -= batch.size
        return sent == size

    # -- the thread that sends

    def _hurry(self) -> None:
        self._urgent = True
        if self._wake_past < sys.maxsize:
            self._ring()

    def _ring(self) -> None:
        if self._bell.empty():
            self._bell.put(None)

    def _run(self) -> None:
        while True:
            self._wait()
            self._there = True
            while self._here:
                time.sleep(0)  # it is in a system call that doesn't wait
            self._send_there()
            self._there = False

    def _send_there(self) -> None:
        self._urgent = False
        batch = _Batch()
        # Where the wire is closed, this process is about to end. Whatever else is wrong, such as
        # that there is no room for the bytes: what comes behind them has to leave.
        with contextlib.suppress(Exception):
            self._wire.sendall(batch.fill(self._queue))
        if not batch.count:  # the main thread was quicker
            return
        del self._queue[: batch.count]
        self._removed += 1
        self._sent = monotonic()
        self._waiting -= batch.size
        if self._queue:
            self._urgent = True
        for lock in batch.locks:
            lock.release()

    def _wait(self) -> None:
        """Return when there is something to send that is urgent, or much, or old enough."""
        while not self._queue:
            self._waiting = 0
            self._sleep(-sys.maxsize, None)
        # print writes a line and its end one after the other. The main thread sends both: to take
        # the first at once would only be in its way.
        deadline = monotonic() + FLUSH_SECONDS
        while self._queue and not self._urgent and self._waiting < FLUSH_BYTES:
            left = deadline - monotonic()
            if left <= 0:
                return
            self._sleep(FLUSH_BYTES, left)

    def _sleep(self, wake_past: int, seconds: Optional[float]) -> None:
        self._wake_past = wake_past
        # Who put something before that line has not rung.
        if not (self._queue if seconds is None else self._urgent):
            with contextlib.suppress(Empty):
                self._bell.get(timeout=seconds)
        self._wake_past = sys.maxsize


class _Batch:
    """What leaves together, of what is in a queue: texts of one stream and cell are one chunk."""

    def __init__(self) -> None:
        self.count = self.size = 0
        self.locks: List[threading.Lock] = []
        self._lines: List[bytes] = []
        self._texts: List[str] = []
        self._stream = self._cell = ""

    def fill(self, queue: List[Item]) -> bytes:
        """Take what comes first, without removing it: the bytes of it all."""
        for item in queue:
            self.count += 1
            self._add(item)
            if self.size >= FLUSH_BYTES:
                break
        self._end_chunk()
        return b"".join(self._lines)

    def _add(self, item: Item) -> None:
        if isinstance(item, tuple):
            stream, cell, text = item
            if cell != self._cell or stream != self._stream:
                self._end_chunk()
                self._stream, self._cell = stream, cell
            self._texts.append(text)
            self.size += len(text) + ITEM_BYTES
        elif isinstance(item, bytes):
            self._end_chunk()
            self._lines.append(item)
            self.size += len(item)
        else:
            self.locks.append(item)

    def _end_chunk(self) -> None:
        text = "".join(self._texts)
        self._texts.clear()
        for start in range(0, len(text), MAX_CHUNK_CHARS):
            data = text[start : start + MAX_CHUNK_CHARS]
            chunk = {"type": "chunk", "id": self._cell, "stream": self._stream, "data": data}
            self._lines.append(dump_line(chunk))
