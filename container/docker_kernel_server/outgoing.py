"""The lines on their way to a client, over one connection or several in a row."""

from __future__ import annotations

from typing import Callable, Optional

from .journal import Journal
from .session import Sink

MAX_UNACKNOWLEDGED_BYTES = 4 * 1024 * 1024
"""Past this, who sends has to wait until the client acknowledges. The journal has room for twice as
much in memory: a client that is there makes it write no files."""


class Wire:
    """As much of a connection as is needed here."""

    congested = False
    """Whether what is sent waits for the client to read."""

    def send(self, line: bytes) -> None:
        """Send a line, or keep it until the client reads on."""
        raise NotImplementedError


class Outgoing(Sink):
    """Sends what it is given, and keeps it in ``journal`` for when the connection is lost.

    ``on_free`` is called when who has found it `blocked` may go on.
    """

    def __init__(
        self, wire: Wire, on_free: Callable[[], None], journal: Optional[Journal] = None
    ) -> None:
        self._wire: Optional[Wire] = wire
        self._on_free = on_free
        self._journal = journal
        # The number of the last line that the connection has taken.
        self._sent = 0

    @property
    def blocked(self) -> bool:
        """Whether who sends should wait. Nobody waits for a client that is away."""
        if self._wire is None:
            return False
        return self._wire.congested or self._unacknowledged > MAX_UNACKNOWLEDGED_BYTES

    def send(self, line: bytes) -> None:
        """Send a line, or keep it for the client's return."""
        if self._journal is None:
            if self._wire is not None:
                self._wire.send(line)
            return
        all_sent = self._sent == self._journal.last
        self._journal.append(line)
        if self._wire is None:
            self._journal.trim()
        elif all_sent:
            self._sent += 1
            self._wire.send(line)

    def connect(self, wire: Wire, received: int) -> int:
        """The client is back and has the lines up to ``received``: the number of its next line.

        `flow` sends it.
        """
        self._wire = wire
        if self._journal is not None:
            self._sent = self._journal.settle(min(received, self._journal.last)) - 1
        return self._sent + 1

    def disconnect(self) -> None:
        """The connection is lost."""
        self._wire = None
        if self._journal is not None:
            self._journal.trim()
        self._on_free()

    def acknowledge(self, number: int) -> None:
        """The client has the lines up to this number."""
        if self._journal is not None:
            blocked = self.blocked
            self._journal.acknowledge(min(number, self._sent))
            if blocked and not self.blocked:
                self._on_free()

    def flow(self) -> None:
        """The connection takes lines: send what waits, then let the others send."""
        while self._wire is not None and not self._wire.congested:
            if self._journal is None or self._sent == self._journal.last:
                break
            lines, self._sent = self._journal.read(self._sent)
            self._wire.send(lines)
        if not self.blocked:
            self._on_free()

    def close(self) -> None:
        """Keep nothing any more."""
        self._wire = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    @property
    def _unacknowledged(self) -> int:
        return self._journal.size if self._journal is not None else 0
