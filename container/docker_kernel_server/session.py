"""A session's life: fork, cells, death, restart.

A session is a name, a worker process behind it, and the requests that the worker hasn't answered.
Its events go to the connection that opened it last, its ``sink``; it outlives connections. All of
this runs on the server's event loop and changes state between awaits only, so it needs no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from dataclasses import replace
from typing import Any, Callable, Coroutine, Optional, Set

from .deaths import Death, look_into
from .errors import LineTooLong, ProtocolError, RequestRefused
from .framing import LONG_CHARS, MAX_LINE_BYTES, load_line, type_at_sight
from .links import WorkerLink, ZygoteLink
from .message import Json
from .messages import (
    Chunk,
    ClearOutput,
    CloseSession,
    CommClose,
    CommMsg,
    CommOpen,
    Display,
    Error,
    Event,
    Execute,
    Final,
    InputReply,
    InputRequest,
    Interrupt,
    Request,
    Result,
    SessionDied,
    UpdateDisplay,
    encode,
    parse_event,
)
from .pending import INTERRUPT_STATUS, TIMEOUT_STATUS, Answer, Control, Pending, Queue
from .shortage import Shortages, Watches, of_error

log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long a session may take to start; for the first one IPython's import is in it."""

CLOSE_SECONDS = 0.5
"""How long an idle session's exit handlers may take."""

EXIT_SECONDS = 5.0
"""How long they may take where the person typed exit."""

LEFT = "the session ended, as exit was typed"

START_TRIES = 3
"""The process that starts sessions may die before it has started one."""

EVENTS = frozenset(
    event.TYPE
    for event in (
        Chunk,
        Display,
        UpdateDisplay,
        ClearOutput,
        Result,
        Error,
        InputRequest,
        CommOpen,
        CommMsg,
        CommClose,
    )
)
"""What a worker may send. It runs the person's code, and so is believed no more than this."""

STUBBORN = (
    "The cell has not stopped yet. Interrupt again to end its process; "
    "its variables are lost then.\n"
)


class Sink:
    """Where a session's events go: as much of a client as a session has to know."""

    @property
    def blocked(self) -> bool:
        """Whether who sends should wait until the client has read."""
        raise NotImplementedError

    def send(self, line: bytes) -> None:
        """Send a line, or keep it until the client reads on."""
        raise NotImplementedError


