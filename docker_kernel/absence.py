"""A connection that is away: how long to try, how often, and what the person is told of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from .errors import ConnectionLost
from .texts import plain

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds between two tries to come back. Each is a random part of its length, so that the clients
of a server that was away don't come all at once."""

QUIET_SECONDS = 2.0
"""Nothing is said of a connection that is back so soon."""

REFUSED_SECONDS = 15.0
"""Where the machine answers for so long that nobody listens, there is no server any more."""


class Absence:
    """How long the connection has been away, and what the person was told of it."""

    def __init__(self, lost: ConnectionLost, patience: float) -> None:
        self._lost = lost
        self._patience = patience
        self._began = time.monotonic()
        self._until = self._began + patience
        self._refused_since: float | None = None
        self.told: str | None = None
        """The trouble that was told, "" where none was known; None where nothing was told."""

    def over(self) -> bool:
        """Whether it has lasted for too long."""
        now, refused = time.monotonic(), self._refused_since
        return now > self._until or (refused is not None and now - refused > REFUSED_SECONDS)

    def tried(self, refused: bool) -> None:
        """A try has failed; ``refused`` says whether nobody listened."""
        if not refused:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = time.monotonic()

    def prolong(self) -> None:
        """What keeps the server from answering keeps it from forgetting too: be patient anew."""
        self._until = time.monotonic() + self._patience

    def describe(self, why: str) -> str:
        """Why it is away, and for how long."""
        return f"{why}, for {time.monotonic() - self._began:.0f} s"

    def news(self, known: str, why: str) -> str:
        """What the person should be told now, "" for nothing new."""
        if time.monotonic() - self._began < QUIET_SECONDS or known == self.told:
            return ""
        if self.told is not None and not known:
            return ""
        self.told = known
        what = f"{self._lost.what[0].upper()}{self._lost.what[1:]}"
        if known:
            return plain(
                f"{what}: {known}. Nothing is lost; it goes on after that. Interrupt to give up."
            )
        return plain(
            f"{what} ({why}). The code goes on, and nothing is lost; trying again for "
            f"up to {self._patience:g} s. Interrupt to give up."
        )


def pauses() -> Iterator[float]:
    """Seconds between the tries: a random part of a growing length."""
    longest = FIRST_PAUSE
    while True:
        yield random.uniform(0, longest)  # noqa: S311  (no secret)
        longest = min(longest * 2, LONGEST_PAUSE)
