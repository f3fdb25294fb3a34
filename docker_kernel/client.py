"""The one client of the protocol: for the kernel, the magics, the tools and plain scripts.

Any thread may send. One thread reads, and calls the handlers: a handler that is slow slows the
reading, TCP slows the server, and nothing piles up in between.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from docker_kernel_server.errors import BadMessage
from docker_kernel_server.framing import MAX_LINE_BYTES
from docker_kernel_server.messages import Event, Fault, Final, Gap, Request, encode

from .deadline import Deadline
from .endpoint import Endpoint
from .errors import ConnectionLost, RequestRefused
from .gate import Gate, OnEnd
from .lifeline import Lifeline, Listener
from .texts import plain

MAX_LATE_HANDLERS = 1000
"""For so many finished requests the handler is kept, for threads that print after their cell."""

MAX_COMPLAINTS = 50
"""Lines of the log about one server's faults."""

AWAY_SECONDS = 120.0
"""For how long a client tries to come back, where nobody says otherwise."""

OnEvent = Callable[[Event], None]

log = logging.getLogger(__name__)


class Call:
    """A request that was sent. `future` gets its `Final`, or ConnectionLost."""

    def __init__(self, request_id: str, on_event: OnEvent | None, on_end: OnEnd) -> None:
        self.id = request_id
        self.on_event = on_event
        self._on_end = on_end
        self.future: Future[Final] = Future()
        # A waiter that gives up (an asyncio task that is cancelled) must not take the future along.
        self.future.set_running_or_notify_cancel()

    def end(self, end: Final | ConnectionLost) -> None:
        """Give the future its result. Whoever waits comes after what notes the end."""
        self._on_end(end)
        if isinstance(end, Final):
            self.future.set_result(end)
        else:
            self.future.set_exception(end)

    def result(self, timeout: float | None = None) -> Final:
        """Wait for the end. Raises ConnectionLost, and TimeoutError after ``timeout`` seconds."""
        try:
            return self.future.result(timeout)
        except FutureTimeout as exc:  # another class than TimeoutError before Python 3.11
            raise TimeoutError(f"no end of the request in {timeout:g} s") from exc


