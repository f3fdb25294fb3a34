"""A session's life: fork, cells, interrupt, timeout, death, restart.

A session is a name, a worker process behind it, and the requests that the worker hasn't answered.
Its events go to the connection that opened it last, its ``sink``; it outlives connections. All of
this runs on the server's event loop and changes state between awaits only, so it needs no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Coroutine, Dict, List, Optional

from .errors import ProtocolError, RequestRefused
from .framing import load_line
from .links import WorkerLink, ZygoteLink
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
    Json,
    OpenSession,
    Request,
    RestartSession,
    Result,
    SessionDied,
    SessionRequest,
    UpdateDisplay,
    encode,
    parse_event,
)

log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long a session may take to start; for the first one IPython's import is in it."""

CLOSE_SECONDS = 0.5
"""How long an idle session's exit handlers may take."""

TIMEOUT_GRACE_SECONDS = 2.0
"""How long a cell may go on after the Ctrl-C that a timeout sends; then its process is killed."""

INTERRUPT_PATIENCE_SECONDS = 2.0
"""From here on a further interrupt of the same cell kills its process."""

STOP_SECONDS = 2.0
"""How long the sessions may take to end when the server stops; then they are killed."""

MAX_SESSIONS = 1000

MAX_LINGERING_WORKERS = 16
"""Ended workers of a session whose background processes go on to print; the oldest is cut off."""

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

TIMEOUT_STATUS = 124
INTERRUPT_STATUS = 130

STUBBORN = (
    "The cell has not stopped yet. Interrupt again to end its process; "
    "its variables are lost then.\n"
)

Answer = Callable[[Final], None]


class Sink:
    """Where a session's events go: as much of a connection as a session has to know."""

    blocked = False

    def send(self, line: bytes) -> None:
        """Send a line, or keep it until the client reads on."""
        raise NotImplementedError


@dataclass
class Pending:
    """A request that waits for the worker."""

    request: Request
    answer: Answer
    since: float
    timer: Optional[asyncio.TimerHandle] = None
    timed_out: bool = False
    killed: str = ""
    interrupted_at: Optional[float] = None


