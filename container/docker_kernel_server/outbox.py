"""The worker's end of the wire, and the one thread that writes to it.

Whoever has something to send puts it into a queue, which is one step: neither a signal's handler
that raises, nor an interrupt, nor the garbage collector comes in the middle of it. Handlers run in
the main thread alone, so the thread that sends is never torn out of a line.
"""

from __future__ import annotations

import socket
import threading
from queue import Empty, SimpleQueue
from time import monotonic
from typing import List, Tuple, Union

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

Text = Tuple[str, str, str]
"""Stream, cell, text."""


class Outbox:
    """Sends texts and lines in the order in which they were put, from any thread."""

    def __init__(self, wire: socket.socket) -> None:
        keep_freed_memory()
        self._wire = wire
        # A text, a line, or the lock of one who waits for what was put before it.
        self._queue: SimpleQueue[Union[Text, bytes, threading.Lock]] = SimpleQueue()
        # About what waits. Threads that write at the same time may miscount it, until it's empty.
        self._waiting = 0
        self._sent = 0.0
        self._fresh = True
        self._thread = threading.Thread(target=self._run, name="docker-kernel-sender", daemon=True)
        self._thread.start()

    def put_text(self, stream: str, cell: str, text: str) -> None:
        """Send text; what ends a line after a pause or an event has left when this returns."""
        self._queue.put((stream, cell, text))
        self._waiting += len(text) + ITEM_BYTES
        if self._waiting > MAX_WAITING_BYTES:
            self._wait_for_room()
        elif text[-1] == "\n" and (self._fresh or monotonic() - self._sent > FLUSH_SECONDS):
            self._fresh = False
            self.flush()

    def put_line(self, line: bytes) -> None:
        """Send a line, at once."""
        self._queue.put(line)
        self._fresh = True
        self._waiting += len(line)
        if self._waiting > MAX_WAITING_BYTES:
            self._wait_for_room()

    def flush(self, patience: float = PATIENCE_SECONDS) -> None:
        """Return when all that was put has left, or after so many seconds; -1 for any time."""
        if not self._is_sender():
            left = threading.Lock()
            left.acquire()
            self._queue.put(left)
            left.acquire(timeout=patience)

    def _wait_for_room(self) -> None:
        while self._waiting > MAX_WAITING_BYTES and not self._is_sender():
            self.flush()

    def _is_sender(self) -> bool:
        """The collector may call code of the person's in the thread that sends."""
        return threading.get_ident() == self._thread.ident

    def _run(self) -> None:
        while True:
            batch = _Batch()
            batch.add(self._queue.get())
            try:
                self._collect(batch)
                self._wire.sendall(batch.close())
            except (OSError, MemoryError):
                # The wire is closed, and so this process about to end; or there is no room for it.
                pass
            self._sent = monotonic()
            self._waiting -= batch.size
            for lock in batch.locks:
                lock.release()

    def _collect(self, batch: "_Batch") -> None:
        """Add what has been put, and what comes soon unless something is urgent."""
        deadline = self._sent + FLUSH_SECONDS
        while batch.size < FLUSH_BYTES:
            try:
                batch.add(self._queue.get_nowait())
            except Empty:
                self._waiting = batch.size
                left = deadline - monotonic()
                if batch.urgent or left <= 0:
                    return
                try:
                    batch.add(self._queue.get(timeout=left))
                except Empty:
                    return


class _Batch:
    """What leaves together: texts of one stream and cell become one chunk."""

    def __init__(self) -> None:
        self.size = 0
        self.urgent = False
        self.locks: List[threading.Lock] = []
        self._lines: List[bytes] = []
        self._texts: List[str] = []
        self._stream = self._cell = ""

    def add(self, item: Union[Text, bytes, threading.Lock]) -> None:
        if isinstance(item, tuple):
            stream, cell, text = item
            if cell != self._cell or stream != self._stream:
                self._end_chunk()
                self._stream, self._cell = stream, cell
            self._texts.append(text)
            self.size += len(text) + ITEM_BYTES
            return
        self.urgent = True
        if isinstance(item, bytes):
            self._end_chunk()
            self._lines.append(item)
            self.size += len(item)
        else:
            self.locks.append(item)

    def close(self) -> bytes:
        """The bytes of all that was added."""
        self._end_chunk()
        return b"".join(self._lines)

    def _end_chunk(self) -> None:
        text = "".join(self._texts)
        self._texts.clear()
        for start in range(0, len(text), MAX_CHUNK_CHARS):
            data = text[start : start + MAX_CHUNK_CHARS]
            chunk = {"type": "chunk", "id": self._cell, "stream": self._stream, "data": data}
            self._lines.append(dump_line(chunk))