class Client:
    """A connection to a server, with the handshake done. Where it is lost, it comes back.

    ``on_event`` gets the events that no request's own handler takes, ``on_notice`` what a person
    should know while the connection is away. ``why_lost`` is asked why the server is gone when the
    connection breaks, ``trouble`` why one that is there doesn't answer; "" where it isn't so. All
    are called in the reading thread, as the handlers of requests are. ``patience`` is for how many
    seconds it tries to come back. ``gate`` is what requests pass before they are sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        deadline: Deadline,
        on_event: OnEvent | None = None,
        why_lost: Callable[[], str] = lambda: "",
        on_notice: Callable[[str], None] = lambda _text: None,
        patience: float = AWAY_SECONDS,
        trouble: Callable[[], str] = lambda: "",
        gate: Gate | None = None,
    ) -> None:
        """Connect to a server; see `transport.connect` for what it raises."""
        self._on_event = on_event
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}
        self._late: OrderedDict[str, OnEvent] = OrderedDict()
        self._prefix, self._numbers = secrets.token_hex(4), itertools.count(1)
        self._gate = gate
        self._where = endpoint.describe()
        self._closed = False
        self._lost: ConnectionLost | None = None
        self._complaints = 0
        listener = Listener(self._dispatch, self._end, on_notice, why_lost, trouble)
        self._line = Lifeline(endpoint, deadline, patience, listener)
        self.server = self._line.server
        self._line.start()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._lost is None and not self._line.away

    @property
    def lost(self) -> bool:
        """Whether it has ended for good. While it is only away, requests go out at its return."""
        return self._lost is not None

    def wait_until_back(self, seconds: float) -> None:
        """Wait for the return of a connection that is away. Raises ConnectionLost where it doesn't
        come within ``seconds``; where it has ended, the next request says so."""
        if not self._line.wait_until_back(seconds):
            raise ConnectionLost(
                "the connection to the server is away",
                self._line.trouble,
                "run it again in a while: it comes back by itself",
            )

    def give_up(self, why: str) -> bool:
        """End it where the connection is away: its calls get ConnectionLost. False: it isn't."""
        return self._line.give_up(why)

    def new_id(self) -> str:
        """An id for a request that no other request has, from whatever client."""
        return f"{self._prefix}-{next(self._numbers)}"

    def request(self, message: Request, on_event: OnEvent | None = None) -> Call:
        """Send a request; ``on_event`` gets its events, also those after its end.

        Raises ConnectionLost, RequestRefused where the message is too large, what the gate raises,
        and ValueError where a request of this id is still open.
        """
        try:
            line = encode(message)
        except BadMessage as exc:
            raise RequestRefused("a request can't be sent", str(exc)) from exc
        if len(line) > MAX_LINE_BYTES:
            raise RequestRefused(
                "a request can't be sent",
                f"it has {len(line)} bytes, and a line may have {MAX_LINE_BYTES}",
                "send less at once; large data goes into a file in the workspace",
            )
        on_end = self._gate.admit(message, self._where) if self._gate else _nothing
        call = Call(message.id, on_event, on_end)
        try:
            self._register(call)
        except (ConnectionLost, ValueError) as exc:
            on_end(exc)
            raise
        # Apart from the lock of the tables: a send may have to wait, and reading must go on.
        self._line.send(message.id, line)
        return call

    def _register(self, call: Call) -> None:
        with self._lock:
            if self._lost is not None:
                raise _again(self._lost)
            if call.id in self._calls:
                raise ValueError(f"a request with the id {call.id!r} is still open")
            self._calls[call.id] = call

    def ask(self, message: Request, timeout: float | None = None) -> Any:
        """Send a request, wait for its end, return its result.

        Raises RequestRefused with the server's own words, ConnectionLost, TimeoutError.
        """
        final = self.request(message).result(timeout)
        if final.reason == "refused":
            raise RequestRefused(
                f"the server refused {message.TYPE}", str(final.result or final.code)
            )
        return final.result

    def close(self) -> None:
        """End the connection and its threads; open requests get ConnectionLost."""
        self._closed = True
        self._line.close()

    # -- the reading thread

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Final):
            self._finish(event)
            return
        if isinstance(event, Fault):
            self._complain("the server says: %s", plain(event.message))
        for handler in self._handlers(event):
            try:
                handler(event)
            except Exception:  # noqa: BLE001 - one bad event must not cost the others
                words = plain(traceback.format_exc())
                self._complain("a handler failed for %s:\n%s", event.TYPE, words)

    def _handlers(self, event: Event) -> Iterable[OnEvent]:
        with self._lock:
            if isinstance(event, Gap):  # whose lines are missing isn't known
                found = {call.on_event for call in self._calls.values() if call.on_event}
                return found or filter(None, [self._on_event])
            call = self._calls.get(event.id)
            handler = call.on_event if call else self._late.get(event.id)
        return filter(None, [handler or self._on_event])

    def _complain(self, words: str, *values: str) -> None:
        """Log what is wrong with the server; not for ever, as a log has room for so much."""
        self._complaints += 1
        if self._complaints <= MAX_COMPLAINTS:
            log.warning(words, *values)
        if self._complaints == MAX_COMPLAINTS:
            log.warning("what else is wrong with this server is not logged any more")

    def _finish(self, final: Final) -> None:
        with self._lock:
            call = self._calls.pop(final.id, None)
            if call is not None and call.on_event is not None:
                self._late[final.id] = call.on_event
                if len(self._late) > MAX_LATE_HANDLERS:
                    self._late.popitem(last=False)
        if call is None:
            self._complain("the server ended a request that isn't open: %r", final.id)
        else:
            call.end(final)

    def _end(self, lost: ConnectionLost) -> None:
        """Answer every open request, and refuse new ones."""
        if self._closed:
            lost = ConnectionLost("the connection was closed by this side")
        with self._lock:
            self._lost = lost
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            call.end(_again(lost))


def _nothing(_: Final | BaseException) -> None:
    """Where there is no gate."""


def _again(lost: ConnectionLost) -> ConnectionLost:
    """The same error as an object of its own: each raise adds its traceback to the object."""
    return ConnectionLost(lost.what, lost.why, lost.remedy)