class Session:
    """See the module's docstring."""

    def __init__(self, name: str, sessions: "Sessions") -> None:
        self.name = name
        self.sink: Optional[Sink] = None
        self.info: Json = {}
        self._sessions = sessions
        self._link: Optional[WorkerLink] = None
        self._lingering: List[WorkerLink] = []
        self._task: "Optional[asyncio.Task[None]]" = None
        self._ready: "asyncio.Future[Json]"
        self._exited: "asyncio.Future[None]"
        self._stopping = False
        self._failure = ""
        self._lost = ""
        self._pending: Dict[str, Pending] = {}
        self._backlog: List[Request] = []

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
        self._drop_backlog("the session was restarted")
        self._change(self._restart_for(request, answer))

    def end(self, request: Request, answer: Answer) -> None:
        """No worker any more; the last thing that is asked of a session."""
        self._drop_backlog("the session was closed")
        self._change(self._close_for(request, answer))

    def submit(self, request: Request, answer: Answer) -> None:
        """Give a request to the worker, in the order of arrival."""
        if request.id in self._pending:
            raise RequestRefused(f"a request with the id {request.id!r} is still running")
        item = self._pending[request.id] = Pending(request, answer, time.monotonic())
        if self._link is None or self._task is not None:
            self._backlog.append(request)
            # A change that is under way sends the backlog at its end.
            if self._task is None:
                self._change(self._start())
        else:
            self._forward(item)

    def reply_to_input(self, request: InputReply) -> None:
        """An answer to input()."""
        if self._link is not None:
            self._link.send(encode(request))

    def interrupt(self) -> bool:
        """Ctrl-C to what is running; say whether anything was."""
        for request in self._backlog:
            item = self._pending[request.id]
            self._backlog.remove(request)
            self._finish(item, Final(request.id, INTERRUPT_STATUS, "interrupt"))
            return True
        head = self._head()
        if head is None or self._link is None:
            return False
        now = time.monotonic()
        if head.interrupted_at is None:
            head.interrupted_at = now
            loop = asyncio.get_running_loop()
            loop.call_later(INTERRUPT_PATIENCE_SECONDS, self._tell_stubborn, head)
        elif now - head.interrupted_at >= INTERRUPT_PATIENCE_SECONDS:
            self._kill(head, "a further interrupt")
            return True
        self._interrupt(head)
        return True

    def status(self) -> Json:
        """A line of the server's status."""
        return {
            "name": self.name,
            "pid": self._link.pid if self._link else None,
            "shell": self.info.get("shell"),
            "busy": bool(self._pending),
            "attached": self.sink is not None,
        }

    # -- flow

    def resume(self) -> None:
        """The client reads again."""
        for link in self._links():
            link.resume()

    def detach(self) -> None:
        """The connection is gone. The code goes on."""
        self.sink = None
        self.resume()

    def _links(self) -> List[WorkerLink]:
        """Whatever may bring output."""
        return [*self._lingering, *([self._link] if self._link is not None else [])]

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
                    self._flush_backlog()

        task = self._task = asyncio.get_running_loop().create_task(run())

    async def _open_for(self, request: Request, answer: Answer) -> None:
        new = self._link is None
        await self._start()
        if self._link is None:
            answer(Final(request.id, 1, "refused", self._failure, code=RequestRefused.code))
        else:
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
        try:
            try:
                await asyncio.wait_for(self._launch(), START_SECONDS)
            except ConnectionError:
                # The zygote has died since it was last used; now there is a fresh one.
                await asyncio.wait_for(self._launch(), START_SECONDS)
        except asyncio.TimeoutError:  # since Python 3.11 this is an OSError
            self._failure = f"the session was not ready after {START_SECONDS:.0f} s"
            await self._stop(self._failure)
        except (OSError, RequestRefused) as exc:
            self._failure = f"the session could not be started: {exc}"

    async def _launch(self) -> None:
        zygote = self._sessions.zygote()
        self._ready = asyncio.get_running_loop().create_future()
        self._exited = asyncio.get_running_loop().create_future()
        self._stopping = False
        wire, their_wire = socket.socketpair()
        pipes, their_pipes = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        link = self._link = WorkerLink(wire, pipes, self._on_line, self._on_text, self._on_exit)
        try:
            with their_wire, their_pipes:
                await zygote.fork(self.name, their_wire, their_pipes, link)
        except BaseException:
            # A worker that is forked yet finds its wire closed, and ends.
            self._link = None
            link.close()
            raise
        self.info = {**await self._ready, "pid": link.pid}

    async def _stop(self, why: str) -> None:
        """End the worker, politely where it is idle, and answer what it was asked."""
        self._lost = ""
        link = self._link
        if link is None:
            return
        self._stopping = True
        running = self._running()
        if not running:
            link.send(encode(CloseSession("close", self.name)))
            await asyncio.wait([self._exited], timeout=CLOSE_SECONDS)
        link.signal(signal.SIGKILL)
        await self._exited
        for item in running:
            self._finish(item, Final(item.request.id, 1, "closed", why))

    def _running(self) -> List[Pending]:
        """The requests that the worker has, in order."""
        waiting = {request.id for request in self._backlog}
        return [item for key, item in self._pending.items() if key not in waiting]

    def _flush_backlog(self) -> None:
        backlog, self._backlog = self._backlog, []
        for request in backlog:
            item = self._pending.get(request.id)
            if item is None:
                continue
            if self._link is None:
                why = self._failure or self._lost
                failed = Final(request.id, 1, "refused", why, code=RequestRefused.code)
                self._finish(item, failed)
            else:
                self._forward(item)

    def _drop_backlog(self, why: str) -> None:
        """Answer what waits for a start; what comes from now on is for the next worker."""
        backlog, self._backlog = self._backlog, []
        for request in backlog:
            self._finish(self._pending[request.id], Final(request.id, 1, "closed", why))

    def _on_exit(self, link: WorkerLink, status: int) -> None:
        link.end()
        # What the worker started in its own group ends with it.
        link.signal_group(signal.SIGKILL)
        self._lingering = [item for item in [*self._lingering, link] if item.lingers]
        if len(self._lingering) > MAX_LINGERING_WORKERS:
            self._lingering.pop(0).close()
        if self._link is not link:  # its start took too long, and was given up
            return
        self._link = None
        if not self._ready.done():
            self._ready.set_exception(RequestRefused(f"its process {_ending(status)}"))
        elif not self._stopping:
            self._report_death(status)
        self._exited.set_result(None)

    def _report_death(self, status: int) -> None:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = 0 if number else os.WEXITSTATUS(status)
        running = self._running()
        ending = next((item.killed for item in running if item.killed), _ending(status))
        detail = f"the session's process {ending}; its variables are lost"
        self._emit(SessionDied("", self.name, "signal" if number else "exit", detail))
        result = {"detail": detail, "signal": number or None, "exit_code": None if number else code}
        for item in running:
            if item.timed_out:
                final = Final(item.request.id, TIMEOUT_STATUS, "timeout", result)
            else:
                final = Final(
                    item.request.id, 128 + number if number else code or 1, "died", result
                )
            self._finish(item, final)
        if not running:
            self._lost = detail

    # -- cells

    def _forward(self, item: Pending) -> None:
        if self._lost and isinstance(item.request, Execute):
            text = f"{self._lost[0].upper()}{self._lost[1:]}.\n"
            self._emit(Chunk(item.request.id, text, "stderr"))
            self._lost = ""
        if self._link is not None:
            self._link.send(encode(item.request))
        self._arm()

    def _arm(self) -> None:
        """Start the clock of the request that the worker is at now."""
        head = self._head()
        if head is None or head.timer is not None or not isinstance(head.request, Execute):
            return
        if head.request.timeout is not None:
            loop = asyncio.get_running_loop()
            head.timer = loop.call_later(head.request.timeout, self._time_out, head)

    def _head(self) -> Optional[Pending]:
        return next(iter(self._running()), None)

    def _time_out(self, item: Pending) -> None:
        item.timed_out = True
        loop = asyncio.get_running_loop()
        item.timer = loop.call_later(TIMEOUT_GRACE_SECONDS, self._kill, item, "its timeout")
        self._interrupt(item)

    def _kill(self, item: Pending, why: str) -> None:
        if self._link is not None and item is self._head():
            item.killed = f"was ended by {why}, as the cell went on after Ctrl-C"
            self._link.signal(signal.SIGKILL)

    def _interrupt(self, item: Pending) -> None:
        if self._link is not None:
            # The line is for a cell that the worker has not begun, the signal for one that it has.
            self._link.send(encode(Interrupt(item.request.id, self.name)))
            self._link.signal(signal.SIGINT)

    def _tell_stubborn(self, item: Pending) -> None:
        if item is self._head():
            self._emit(Chunk(item.request.id, STUBBORN, "stderr"))

    def _on_text(self, cell: str, stream: str, text: str) -> None:
        self._emit(Chunk(cell, text, stream))

    def _emit(self, event: Event) -> None:
        self._send(encode(event))

    def _send(self, line: bytes) -> None:
        if self.sink is None:
            return
        self.sink.send(line)
        if self.sink.blocked:
            for link in self._links():
                link.pause()

    def _on_line(self, line: bytes) -> None:
        try:
            event = load_line(line)
            kind = event.get("type")
            if kind == "ready" and not self._ready.done():
                self._ready.set_result(event["info"])
            elif kind == "final":
                self._on_final(parse_event(event))
            elif isinstance(kind, str) and kind in EVENTS:
                self._send(line + b"\n")
        except (ProtocolError, KeyError) as exc:
            # The person's code has written to the worker's wire. It harms nobody but its own cell.
            log.warning("session %r: a bad line: %r", self.name, exc)

    def _on_final(self, final: Event) -> None:
        item = self._pending.get(final.id)
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
        self._finish(item, final)

    def _finish(self, item: Pending, final: Final) -> None:
        self._pending.pop(item.request.id, None)
        if item.timer is not None:
            item.timer.cancel()
        if final.seconds is None:
            final = replace(final, seconds=time.monotonic() - item.since)
        item.answer(final)
        self._arm()


