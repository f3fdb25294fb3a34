"""What one line of %docker has of its cell: progress, interruption, somebody to ask."""

from __future__ import annotations

from collections.abc import Callable

from ..cancelling import Cancellation

Ask = Callable[[str, Cancellation], bool]
"""Asks the person for a yes, and waits for the answer. Raises UsageError where nobody is there, and
CalledOff."""


class Work:
    """One line's. It is done in a thread of its own; `interrupt` may come from any."""

    def __init__(self, ask: Ask) -> None:
        self.now: Callable[[], str] = lambda: ""
        """How it goes, in a line; "" for nothing to say."""
        self.cancellation = Cancellation()
        self._ask = ask

    def show(self, text: str) -> None:
        """Set what `now` says. Raises CalledOff where it was interrupted."""
        self.cancellation.check()
        self.now = lambda: text

    def agreed(self, question: str) -> bool:
        """Whether the person says yes."""
        self.cancellation.check()
        return self._ask(question, self.cancellation)
