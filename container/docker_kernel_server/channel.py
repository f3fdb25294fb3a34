"""Non-blocking descriptors on the event loop: a socket to a process of ours, and an output pipe.

asyncio's own transports can't be emptied at a chosen moment. That moment matters here: a cell's
output has to leave before the cell's end does, so both classes have `drain`.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import socket
from collections import deque
from typing import Callable, Deque, Optional

READ_BYTES = 256 * 1024
"""How much is read at a time; other descriptors get their turn in between."""


class Channel:
    """A stream socket to another process of ours. Owns the socket.

    ``on_data`` gets bytes as they come, and b"" once at the end.
    """

    def __init__(self, sock: socket.socket, on_data: Callable[[bytes], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_data = on_data
        self._loop = asyncio.get_running_loop()
        self._out: Deque[memoryview] = deque()
        self._open = True
        self._paused = False
        self._waits = False
        """Whether the loop tells when the other side has read."""
        self._loop.add_reader(sock, self._read)

    def send(self, data: bytes) -> None:
        """Send, or keep until the other side reads. After the end it goes nowhere."""
        if not self._open:
            return
        self._out.append(memoryview(data))
        if len(self._out) == 1:
            self._write()

    def pause(self) -> None:
        """Stop reading, so that the other side has to wait."""
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        """Read again."""
        if self._open and self._paused:
            self._paused = False
            self._loop.add_reader(self._sock, self._read)

    def drain(self) -> None:
        """Read all that is there now."""
        while self._open and self._read():
            pass

    def close(self) -> None:
        """Close the socket; ``on_data`` isn't called any more."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def _read(self) -> bool:
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
        self._on_data(data)
        return bool(data)

    def _write(self) -> None:
        while self._out:
            try:
                sent = self._sock.send(self._out[0])
            except (BlockingIOError, InterruptedError):
                self._waits = True
                self._loop.add_writer(self._sock, self._write)
                return
            except OSError:
                # The reading side will see the end, and tell.
                self._out.clear()
                break
            if sent < len(self._out[0]):
                self._out[0] = self._out[0][sent:]
            else:
                self._out.popleft()
        if self._waits:
            self._waits = False
            self._loop.remove_writer(self._sock)


class OutputPipe:
    """The read end of a pipe with text in it. Owns the descriptor.

    Bytes are decoded as they come, as UTF-8 with replacement: a character that is split over two
    reads comes out whole. ``on_end`` is called once, when no process holds the other end any more.
    """

    def __init__(
        self,
        fd: int,
        on_text: Callable[[str], None],
        on_end: Optional[Callable[[OutputPipe], None]] = None,
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._on_text = on_text
        self._on_end = on_end
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._paused = False
        self._loop.add_reader(fd, self._read)

    def pause(self) -> None:
        """Stop reading, so that the writers have to wait."""
        if self._open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read again."""
        if self._open and self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self._read)

    def drain(self) -> None:
        """Read all that is there now, up to what a pipe holds.

        The bound is there for a background process that writes without end: the end of a cell
        doesn't wait for it.
        """
        left = MAX_PIPE_BYTES
        while self._open and left > 0:
            size = self._read()
            if not size:
                break
            left -= size

    def close(self) -> None:
        """Close the descriptor; a character that was never finished comes out as U+FFFD."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            rest = self._decoder.decode(b"", final=True)
            if rest:
                self._on_text(rest)
            if self._on_end is not None:
                self._on_end(self)

    def _read(self) -> int:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            data = b""
        if not data:
            self.close()
            return 0
        text = self._decoder.decode(data)
        if text:
            self._on_text(text)
        return len(data)


MAX_PIPE_BYTES = 1024 * 1024
"""The most that a pipe can hold, as far as an ordinary user may set it on Linux."""
