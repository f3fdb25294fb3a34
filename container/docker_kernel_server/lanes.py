"""Where a worker's requests run, one after another: in the main shell, or in a subshell.

The main lane runs in the main thread, which Ctrl-C reaches and some libraries insist on. Each
subshell has a thread and an event loop of its own, so that it answers while a cell is running.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, Callable, Coroutine, Deque, Iterator, Optional, Set

from .messages import CommRequest, Request
from .shells import SUBSHELL_THREAD

Handle = Callable[[Request], Coroutine[Any, Any, None]]


class Lane:
    """Handles requests in ``loop``, in order, until None comes or ``ended`` says so.

    Comm messages don't wait for a cell that awaits: it may be a widget's answer that it waits for.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, handle: Handle, ended: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._ended = ended
        self._requests: Deque[Optional[Request]] = deque()
        self._wanted: Optional[asyncio.Future[None]] = None
        self._busy = False
        self._beside: Set[asyncio.Task[None]] = set()

    def put(self, request: Optional[Request]) -> None:
        """Add to what is to be handled. Any thread may call it."""
        self._loop.call_soon_threadsafe(self._enqueue, request)

    async def serve(self) -> None:
        """Handle requests to the end."""
        while not self._ended():
            try:
                request = await self._next()
                if request is None:
                    return
                self._busy = True
                self._let_comms_through()
                await self._handle(request)
            except asyncio.CancelledError:
                # An interrupt of a cell that had just ended by itself.
                continue
            finally:
                self._busy = False

    def _enqueue(self, request: Optional[Request]) -> None:
        self._requests.append(request)
        if self._busy:
            self._let_comms_through()
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def _let_comms_through(self) -> None:
        """Begin with the comm messages as soon as the cell awaits something, or has ended."""
        for request in [item for item in self._requests if isinstance(item, CommRequest)]:
            self._requests.remove(request)
            task = self._loop.create_task(self._handle(request))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)

    async def _next(self) -> Optional[Request]:
        # Their turn was before that of what came after them.
        while self._beside:
            await asyncio.wait(self._beside)
        while not self._requests:
            self._wanted = self._loop.create_future()
            await self._wanted
        return self._requests.popleft()


def running(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[None]") -> Iterator[None]:
    """One round for each time that the loop must be run: the person's code may stop it."""
    task.add_done_callback(lambda _: loop.stop())
    while not task.done():
        yield


def start_subshell(name: str, handle: Handle, ended: Callable[[], bool]) -> Lane:
    """A lane with a thread of its own. RuntimeError where there can be no further thread."""
    loop = asyncio.new_event_loop()
    lane = Lane(loop, handle, ended)

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            for _ in running(loop, loop.create_task(lane.serve())):
                loop.run_forever()
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    try:
        threading.Thread(target=run, name=SUBSHELL_THREAD + name, daemon=True).start()
    except RuntimeError:
        loop.close()
        raise
    return lane
