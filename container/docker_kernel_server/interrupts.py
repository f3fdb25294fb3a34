"""Ctrl-C in a worker: it ends the person's code, and never ours.

SIGINT raises KeyboardInterrupt where a cell's code is running, cancels the cell where it awaits,
and does nothing between cells.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any, Iterator, Optional, Set

NUDGE_SECONDS, MAX_NUDGES = 0.05, 40
"""After so long, a signal that has done nothing yet is sent to the main thread once more."""


class Interrupts:
    """The handler of SIGINT, and what it has to know. Made in the main thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._main = threading.get_ident()
        self._running: Optional[str] = None
        self._forking = False
        self._doomed: Set[str] = set()
        self.task: Optional[asyncio.Task[Any]] = None
        self.code: Optional[CodeType] = None
        """What runs the person's code; KeyboardInterrupt is raised inside of it alone."""
        self._asked = 0
        """How often the running cell was to be interrupted, as far as the lines on the wire say."""
        self._raised = 0
        signal.signal(signal.SIGINT, self._on_signal)

    @property
    def came(self) -> bool:
        """Whether the cell was interrupted."""
        return self._raised > 0

    @contextlib.contextmanager
    def running(self, cell: str) -> Iterator[None]:
        """While the person's code runs. KeyboardInterrupt if it was doomed before it began."""
        self._asked = self._raised = 0
        self._running = cell
        # A cell before may have set its own; a debugger does, when it is told to continue.
        signal.signal(signal.SIGINT, self._on_signal)
        try:
            if cell in self._doomed:
                self._doomed.discard(cell)
                self._raised += 1
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
            self._asked += 1
            nudging = threading.Thread(target=self._nudge, args=(cell, self._asked), daemon=True)
            with contextlib.suppress(RuntimeError):  # there can be no further thread
                nudging.start()

    def follow_forks(self) -> None:
        """Raise nothing in a fork's hooks, where Python would swallow it.

        To be called when the shell is made: the hooks that are added last run first before a fork,
        and last after it.
        """

        def set_forking(forking: bool) -> None:
            self._forking = forking

        os.register_at_fork(
            before=lambda: set_forking(True),
            after_in_parent=lambda: set_forking(False),
            after_in_child=lambda: set_forking(False),
        )

    def _nudge(self, cell: str, count: int) -> None:
        # A signal that came just before the main thread went to wait for a lock has only set a flag
        # of Python's; another one ends the wait, so that Python looks at the flag.
        for _ in range(MAX_NUDGES):
            time.sleep(NUDGE_SECONDS)
            if cell != self._running or self._raised >= count:
                return
            if signal.getsignal(signal.SIGINT) != self._on_signal:
                return  # the cell has a handler of its own, and once is what it was sent
            signal.pthread_kill(self._main, signal.SIGINT)

    def _on_signal(self, signum: int, frame: object) -> None:
        if self._running is None or self.task is None or self._forking:
            return  # `_nudge` repeats it
        current = asyncio.current_task(self._loop)
        if current is None:
            # The cell awaits, and so no code of it is there to raise in.
            self._raised += 1
            self._loop.call_soon_threadsafe(self.task.cancel)
        elif current is not self.task or self._is_in_cell():
            self._raised += 1
            raise KeyboardInterrupt
        # Else it came on the way into the cell, and `_nudge` repeats it, or on the way out.

    def _is_in_cell(self) -> bool:
        """Whether what is raised here comes up in the shell, which can deal with it."""
        frame: Optional[FrameType] = sys._getframe()  # noqa: SLF001 - there is no other way
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        return frame is not None
