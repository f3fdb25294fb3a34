"""How what runs is ended: Ctrl-C, then SIGTERM, then SIGKILL."""

from __future__ import annotations

import asyncio
import signal
from typing import Callable, Optional


class Ladder:
    """Each rung is taken where the one before was not enough.

    ``send`` sends a signal. ``patience`` is for Ctrl-C, ``grace`` for SIGTERM; both in seconds.
    """

    def __init__(self, send: Callable[[int], None], patience: float, grace: float) -> None:
        self._send = send
        self._patience = patience
        self._grace = grace
        self._timer: Optional[asyncio.TimerHandle] = None
        self.reached = 0
        """The last signal that was sent; 0 for none."""

    def interrupt(self) -> None:
        """Ctrl-C, as often as is asked."""
        if self.reached in (0, signal.SIGINT):
            self._take(signal.SIGINT)

    def climb(self) -> None:
        """All of it, rung by rung."""
        self.interrupt()
        self._later(self._patience, self.end)

    def end(self) -> None:
        """What comes after Ctrl-C."""
        if self.reached in (0, signal.SIGINT):
            self._take(signal.SIGTERM)
            self._later(self._grace, self.kill)

    def kill(self) -> None:
        """The last rung."""
        self.cancel()
        self._take(signal.SIGKILL)

    def cancel(self) -> None:
        """It has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def climbing(self) -> bool:
        """Whether a further rung will be taken by itself."""
        return self._timer is not None

    def _take(self, number: int) -> None:
        self.reached = number
        self._send(number)

    def _later(self, seconds: float, step: Callable[[], None]) -> None:
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, step)
