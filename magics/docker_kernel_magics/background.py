"""A cell or command that runs on while the notebook goes on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from docker_kernel.client import Call, Client
from docker_kernel_server import messages as wire

MAX_KEPT_CHARS = 16 * 1024 * 1024
"""Output that is kept; past it the oldest goes, and `Background.lost` counts it."""


class Background:
    """What a cell with ``--background`` gives: its output so far, its end, and a way to stop it.

    `show` shows all that has come. `stdout` and `stderr` are the text alone.
    """

    def __init__(self, client: Client, request: wire.Execute | wire.Run, what: str) -> None:
        self.lost = 0
        self._client = client
        self._request = request
        self._what = what
        self._lock = threading.Lock()
        self._events: deque[wire.Event] = deque()
        self._kept = 0
        self._call: Call = client.request(request, self._keep)
        self._take: Callable[[wire.Event], None]

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._call.future.done()

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        """What it has printed to stderr so far."""
        return self._text("stderr")

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the end, at most ``timeout`` seconds; how it ended: ok, error, timeout …

        Raises TimeoutError, and ConnectionLost where the server is gone.
        """
        return self._call.result(timeout).reason

    def interrupt(self) -> None:
        """Ctrl-C."""
        name = self._client.new_id()
        if isinstance(self._request, wire.Run):
            self._client.request(wire.Cancel(name, self._request.id))
        else:
            self._client.request(wire.Interrupt(name, self._request.session))

    def events(self) -> list[wire.Event]:
        """What has come and is kept."""
        with self._lock:
            return list(self._events)

    def __repr__(self) -> str:
        state = f"ended: {self._call.result().reason}" if self.done else "runs"
        return f"<{self._what} in the background, {state}; .stdout .stderr .wait() .interrupt()>"

    def _text(self, stream: str) -> str:
        chunks = [event for event in self.events() if isinstance(event, wire.Chunk)]
        return "".join(chunk.data for chunk in chunks if chunk.stream == stream)

    def _keep(self, event: wire.Event) -> None:
        with self._lock:
            self._events.append(event)
            self._kept += _size(event)
            while self._kept > MAX_KEPT_CHARS and len(self._events) > 1:
                size = _size(self._events.popleft())
                self._kept -= size
                self.lost += size


def _size(event: wire.Event) -> int:
    return len(wire.encode(event))