class Sessions:
    """All sessions of a server, and the zygote that they come from."""

    def __init__(self, python: str, lent: str, workplace: str) -> None:
        self._start_zygote = functools.partial(ZygoteLink, python, lent, workplace)
        self._zygote: Optional[ZygoteLink] = None
        self._sessions: Dict[str, Session] = {}

    def zygote(self) -> ZygoteLink:
        """The zygote; started here if there is none."""
        if self._zygote is None:
            self._zygote = self._start_zygote(self._zygote_ended)
        return self._zygote

    def handle(self, request: SessionRequest, answer: Answer, sink: Sink) -> None:
        """Serve a request to a session. `RequestRefused` where it can't be served."""
        session = self._sessions.get(request.session)
        if isinstance(request, OpenSession):
            session = session or self._add(request.session)
            session.open(request, answer, sink)
        elif session is None:
            raise RequestRefused(f"there is no session {request.session!r}; open it first")
        elif session.sink is not sink:
            raise RequestRefused(
                f"session {request.session!r} is used by another connection; open it again first"
            )
        elif isinstance(request, RestartSession):
            session.restart(request, answer)
        elif isinstance(request, CloseSession):
            del self._sessions[request.session]
            session.end(request, answer)
        elif isinstance(request, Interrupt):
            answer(Final(request.id, 0, result={"running": session.interrupt()}))
        elif isinstance(request, InputReply):
            session.reply_to_input(request)
            answer(Final(request.id, 0))
        else:
            session.submit(request, answer)

    def status(self) -> List[Json]:
        """A line for each session."""
        return [session.status() for session in self._sessions.values()]

    def of(self, sink: Sink) -> List[Session]:
        """The sessions whose events go to ``sink``."""
        return [session for session in self._sessions.values() if session.sink is sink]

    async def close(self) -> None:
        """End every session, and the zygote."""
        waits: "List[asyncio.Future[Final]]" = []
        for session in self._sessions.values():
            ended: "asyncio.Future[Final]" = asyncio.get_running_loop().create_future()
            session.end(CloseSession("close", session.name), ended.set_result)
            waits.append(ended)
        self._sessions.clear()
        if waits:  # not for ever: one may still be waiting for its start
            await asyncio.wait(waits, timeout=STOP_SECONDS)
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    def _add(self, name: str) -> Session:
        if len(self._sessions) >= MAX_SESSIONS:
            raise RequestRefused(f"there are {MAX_SESSIONS} sessions already; close one first")
        session = self._sessions[name] = Session(name, self)
        return session

    def _zygote_ended(self) -> None:
        self._zygote = None


def _ending(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return f"was killed by signal {number} ({signal.Signals(number).name})"
        return f"was killed by signal {number}"
    return f"exited with status {os.WEXITSTATUS(status)}"
