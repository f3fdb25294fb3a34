"""One request, from its sending to its end, as the cell's own thread sees it.

The client's reading thread puts events into a queue of bounded length; the cell's thread takes them
out and shows them, so that they belong to this cell, and questions can be asked. When the request
has ended, what still comes (a thread's prints) is shown by the reading thread itself.
"""

from __future__ import annotations

import contextlib
import getpass
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from docker_kernel.client import Client
from docker_kernel.texts import for_terminal
from docker_kernel_server import messages as wire

MAX_WAITING_EVENTS = 1000
"""Events that wait to be shown; past this the reading thread waits, and so the container."""

END_OF_INPUT = "\x04"
"""The answer that stands for Ctrl-D."""

WAKE_SECONDS = 0.2
"""How long the wait for an event is: on Windows, Ctrl-C is heard between two waits alone."""

Request = wire.SessionRequest | wire.Run


class Asking:
    """A request that is waited for; ``take`` gets its events, one at a time."""

    def __init__(
        self, client: Client, request: Request, take: Callable[[wire.Event], None]
    ) -> None:
        self._client = client
        self._request = request
        self._take = take
        # Simple queues may be filled by a signal's handler while the same thread waits for them.
        self._events: queue.SimpleQueue[wire.Event | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(MAX_WAITING_EVENTS)
        self._turn = threading.Lock()
        self._ended = False
        self._interrupts = 0

    def wait(self) -> wire.Final:
        """Send it, show what comes, and return its end. Ctrl-C interrupts it, and waits on.

        Raises ConnectionLost and RequestRefused.
        """
        call = self._client.request(self._request, self._put)
        call.future.add_done_callback(lambda _: self._events.put(None))
        try:
            with self._catching_ctrl_c():
                while not (call.future.done() and self._events.empty()):
                    self._next()
            return call.result()
        finally:
            self._end()

    def _next(self) -> None:
        try:
            event = self._events.get(timeout=WAKE_SECONDS)
        except queue.Empty:
            return
        while self._interrupts:
            self._interrupts -= 1
            self._interrupt()
        if isinstance(event, wire.InputRequest):
            self._answer(event)
        elif event is not None:
            self._take(event)
        if event is not None:
            self._room.release()

    def _end(self) -> None:
        with self._turn:
            self._ended = True
        while not self._events.empty():
            event = self._events.get()
            if event is not None:
                self._take(event)
        self._room.release()  # the reading thread may be waiting for room

    def _put(self, event: wire.Event) -> None:
        """In the client's reading thread."""
        if not self._ended:
            self._room.acquire()
        with self._turn:
            if not self._ended:
                self._events.put(event)
                return
        self._take(event)

    # -- Ctrl-C and questions

    def _interrupt(self) -> None:
        if self._client.give_up("you interrupted the wait for it; the code goes on"):
            return
        name, request = self._client.new_id(), self._request
        if isinstance(request, wire.Run):
            self._client.request(wire.Cancel(name, request.id))
        else:
            self._client.request(wire.Interrupt(name, request.session))

    @contextlib.contextmanager
    def _catching_ctrl_c(self) -> Iterator[None]:
        """SIGINT raises nothing here, or an event might be lost half-way; it becomes a request."""

        def handler(*_: Any) -> None:
            self._interrupts += 1
            self._events.put(None)

        with _handling_sigint(handler):
            yield

    def _answer(self, event: wire.InputRequest) -> None:
        question = getpass.getpass if event.password else input
        prompt = for_terminal(event.prompt) if sys.stdout.isatty() else event.prompt
        try:
            with _handling_sigint(signal.default_int_handler):
                value = question(prompt)
        except EOFError:
            value = END_OF_INPUT
        except KeyboardInterrupt:
            self._interrupt()
            return
        except NotImplementedError:  # IPython's, where there is nobody to ask
            self._interrupt()
            raise
        if isinstance(self._request, wire.SessionRequest):  # a command asks nothing
            name = self._client.new_id()
            self._client.request(wire.InputReply(name, self._request.session, event.id, value))


@contextlib.contextmanager
def _handling_sigint(handler: Any) -> Iterator[None]:
    """Let ``handler`` have SIGINT; only the main thread gets it, so elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
