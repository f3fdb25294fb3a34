"""Calling off a call that another thread waits in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar


class CalledOff(Exception):
    """The call was called off; nothing waits for its result any more."""


class Cancellation:
    """Belongs to one call: `cancel` from any thread, `check` and `waking` in the call's own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called = False
        self._wake: Callable[[], None] = lambda: None

    @property
    def called(self) -> bool:
        """Whether it was called off."""
        return self._called

    def cancel(self) -> None:
        """Call it off, and wake the thread that waits."""
        with self._lock:
            self._called = True
            wake = self._wake
        wake()

    def check(self) -> None:
        """Raise CalledOff where it was called off."""
        if self._called:
            raise CalledOff

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the body waits, ``wake`` is called where the call is called off; at once where it
        already was."""
        with self._lock:
            before, self._wake = self._wake, wake
        if self._called:
            wake()
        try:
            yield
        finally:
            with self._lock:
                self._wake = before


current: ContextVar[Cancellation | None] = ContextVar("docker_kernel_cancellation", default=None)
"""The cancellation of the call that this thread is in, where somebody can call it off."""
