"""The last lines that a server printed, and the one that says where it listens."""

from __future__ import annotations

import codecs
import re
import threading
from collections import deque
from collections.abc import Iterable

from ..deadline import Deadline
from ..texts import plain

MAX_LINES = 50
MAX_LINE_CHARS = 2000

_LISTENING = re.compile(r"listening on (\S+):(\d+)")


class LogTail:
    """Reads a server's output in a thread of its own, so that the server never waits for us.

    The thread ends with the output; it keeps MAX_LINES lines of at most MAX_LINE_CHARS each.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._partial = ""
        self._address: tuple[str, int] | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="docker-kernel-log", daemon=True)
        self._thread.start()

    def wait_listening(self, deadline: Deadline) -> tuple[str, int] | None:
        """Host and port as the server knows them; None where its output ended first.

        Raises StartTimeout.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._address or self._ended, deadline.remaining())
            if self._address is None and not self._ended:
                raise deadline.timeout(self._text(3))
            return self._address

    def wait_ended(self, seconds: float) -> bool:
        """Whether the output has ended, at the latest after `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, seconds)

    def last(self, lines: int = 5) -> str:
        """The last lines, "" where there were none."""
        with self._changed:
            return self._text(lines)

    def explain(self, why: str) -> str:
        """Why the server has ended, with its last lines where there were any."""
        last = self.last()
        return f"{why}; its last lines were: {last}" if last else why

    def _text(self, lines: int) -> str:
        kept = [*self._lines, plain(self._partial)] if self._partial else list(self._lines)
        return "\n".join(kept[-lines:])

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            for chunk in self._chunks:
                self._take(decoder.decode(chunk))
        except (OSError, ValueError):
            pass  # the stream was closed under us: that is its end as well
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self, text: str) -> None:
        with self._changed:
            *whole, partial = (self._partial + text).split("\n")
            self._partial = partial[-MAX_LINE_CHARS:]
            for line in whole:
                # The container's code can write there, too.
                self._lines.append(plain(line.rstrip("\r")[:MAX_LINE_CHARS]))
                if match := _LISTENING.search(line):
                    self._address = match[1], int(match[2])
            self._changed.notify_all()
