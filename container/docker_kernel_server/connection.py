"""One client's connection: bytes to `protocol.ServerSide`, requests to sessions and commands.

Nothing here waits for a session or a client: answers come by callback.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Coroutine, Dict, List, Optional, Sequence, Set, Union, cast

from .commands import Command
from .errors import ProtocolError, RequestRefused
from .messages import (
    Cancel,
    Chunk,
    Event,
    Fault,
    FileRequest,
    Final,
    InputReply,
    Interrupt,
    Request,
    Run,
    SessionRequest,
    Status,
    encode,
)
from .protocol import RawCommand, ServerSide, State
from .session import Sink

if TYPE_CHECKING:
    from .server import Server

QUIET_SECONDS = 0.05
"""A raw command that came in one piece ends where its client is quiet for this long."""

QUIET_BETWEEN_SECONDS = 0.25
"""One that came in several pieces may have more to come: a client under load pauses."""

HANDSHAKE_SECONDS = 20.0
"""A connection that hasn't said by then what it wants is closed."""

MAX_REQUESTS = 10_000
"""Requests of one connection that wait for their answer; more are refused."""

MAX_FILE_REQUESTS = 64
"""Those among them that are for files: each may hold a piece of one."""

URGENT = (Cancel, InputReply, Interrupt, Status)
"""Never refused for that, as they are answered at once, and may be what ends the waiting."""

KEEPALIVE_SECONDS = 60
"""A connection that is silent for so long is asked whether its other end is still there."""

WRITE_HIGH_WATER_BYTES = 4 * 1024 * 1024
"""Past this the sessions and commands behind a connection wait for its client."""

MAX_UNREAD_BYTES = 32 * 1024 * 1024
"""Past this no further request is read from a client that doesn't read its answers."""

MAX_RAW_RESULT_CHARS = 64 * 1024 * 1024
"""The most of a raw command's output that its final repeats; the chunks have all of it."""


