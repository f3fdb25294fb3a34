"""Ctrl-C in a worker: it ends the person's code, and never ours.

SIGINT raises KeyboardInterrupt where a cell's code is running, cancels the cell where it awaits,
and does nothing between cells.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from types import CodeType, FrameType
from typing import Any, Iterator, Optional, Set

NUDGE_SECONDS = 0.05
"""After this, a signal that the main thread hasn't noticed is sent to it once more."""


class Interrupts:
    """The handler of SIGINT, and what it has to know. Made in the main thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._main = threading.get_ident()
        self._running: Optional[str] = None
        self._doomed: Set[str] = set()
        self.task: Optional[asyncio.Task[Any]] = None
        self.code: Optional[CodeType] = None
        """What runs the person's code; KeyboardInterrupt is raised inside of it alone."""
        self.came = False
        signal.signal(signal.SIGINT, self._on_signal)

    @contextlib.contextmanager
    def running(self, cell: str) -> Iterator[None]:
        """While the person's code runs. KeyboardInterrupt if it was doomed before it began."""
        self.came = False
        self._running = cell
        try:
            if cell in self._doomed:
                self._doomed.discard(cell)
                self.came = True
                raise KeyboardInterrupt
            yield
        finally:
            self._running = None

    def doom(self, cell: str) -> None:
        """From the reader thread: ``cell`` is to be interrupted, also if it hasn't begun yet.

        The signal that comes with this would find nothing to interrupt then.
        """
        if cell != self._running:
            self._doomed.add(cell)
        else:
            timer = threading.Timer(NUDGE_SECONDS, self._nudge, (cell,))
            timer.daemon = True
            with contextlib.suppress(RuntimeError):  # there can be no further thread
                timer.start()

    def _nudge(self, cell: str) -> None:
        # A signal that came just before the main thread went to wait for a lock has only set a flag
        # of Python's; another one ends the wait, so that Python looks at the flag.
        if cell == self._running and not self.came:
            signal.pthread_kill(self._main, signal.SIGINT)

    def _on_signal(self, signum: int, frame: object) -> None:
        if self._running is None or self.task is None:
            return
        current = asyncio.current_task(self._loop)
        if current is None:
            # The cell awaits, and so no code of it is there to raise in.
            self.came = True
            self._loop.call_soon_threadsafe(self.task.cancel)
        elif current is not self.task or self._is_in_cell():
            self.came = True
            raise KeyboardInterrupt
        # Else it came on the way into the cell, and `_nudge` repeats it, or on the way out.

    def _is_in_cell(self) -> bool:
        """Whether what is raised here comes up in the shell, which can deal with it."""
        frame: Optional[FrameType] = sys._getframe()  # noqa: SLF001 - there is no other way
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        return frame is not None
