"""What may have to be sent to a client again: numbered lines, kept until it acknowledges them.

The newest lines are in memory. Past a bound they go to files, and past another one the oldest go
for good; a `gap` in their place says how much that was. The end of a request is never dropped.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import deque
from dataclasses import dataclass
from typing import IO, Deque, Iterable, List, Tuple

from .messages import Gap, encode

SEGMENT_BYTES = 8 * 1024 * 1024
"""So much is kept in memory, and goes into one file."""

MAX_JOURNAL_BYTES = 1024 * 1024 * 1024
"""The most that is kept for one client."""

SHARE_OF_DISK = 4
"""One part in so many of the free disk may be used."""

KEPT = (b'{"type":"final"', b'{"type":"session_died"', b'{"type":"gap"')
"""What is never dropped: each request gets its end."""


@dataclass
class _File:
    """The lines ``first`` to ``last``, in a file."""

    first: int
    last: int
    size: int
    file: IO[bytes]

    def lines(self) -> List[bytes]:
        self.file.seek(0)
        return [line + b"\n" for line in self.file.read().split(b"\n")[:-1]]


class Journal:
    """Lines by their numbers, from 1.

    ``limit`` bounds the bytes that are kept, ``segment`` those of them that are in memory.
    """

    def __init__(self, limit: int = MAX_JOURNAL_BYTES, segment: int = SEGMENT_BYTES) -> None:
        self.last = 0
        """The number of the newest line."""
        self.size = 0
        """The bytes of the lines that are kept, but for those that can't be dropped any more."""
        self._limit = limit
        self._segment = segment
        self._room = limit
        self._acknowledged = 0
        # Of the lines after the first of these numbers, up to the second, this is left.
        self._before_gap = self._dropped = 0
        self._rest: List[Tuple[int, bytes]] = []
        self._lost_bytes = 0
        self._files: Deque[_File] = deque()
        self._recent: Deque[bytes] = deque()
        self._recent_size = 0

    def append(self, line: bytes) -> None:
        """Keep a line, with its newline, under the next number."""
        self.last += 1
        self._recent.append(line)
        self._recent_size += len(line)
        self.size += len(line)
        if self._crowded:
            self._spool()

    def acknowledge(self, number: int) -> None:
        """Forget the lines up to this number: the client has them."""
        self._acknowledged = max(number, self._acknowledged)
        if self._rest:
            self._rest = [(at, line) for at, line in self._rest if at > number]
        while self._files and self._files[0].last <= number:
            self._take_file()
        for _ in range(min(len(self._recent), number - self._before_recent)):
            size = len(self._recent.popleft())
            self._recent_size -= size
            self.size -= size

    def trim(self) -> None:
        """Drop the oldest lines where there are too many.

        Only while no client is there, as that counts the lines that it gets.
        """
        while self._files and (self.size > min(self._limit, self._room) or self._crowded):
            self._drop(self._files[0].first, self._files[0].lines())
            self._take_file()
            if self._crowded:  # there was no room for a file; perhaps there is now
                self._spool()
        if self._crowded:
            self._drop(self._before_recent + 1, self._take_recent())

    def settle(self, received: int) -> int:
        """A client is there that has the lines up to ``received``: the number of its next line.

        Where lines were dropped, that is a higher number than the next one, and the line is a gap.
        """
        self.acknowledge(received)
        lost = self._dropped - max(received, self._before_gap) - len(self._rest)
        if lost > 0:
            lines = [encode(Gap("", lost, self._lost_bytes)), *(line for _, line in self._rest)]
            self._before_gap = self._dropped - len(lines)
            self._rest = list(enumerate(lines, self._before_gap + 1))
            self._lost_bytes = 0
            return self._before_gap + 1
        return received + 1

    def read(self, after: int) -> Tuple[bytes, int]:
        """Some of the lines after this number, and the number of the last one of them."""
        rest = [line for at, line in self._rest if at > after]
        if rest:
            return b"".join(rest), self._dropped
        for file in self._files:
            if file.last > after:
                return b"".join(file.lines()[max(0, after + 1 - file.first) :]), file.last
        return b"".join(list(self._recent)[max(0, after - self._before_recent) :]), self.last

    def close(self) -> None:
        """Forget everything."""
        self.acknowledge(self.last)

    @property
    def _crowded(self) -> bool:
        return self._recent_size > self._segment

    @property
    def _before_recent(self) -> int:
        return self.last - len(self._recent)

    def _drop(self, first: int, lines: Iterable[bytes]) -> None:
        if self._acknowledged >= self._dropped:
            self._before_gap, self._lost_bytes = first - 1, 0
        self._dropped = first - 1
        for line in lines:
            self._dropped += 1
            if self._dropped > self._acknowledged:
                if line.startswith(KEPT):
                    self._rest.append((self._dropped, line))
                else:
                    self._lost_bytes += len(line)

    def _spool(self) -> None:
        """Move what is in memory to a file, where there is room."""
        try:
            with contextlib.ExitStack() as undo:
                file = undo.enter_context(tempfile.TemporaryFile())
                disk = os.fstatvfs(file.fileno())
                on_disk = sum(each.size for each in self._files)
                self._room = (on_disk + disk.f_bavail * disk.f_frsize) // SHARE_OF_DISK
                if on_disk + self._recent_size > self._room and not self._files:
                    return
                file.writelines(self._recent)
                file.flush()
                undo.pop_all()  # closed in _take_file
        except OSError:
            return
        size, first = self._recent_size, self._before_recent + 1
        self._files.append(_File(first, self.last, size, file))
        self._take_recent()
        self.size += size

    def _take_recent(self) -> List[bytes]:
        lines = list(self._recent)
        self._recent.clear()
        self.size -= self._recent_size
        self._recent_size = 0
        return lines

    def _take_file(self) -> None:
        file = self._files.popleft()
        self.size -= file.size
        file.file.close()
