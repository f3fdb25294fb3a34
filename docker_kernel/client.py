"""The one client of the protocol: for the kernel, the magics, the tools and plain scripts.

Any thread may send. One thread reads, and calls the handlers: a handler that is slow slows the
reading, TCP slows the server, and nothing piles up in between.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from docker_kernel_server.errors import BadMessage
from docker_kernel_server.framing import MAX_LINE_BYTES
from docker_kernel_server.messages import Event, Fault, Final, Request, encode

from .backends import Endpoint
from .deadline import Deadline
from .errors import ConnectionLost, RequestRefused
from .transport import Link, connect

MAX_LATE_HANDLERS = 1000
"""For so many finished requests the handler is kept, for threads that print after their cell."""

CLOSE_SECONDS = 2.0
"""How long `close` waits for the reading thread."""

DYING_SECONDS = 1.0
"""How long to wait, after a connection broke, for the end of its server to show."""
LOOK_SECONDS = 0.05

OnEvent = Callable[[Event], None]

log = logging.getLogger(__name__)


class Call:
    """A request that was sent. `future` gets its `Final`, or ConnectionLost."""

    def __init__(self, request_id: str, on_event: OnEvent | None) -> None:
        self.id = request_id
        self.on_event = on_event
        self.future: Future[Final] = Future()
        # A waiter that gives up (an asyncio task that is cancelled) must not take the future along.
        self.future.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> Final:
        """Wait for the end. Raises ConnectionLost, and TimeoutError after ``timeout`` seconds."""
        try:
            return self.future.result(timeout)
        except FutureTimeout as exc:  # another class than TimeoutError before Python 3.11
            raise TimeoutError(f"no end of the request in {timeout:g} s") from exc


class Client:
    """A connection to a server, with the handshake done.

    ``on_event`` gets the events that no request's own handler takes. ``why_lost`` is asked why the
    server is gone when the connection breaks; "" where it isn't, and then it is asked again for a
    moment. Both are called in the reading thread, as the handlers of requests are.
    """

    def __init__(
        self,
        link: Link,
        on_event: OnEvent | None = None,
        why_lost: Callable[[], str] = lambda: "",
    ) -> None:
        self.server = link.protocol.server
        self._stream = link.stream
        self._protocol = link.protocol
        self._on_event = on_event
        self._why_lost = why_lost
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._calls: dict[str, Call] = {}
        self._late: OrderedDict[str, OnEvent] = OrderedDict()
        self._prefix, self._numbers = secrets.token_hex(4), itertools.count(1)
        self._closed = False
        self._lost: ConnectionLost | None = None
        self._reader = threading.Thread(
            target=self._read, args=(link.early,), name="docker-kernel reader", daemon=True
        )
        self._reader.start()

    @classmethod
    def connect(
        cls,
        endpoint: Endpoint,
        deadline: Deadline,
        on_event: OnEvent | None = None,
        why_lost: Callable[[], str] = lambda: "",
    ) -> Client:
        """Connect to a server; see `transport.connect` for what it raises."""
        return cls(connect(endpoint, deadline, why_lost), on_event, why_lost)

    @property
    def connected(self) -> bool:
        """Whether requests can be sent."""
        return self._lost is None

    def new_id(self) -> str:
        """An id for a request that no other request has, from whatever client."""
        return f"{self._prefix}-{next(self._numbers)}"

    def request(self, message: Request, on_event: OnEvent | None = None) -> Call:
        """Send a request; ``on_event`` gets its events, also those after its end.

        Raises ConnectionLost, RequestRefused where the message is too large, and ValueError where a
        request of this id is still open.
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
        call = Call(message.id, on_event)
        with self._lock:
            if self._lost is not None:
                raise _again(self._lost)
            if message.id in self._calls:
                raise ValueError(f"a request with the id {message.id!r} is still open")
            self._calls[message.id] = call
        # Apart from the lock of the tables: a send may have to wait, and reading must go on.
        try:
            with self._sending:
                self._stream.send(line)
        except ConnectionLost:
            # The reading thread sees the same end, and answers this call with all the others.
            log.debug("the connection broke while %s was sent", message.TYPE)
        return call

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
        """End the connection and the reading thread; open requests get ConnectionLost."""
        self._closed = True
        self._stream.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(CLOSE_SECONDS)

    # -- the reading thread

    def _read(self, early: list[Event]) -> None:
        try:
            for event in early:
                self._dispatch(event)
            while data := self._stream.receive():
                for event in self._protocol.receive(data):
                    self._dispatch(event)
            self._end(ConnectionLost(f"the server at {self._stream.peer} closed the connection"))
        except ConnectionLost as exc:
            self._end(exc)
        except Exception as exc:
            log.exception("reading from the server failed")
            self._end(ConnectionLost("reading from the server failed", str(exc)))

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Final):
            self._finish(event)
            return
        if isinstance(event, Fault):
            log.warning("the server says: %s", event.message)
        with self._lock:
            call = self._calls.get(event.id)
            handler = call.on_event if call else self._late.get(event.id)
        handler = handler or self._on_event
        if handler is None:
            return
        try:
            handler(event)
        except Exception:
            # One bad event must not cost the others.
            log.exception("a handler failed for %s", event.TYPE)

    def _finish(self, final: Final) -> None:
        with self._lock:
            call = self._calls.pop(final.id, None)
            if call is not None and call.on_event is not None:
                self._late[final.id] = call.on_event
                if len(self._late) > MAX_LATE_HANDLERS:
                    self._late.popitem(last=False)
        if call is None:
            log.warning("the server ended a request that isn't open: %r", final.id)
        else:
            call.future.set_result(final)

    def _end(self, lost: ConnectionLost) -> None:
        """Answer every open request, and refuse new ones."""
        if self._closed:
            lost = ConnectionLost("the connection was closed by this side")
        with self._lock:
            self._lost = lost
        self._stream.close()
        if not self._closed:
            lost = self._explain(lost)
        with self._lock:
            self._lost = lost
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            call.future.set_exception(_again(lost))

    def _explain(self, lost: ConnectionLost) -> ConnectionLost:
        # A server that dies hangs up first; its container, or its process, ends a moment later.
        patience = Deadline(DYING_SECONDS)
        while not (why := self._why_lost()) and not self._closed and not patience.expired:
            time.sleep(LOOK_SECONDS)
        if why:
            return ConnectionLost(
                lost.what, why, "run it again: that begins anew, without variables"
            )
        remedy = "run it again: that connects again; what ran on the server may still run"
        return ConnectionLost(lost.what, lost.why or "the server still runs", remedy)


def _again(lost: ConnectionLost) -> ConnectionLost:
    """The same error as an object of its own: each raise adds its traceback to the object."""
    return ConnectionLost(lost.what, lost.why, lost.remedy)
