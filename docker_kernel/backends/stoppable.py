"""The start of a server of our own: one at a time, and called off by a stop."""

from __future__ import annotations

import threading

from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import DockerKernelError, StartCancelled
from . import Progress

STOP_SECONDS = 3.0


class Stoppable:
    """What `start` and `stop` are made of: `_start`, `_end`, and `_hurry` for a stop in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Start the server and wait until it listens. Blocks; raises a DockerKernelError.

        Where it fails, nothing is left behind.
        """
        with self._lock:
            self._end()
            try:
                return self._start(deadline, progress)
            except BaseException as exc:
                self._end()
                called_off = self._stopping.is_set()
                self._stopping.clear()
                if called_off and isinstance(exc, DockerKernelError):
                    # Whatever the step said of what was taken away under it.
                    raise StartCancelled from exc
                raise

    def stop(self) -> None:
        """End the server within 3 s, also in the middle of a start. Never raises."""
        self._stopping.set()
        if not self._lock.acquire(blocking=False):
            # A start goes on. It looks at the event between its steps, and ends what it has begun.
            deadline = Deadline(STOP_SECONDS)
            self._hurry()
            if not self._lock.acquire(timeout=deadline.remaining()):
                return
        try:
            self._end()
            self._stopping.clear()
        finally:
            self._lock.release()

    def leave(self) -> None:
        """As `stop`: nobody could take it over."""
        self.stop()

    def _start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Start the server; between its steps, `_check_stopping`."""
        raise NotImplementedError

    def _end(self) -> None:
        """End what `_start` has begun."""
        raise NotImplementedError

    def _hurry(self) -> None:
        """End the server for which `_start` waits, so that it waits no longer."""
        raise NotImplementedError

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise StartCancelled
