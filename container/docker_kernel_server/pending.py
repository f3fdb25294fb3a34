"""The requests that a session's worker has not answered, and what bounds the first of them.

The worker takes those of a shell one after another, so the first one that it has is what it is at
there: the clock of a timeout runs for that one alone, and an interrupt is for that one alone.
"""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterator, List, Optional

from .errors import RequestRefused
from .ladder import Ladder
from .messages import Execute, Final, Request

PATIENCE_SECONDS = 2.0
"""How long a cell may go on after Ctrl-C. Then its timeout ends the process, or a further interrupt
does."""

GRACE_SECONDS = 1.0
"""How long the process may go on after SIGTERM; then it is killed."""

TIMEOUT_STATUS = 124
INTERRUPT_STATUS = 130

Answer = Callable[[Final], None]


@dataclass
class Pending:
    """A request that waits for its final."""

    request: Request
    answer: Answer
    since: float
    sent: bool = False
    """Whether the worker has it; else it waits for the worker's start."""
    timer: Optional[asyncio.TimerHandle] = None
    timed_out: bool = False
    ladder: Optional[Ladder] = None
    """What ends it, from the first interrupt on."""
    interrupted_at: Optional[float] = None

    @property
    def subshell(self) -> str:
        """Where it runs; "" is the main shell."""
        return str(getattr(self.request, "subshell", ""))


class Control:
    """What the queue may do to the worker: as much of a session as it has to know."""

    def signal(self, request: Request, number: int) -> None:
        """Signal the worker: with SIGINT for this request alone."""
        raise NotImplementedError

    def tell_stubborn(self, request: Request) -> None:
        """Tell the person that the request goes on after an interrupt."""
        raise NotImplementedError


class Queue:
    """The requests of one session, in the order of arrival."""

    def __init__(self, control: Control) -> None:
        self._control = control
        # Those that were sent stand before those that were not.
        self._items: Dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._items)

    def head(self, subshell: str = "") -> Optional[Pending]:
        """What the worker is at now, in the main shell or in a subshell."""
        return next((item for item in self.sent if item.subshell == subshell), None)

    @property
    def sent(self) -> Iterator[Pending]:
        """What the worker has."""
        return (item for item in self._items.values() if item.sent)

    @property
    def unsent(self) -> List[Pending]:
        """What waits for the worker's start."""
        return [item for item in self._items.values() if not item.sent]

    def get(self, name: str) -> Optional[Pending]:
        """The request with this id."""
        return self._items.get(name)

    def add(self, request: Request, answer: Answer) -> Pending:
        """A further request; it isn't sent yet."""
        if request.id in self._items:
            raise RequestRefused(f"a request with the id {request.id!r} is still running")
        item = self._items[request.id] = Pending(request, answer, time.monotonic())
        return item

    def mark_sent(self, item: Pending) -> None:
        """The worker has it now."""
        item.sent = True
        self._start_clock(item.subshell)

    def finish(self, item: Pending, final: Final) -> None:
        """Answer it; the worker goes on with the next one."""
        self._items.pop(item.request.id, None)
        for timer in (item.timer, item.ladder):
            if timer is not None:
                timer.cancel()
        if final.seconds is None:
            final = replace(final, seconds=time.monotonic() - item.since)
        item.answer(final)
        self._start_clock(item.subshell)

    # -- interrupts and timeouts: one ladder

    def interrupt(self) -> bool:
        """Ctrl-C to what is running, or to what would run first; say whether there was anything."""
        for item in self.unsent:
            self.finish(item, Final(item.request.id, INTERRUPT_STATUS, "interrupt"))
            return True
        head = self.head() or next(self.sent, None)
        if head is None:
            return False
        now = time.monotonic()
        if head.interrupted_at is None:
            head.interrupted_at = now
            loop = asyncio.get_running_loop()
            loop.call_later(PATIENCE_SECONDS, self._tell_stubborn, head)
        if now - head.interrupted_at < PATIENCE_SECONDS:
            self._ladder(head).interrupt()
        else:
            self._ladder(head).end()
        return True

    def _tell_stubborn(self, item: Pending) -> None:
        if item is self.head(item.subshell) and not item.timed_out:
            self._control.tell_stubborn(item.request)

    def _start_clock(self, subshell: str) -> None:
        head = self.head(subshell)
        if head is None or head.timer is not None or not isinstance(head.request, Execute):
            return
        if head.request.timeout is not None:
            loop = asyncio.get_running_loop()
            head.timer = loop.call_later(head.request.timeout, self._time_out, head)

    def _time_out(self, item: Pending) -> None:
        item.timed_out = True
        self._ladder(item).climb()

    def _ladder(self, item: Pending) -> Ladder:
        if item.ladder is None:
            send = functools.partial(self._control.signal, item.request)
            item.ladder = Ladder(send, PATIENCE_SECONDS, GRACE_SECONDS)
        return item.ladder
