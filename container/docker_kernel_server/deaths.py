"""How a worker ended: in words, and as the messages that tell of it."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

from .messages import Final, SessionDied
from .pending import TIMEOUT_STATUS, Pending, Queue
from .shortage import Shortages, of_bus_error


@dataclass(frozen=True)
class Death:
    """``status`` is what wait() gives, ``how`` says in words what ended the process."""

    status: int
    how: str
    oom: bool = False
    besides: str = ""
    """What had run out when it ended: a sentence, or ""."""

    @property
    def detail(self) -> str:
        """For people; a clause."""
        besides = f". {self.besides.rstrip('.')}" if self.besides else ""
        return f"the session's process {self.how}; its variables are lost{besides}"

    def event(self, session: str) -> SessionDied:
        """What tells the session's client."""
        reason = "oom" if self.oom else "signal" if os.WIFSIGNALED(self.status) else "exit"
        return SessionDied("", session, reason, self.detail)

    def final(self, item: Pending) -> Final:
        """The end of a request that the worker had."""
        number = os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None
        code = os.WEXITSTATUS(self.status) if number is None else None
        result = {"detail": self.detail, "signal": number, "exit_code": code, "oom": self.oom}
        if item.timed_out:
            return Final(item.request.id, TIMEOUT_STATUS, "timeout", result)
        return Final(item.request.id, 128 + number if number else code or 1, "died", result)


def look_into(status: int, queue: Queue, shortages: Shortages) -> Death:
    """Find out what ended a worker that had the requests in ``queue``."""
    for item in queue.sent:
        reached = item.ladder.reached if item.ladder is not None else 0
        if reached in (signal.SIGTERM, signal.SIGKILL):
            why = "its timeout" if item.timed_out else "a further interrupt"
            name = signal.Signals(reached).name
            how = f"was ended by {why} ({name}), as it went on after Ctrl-C"
            return Death(status, how, besides=shortages.of_processes())
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGKILL and shortages.killed_now():
        return Death(status, f"was killed {shortages.why_killed()}", oom=True)
    if not number:
        how = f"exited with status {os.WEXITSTATUS(status)}"
        return Death(status, how, besides=shortages.of_processes())
    name = ""
    with contextlib.suppress(ValueError):
        name = f" ({signal.Signals(number).name})"
    more = of_bus_error() if number == signal.SIGBUS else ""
    return Death(status, f"was killed by signal {number}{name}{more}")