class Session(Control):
    """See the module's docstring. ``zygote`` gives the process that it is forked from."""

    def __init__(self, name: str, zygote: Callable[[], ZygoteLink], watches: Watches) -> None:
        self.name = name
        self.sink: Optional[Sink] = None
        self.info: Json = {}
        self._zygote = zygote
        self._link: Optional[WorkerLink] = None
        # Whatever may bring output: the worker, and what earlier ones have left, as it is ended.
        self._links: Set[WorkerLink] = set()
        self._task: "Optional[asyncio.Task[None]]" = None
        self._ready: "asyncio.Future[Json]"
        self._exited: "asyncio.Future[None]"
        self._stopping = False
        self._failure = ""
        self._lost = ""
        self._queue = Queue(self)
        self._shortages = Shortages(watches)

    # -- requests

    def open(self, request: Request, answer: Answer, sink: Sink) -> None:
        """Send the session's events to ``sink`` from now on; start it where there is none yet."""
        self.sink = sink
        # The worker may wait for the client before, who doesn't read.
        self.resume()
        if self._link is not None and self._task is None:
            answer(Final(request.id, 0, result={"new": False, **self.info}))
        else:
            self._change(self._open_for(request, answer))

    def restart(self, request: Request, answer: Answer) -> None:
        """A fresh worker under the same name."""
        self._drop_unsent("the session was restarted")
        self._change(self._restart_for(request, answer))

    def end(self, request: Request, answer: Answer) -> None:
        """No worker any more; the last thing that is asked of a session."""
        self._drop_unsent("the session was closed")
        self._change(self._close_for(request, answer))

    def submit(self, request: Request, answer: Answer) -> None:
        """Give a request to the worker, in the order of arrival."""
        item = self._queue.add(request, answer)
        if self._link is not None and self._task is None:
            self._forward(item)
        # A change that is under way sends at its end what waits for it.
        elif self._task is None:
            self._change(self._start())

    def reply_to_input(self, request: InputReply) -> None:
        """An answer to input()."""
        if self._link is not None:
            self._link.send(encode(request))

    def interrupt(self) -> bool:
        """Ctrl-C to what is running; say whether anything was."""
        return self._queue.interrupt()

    @property
    def failed(self) -> bool:
        """Whether it has never run, and nothing is under way that would change that."""
        return not self.info and self._task is None

    def status(self) -> Json:
        """A line of the server's status."""
        return {
            "name": self.name,
            "pid": self._link.pid if self._link else None,
            "shell": self.info.get("shell"),
            "busy": len(self._queue) > 0,
            "attached": self.sink is not None,
        }

    # -- flow

    def resume(self) -> None:
        """The client reads again."""
        for link in self._links:
            link.resume()

    def detach(self) -> None:
        """The connection is gone. The code goes on."""
        self.sink = None
        self.resume()

    # -- start and end

    def _change(self, step: Coroutine[Any, Any, None]) -> None:
        """Do a start, restart or close after those under way; then send what has waited."""
        before = self._task

        async def run() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await step
            finally:
                if self._task is task:
                    self._task = None
                    self._send_unsent()

        task = self._task = asyncio.get_running_loop().create_task(run())

    async def _open_for(self, request: Request, answer: Answer) -> None:
        new = self._link is None
        await self._start()
        if self._link is None:
            why = self._failure or self._lost
            answer(Final(request.id, 1, "refused", why, code=RequestRefused.code))
        else:
            if new:
                self._lost = ""  # the answer says so, and session_died has said why
            answer(Final(request.id, 0, result={"new": new, **self.info}))

    async def _restart_for(self, request: Request, answer: Answer) -> None:
        await self._stop("the session was restarted")
        await self._open_for(request, answer)

    async def _close_for(self, request: Request, answer: Answer) -> None:
        await self._stop("the session was closed")
        self.detach()
        answer(Final(request.id, 0))

    async def _start(self) -> None:
        """Have a worker that is ready, or say in ``_failure`` why there is none."""
        if self._link is not None:
            return
        self._failure = ""
        self._shortages.begin()
        try:
            for _ in range(START_TRIES - 1):
                with contextlib.suppress(ConnectionError):
                    # Else the zygote has died since it was last used; now there is a fresh one.
                    await asyncio.wait_for(self._launch(), START_SECONDS)
                    return
            await asyncio.wait_for(self._launch(), START_SECONDS)
        except asyncio.TimeoutError:  # since Python 3.11 this is an OSError
            self._failure = f"the session was not ready after {START_SECONDS:.0f} s"
            await self._stop(self._failure)
        except (OSError, RequestRefused) as exc:
            self._failure = f"the session could not be started: {self._why_not(exc)}"

    def _why_not(self, exc: Exception) -> str:
        if self._shortages.killed_now():
            return f"{exc} {self._shortages.why_killed()}"
        found = self._shortages.of_processes()
        if found in str(exc):  # it's said already, or there is nothing to say
            found = ""
        return ". ".join([str(exc), *([found] if found else of_error(str(exc)))])

    async def _launch(self) -> None:
        zygote = self._zygote()
        self._ready = asyncio.get_running_loop().create_future()
        self._exited = asyncio.get_running_loop().create_future()
        self._stopping = False
        link = WorkerLink(self._on_line, self._on_text, self._on_exit, self._links.discard)
        self._link = link
        self._links.add(link)
        try:
            await zygote.fork(link)
        except BaseException:
            # Where there is a keeper yet, it sees this, and ends.
            self._link = None
            self._links.discard(link)
            link.close()
            raise
        self.info = {**await self._ready, "pid": link.pid}

    async def _leave(self) -> None:
        """After exit or quit: what comes next is for a fresh worker."""
        await self._stop(LEFT, EXIT_SECONDS)
        if self._queue.unsent:
            self._lost = f"{LEFT}; its variables are lost"
            await self._start()
        else:
            self._emit(SessionDied("", self.name, "exit", LEFT))

    async def _stop(self, why: str, patience: float = CLOSE_SECONDS) -> None:
        """End the worker, politely where it is idle, and answer what it was asked."""
        self._lost = ""
        link = self._link
        if link is None:
            return
        self._stopping = True
        running = list(self._queue.sent)
        if not running:
            link.send(encode(CloseSession("close", self.name)))
            await asyncio.wait([self._exited], timeout=patience)
        link.signal(signal.SIGKILL)
        await self._exited
        for item in running:
            self._queue.finish(item, Final(item.request.id, 1, "closed", why))

    def _send_unsent(self) -> None:
        for item in self._queue.unsent:
            if self._link is None:
                why = self._failure or self._lost
                failed = Final(item.request.id, 1, "refused", why, code=RequestRefused.code)
                self._queue.finish(item, failed)
            else:
                self._forward(item)

    def _drop_unsent(self, why: str) -> None:
        """Answer what waits for a start; what comes from now on is for the next worker."""
        for item in self._queue.unsent:
            self._queue.finish(item, Final(item.request.id, 1, "closed", why))

    def _on_exit(self, link: WorkerLink, status: int) -> None:
        if self._link is not link:  # its start took too long, and was given up
            return
        self._link = None
        if not self._stopping or not self._ready.done():
            self._on_death(look_into(status, self._queue, self._shortages))
        self._exited.set_result(None)

    def _on_death(self, death: Death) -> None:
        if not self._ready.done():
            self._ready.set_exception(RequestRefused(f"its process {death.how}"))
            return
        running = list(self._queue.sent)
        self._emit(death.event(self.name))
        for item in running:
            self._queue.finish(item, death.final(item))
        if not running:
            self._lost = death.detail

    # -- cells

    def _forward(self, item: Pending) -> None:
        if not any(self._queue.sent):
            self._shortages.begin()
        if self._lost and isinstance(item.request, Execute):
            text = f"{self._lost[0].upper()}{self._lost[1:]}.\n"
            self._emit(Chunk(item.request.id, text, "stderr"))
            self._lost = ""
        line = encode(item.request)
        if len(line) > MAX_LINE_BYTES:
            why = "the request is too large: what isn't ASCII takes more room on its way on"
            failed = Final(item.request.id, 1, "refused", why, code=LineTooLong.code)
            self._queue.finish(item, failed)
            return
        if self._link is not None:
            self._link.send(line)
        self._queue.mark_sent(item)

    def signal(self, request: Request, number: int) -> None:
        if self._link is not None:
            if number == signal.SIGINT:
                # The line is for a cell that the worker has not begun, the signal for one that it
                # has.
                self._link.send(encode(Interrupt(request.id, self.name)))
            self._link.signal(number)

    def tell_stubborn(self, request: Request) -> None:
        self._emit(Chunk(request.id, STUBBORN, "stderr"))

    def _on_text(self, cell: str, stream: str, text: str) -> None:
        self._emit(Chunk(cell, text, stream))

    def _emit(self, event: Event) -> None:
        self._send(encode(event))

    def _send(self, line: bytes) -> None:
        if self.sink is None:
            return
        self.sink.send(line)
        if self.sink.blocked:
            for link in self._links:
                link.pause()

    def _on_line(self, line: bytes) -> None:
        # What is to be passed on needn't be read: who reads it takes nothing for granted either.
        if len(line) > LONG_CHARS and type_at_sight(line) in EVENTS:
            self._send(line)
            return
        try:
            event = load_line(line)
            kind = event.get("type")
            if kind == "ready" and not self._ready.done():
                self._ready.set_result(event["info"])
            elif kind == "final":
                self._on_final(parse_event(event))
            elif isinstance(kind, str) and kind in EVENTS:
                self._send(line)
        except (ProtocolError, KeyError) as exc:
            # The person's code has written to the worker's wire. It harms nobody but its own cell.
            log.warning("session %r: a bad line: %r", self.name, exc)

    def _on_final(self, final: Event) -> None:
        item = self._queue.get(final.id)
        if item is None or not isinstance(final, Final):
            return
        if item.timed_out:
            final = replace(final, status=TIMEOUT_STATUS, reason="timeout")
        elif final.reason == "interrupt":
            final = replace(final, status=INTERRUPT_STATUS)
        if isinstance(item.request, Execute) and isinstance(final.result, dict):
            count = final.result.get("execution_count")
            if isinstance(count, int):
                self.info["execution_count"] = count + 1
            if _asks_exit(final.result.get("payload")):
                self._stopping = True
                self._change(self._leave())
        if isinstance(item.request, Execute):
            for text in self._shortages.take(final.result):
                self._emit(Chunk(final.id, f"{text}\n", "stderr"))
        self._queue.finish(item, final)


def _asks_exit(payload: Any) -> bool:
    """Whether a cell asked for the session's end, by exit or quit."""
    return isinstance(payload, list) and any(
        isinstance(item, dict) and item.get("source") == "ask_exit" and not item.get("keepkernel")
        for item in payload
    )