class Connection(asyncio.Protocol, Sink):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._side = ServerSide(server.options.secret)
        self._transport: Optional[asyncio.Transport] = None
        self._quiet: Optional[asyncio.TimerHandle] = None
        self._raw_pieces = 0
        self._deadline: Optional[asyncio.TimerHandle] = None
        self._waiting: Set[str] = set()
        self._commands: Dict[str, Command] = {}
        # Those that have ended as well, while a background child of theirs holds a pipe.
        self._talkers: "weakref.WeakSet[Command]" = weakref.WeakSet()
        self._raw: List[RawCommand] = []
        self._raw_task: "Optional[asyncio.Task[None]]" = None
        self._tasks: "Set[asyncio.Task[None]]" = set()
        self._file_requests = 0
        self._file_turn = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        _keep_alive(transport.get_extra_info("socket"))
        if not self._server.admit(self):
            text = "this server has too many connections; close some, and connect again\n"
            self.send(encode(Final("", 1, "refused", text, code=RequestRefused.code)))
            transport.close()
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HANDSHAKE_SECONDS, self._check_handshake)

    def data_received(self, data: bytes) -> None:
        self._perform(self._side.receive(data))
        if self._side.state in (State.UNDECIDED, State.RAW):
            if self._quiet is not None:
                self._quiet.cancel()
            self._raw_pieces += 1
            seconds = QUIET_SECONDS if self._raw_pieces == 1 else QUIET_BETWEEN_SECONDS
            self._quiet = asyncio.get_running_loop().call_later(seconds, self._on_quiet)

    def eof_received(self) -> bool:
        raw = self._side.state in (State.UNDECIDED, State.RAW)
        self._perform(self._side.end())
        self._ending = True
        # A raw client half-closes and reads on; a client of protocol 1 that closes is gone.
        self._close_when_done()
        return raw

    def connection_lost(self, exc: Optional[Exception]) -> None:
        for timer in (self._quiet, self._deadline):
            if timer is not None:
                timer.cancel()
        self._side.state = State.CLOSED
        self._transport = None
        self._writable.set()
        for session in self._server.sessions.of(self):
            session.detach()
        for command in self._commands.values():
            command.stop("closed")
        for command in list(self._talkers):
            command.resume()
        self._server.dismiss(self)

    def pause_writing(self) -> None:
        # Whoever sends next sees this, and pauses.
        self.blocked = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self.blocked = False
        self._writable.set()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        for session in self._server.sessions.of(self):
            session.resume()
        for command in list(self._talkers):
            command.resume()

    # -- what others call

    def send(self, line: bytes) -> None:
        """Send a line; after the end it goes nowhere."""
        if self._transport is not None:
            self._transport.write(line)
            if self.blocked and self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
                self._transport.pause_reading()

    def finish(self, why: str) -> None:
        """Answer everything that waits: the server stops."""
        for name in list(self._waiting):
            self._answer(Final(name, 1, "closed", why))

    def close(self) -> None:
        """Close, after what is on its way out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- inside

    def _perform(self, items: Sequence[Union[Request, RawCommand, Event]]) -> None:
        if self._side.state is State.READY:
            self._server.hold_lease(self)
        for item in items:
            if isinstance(item, RawCommand):
                self._raw.append(item)
                if self._raw_task is None:
                    self._raw_task = self._spawn(self._serve_raw())
            elif isinstance(item, Request):
                self._serve(item)
            else:
                self.send(encode(item))
        if self._side.state is State.CLOSED and not self._ending:
            self._ending = True
            self._close_when_done()

    def _serve(self, request: Request) -> None:
        if request.id in self._waiting:
            # No final for it: that would be taken for the first one's.
            text = f"a request with the id {request.id!r} is still running"
            self.send(encode(Fault("", RequestRefused.code, text)))
            return
        full = len(self._waiting) >= MAX_REQUESTS
        self._waiting.add(request.id)
        try:
            if full and not isinstance(request, URGENT):
                raise RequestRefused(f"{MAX_REQUESTS} requests wait already")
            if isinstance(request, SessionRequest):
                self._server.sessions.handle(request, self._answer, self)
            elif isinstance(request, Run):
                self._begin_run(request)
            elif isinstance(request, FileRequest):
                self._queue_file(request)
            elif isinstance(request, Cancel):
                running = self._commands.get(request.target)
                if running is not None:
                    running.stop("interrupt")
                self._answer(Final(request.id, 0, result={"running": running is not None}))
            elif isinstance(request, Status):
                self._answer(Final(request.id, 0, result=self._server.status()))
            else:
                raise RequestRefused(f"{request.TYPE!r} can't be asked here")
        except ProtocolError as exc:
            self._answer(Final(request.id, 1, "refused", exc.message, code=exc.code))

    def _answer(self, final: Final) -> None:
        if final.id in self._waiting:
            self._waiting.discard(final.id)
            self.send(encode(final))

    def _queue_file(self, request: FileRequest) -> None:
        if self._file_requests >= MAX_FILE_REQUESTS:
            raise RequestRefused(f"{MAX_FILE_REQUESTS} requests for files wait already")
        self._file_requests += 1
        self._spawn(self._serve_file(request))

    async def _serve_file(self, request: FileRequest) -> None:
        try:
            # In the order of arrival, and no more of them than the client reads.
            async with self._file_turn:
                await self._writable.wait()
                if self._transport is not None:
                    result = await self._server.files.serve(request)
                    self._answer(Final(request.id, 0, result=result))
        except ProtocolError as exc:
            self._answer(Final(request.id, 1, "refused", exc.message, code=exc.code))
        finally:
            self._file_requests -= 1

    def _begin_run(self, request: Run) -> None:
        def on_text(stream: str, text: str) -> None:
            self.send(encode(Chunk(request.id, text, stream)))
            if self.blocked:
                command.pause()

        command = Command(request, on_text, self._server.commands, merged=False)
        # Before its task begins: a cancel may come right behind it.
        self._commands[request.id] = command
        self._spawn(self._serve_run(request, command))

    async def _serve_run(self, request: Run, command: Command) -> None:
        try:
            self._answer(await self._run(request.id, command))
        except RequestRefused as exc:
            self._answer(Final(request.id, 1, "refused", exc.message, code=exc.code))

    async def _run(self, name: str, command: Command) -> Final:
        self._commands[name] = command
        self._talkers.add(command)
        try:
            return await self._server.commands.run(command)
        finally:
            # Still in the list of those that linger, if a background child holds its pipes.
            del self._commands[name]

    async def _serve_raw(self) -> None:
        self._server.hold_lease(self)
        while self._raw and self._transport is not None:
            await self._serve_raw_command(self._raw.pop(0))
        self._raw_task = None
        self._server.release_lease(self)
        self._close_when_done()

    async def _serve_raw_command(self, text: RawCommand) -> None:
        kept: List[str] = []
        room = MAX_RAW_RESULT_CHARS
        ended = False

        def on_text(_stream: str, text: str) -> None:
            nonlocal room
            if ended:
                return
            kept.append(text[:room])
            room -= len(kept[-1])
            self.send(encode(Chunk("", text)))
            if self.blocked:
                command.pause()

        request = Run("raw", text.decode("utf-8", "surrogateescape"))
        command = Command(request, on_text, self._server.commands, merged=True)
        try:
            final = await self._run("raw", command)
        except RequestRefused as exc:
            final = Final("", 126, "refused", code=exc.code)
            kept.append(exc.message)
        ended = True
        if not room:
            kept.append(f"\n[the result ends here, at {MAX_RAW_RESULT_CHARS} characters]\n")
        self.send(encode(replace(final, id="", result="".join(kept))))

    def _on_quiet(self) -> None:
        self._raw_pieces = 0
        self._perform(self._side.quiet())

    def _check_handshake(self) -> None:
        if self._side.silent:
            self.close()
        elif self._side.state in (State.UNDECIDED, State.AWAITING_AUTH):
            # Perhaps a raw command that looks like the beginning of a hello.
            self._perform(self._side.end())

    def _spawn(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _close_when_done(self) -> None:
        if self._ending and self._raw_task is None and not self._raw:
            self.close()


def _keep_alive(sock: socket.socket) -> None:
    """Notice a client that is gone without a word: it would hold the server's lease for ever."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has all of them; macOS calls the first one otherwise.
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_SECONDS),
        ("TCP_KEEPALIVE", KEEPALIVE_SECONDS),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 6),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
