"""The server's clients, and what each of them has asked for.

A client that has said `resume` outlives its connections: while it has none, its code and commands
go on, and what they say is kept for its return. Any other ends with its connection.

Nothing here waits for a session or a client: answers come by callback.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any, Coroutine, Dict, Optional, Set, Union

from .commands import Command
from .errors import ProtocolError, RequestRefused
from .framing import MAX_LINE_BYTES
from .journal import Journal
from .messages import (
    Ack,
    Cancel,
    Chunk,
    Event,
    Fault,
    FileRequest,
    Final,
    FromClient,
    InputReply,
    Interrupt,
    Leave,
    Ping,
    Request,
    Resume,
    Run,
    SessionRequest,
    Status,
    encode,
)
from .outgoing import Outgoing

if TYPE_CHECKING:
    from .connection import Connection
    from .server import Server

MAX_REQUESTS = 10_000
"""Requests of one client that wait for their answer; more are refused."""

MAX_FILE_REQUESTS = 64
"""Those among them that are for files: each may hold a piece of one."""

URGENT = (Cancel, InputReply, Interrupt, Leave, Ping, Status)
"""Never refused for that, as they are answered at once, and may be what ends the waiting."""

AWAY_SECONDS = 120.0
"""How long a client may be away, where the server has no lease; then it is taken for gone."""

MAX_CLIENTS = 1000
"""Clients that said resume, at once; of those that are away, the one that left first makes room."""


class Client:
    """One client, over one connection or several in a row. ``name`` is "" where it won't return."""

    def __init__(self, server: Server, connection: Connection, name: str = "") -> None:
        self.name = name
        self.connection: Optional[Connection] = connection
        self.out = Outgoing(connection, self._let_on, Journal() if name else None)
        self.away_since = 0.0
        self.received = 0
        """The number of its last request; acks have none."""
        self._server = server
        self._away: Optional[asyncio.TimerHandle] = None
        self._gone = False
        self._waiting: Set[str] = set()
        self._commands: Dict[str, Command] = {}
        # Those that have ended as well, while a background child of theirs holds a pipe.
        self._talkers: "weakref.WeakSet[Command]" = weakref.WeakSet()
        self._tasks: "Set[asyncio.Task[None]]" = set()
        self._file_requests = 0
        self._file_turn = asyncio.Lock()
        self._free = asyncio.Event()

    # -- what it sends

    def take(self, item: Union[FromClient, Event]) -> None:
        """Serve a request, or send the answer to a line that wasn't one."""
        if self._gone:
            return  # it has left, and nobody would end what it asks for now
        if isinstance(item, Ack):
            self.out.acknowledge(item.received)
            return
        self.received += 1
        if isinstance(item, Request):
            self._serve(item)
        else:
            self.out.send(encode(item))

    def _serve(self, request: Request) -> None:
        if request.id in self._waiting:
            # No final for it: that would be taken for the first one's.
            text = f"a request with the id {request.id!r} is still running"
            self.out.send(encode(Fault("", RequestRefused.code, text)))
            return
        full = len(self._waiting) >= MAX_REQUESTS
        self._waiting.add(request.id)
        try:
            if full and not isinstance(request, URGENT):
                raise RequestRefused(f"{MAX_REQUESTS} requests wait already")
            if isinstance(request, SessionRequest):
                self._server.sessions.handle(request, self.answer, self.out)
            elif isinstance(request, Run):
                self._begin_run(request)
            elif isinstance(request, FileRequest):
                self._queue_file(request)
            elif isinstance(request, Leave):
                self._leave(request)
            else:
                self.answer(Final(request.id, 0, result=self._answer_at_once(request)))
        except ProtocolError as exc:
            self.answer(Final(request.id, 1, "refused", exc.message, code=exc.code))

    def _answer_at_once(self, request: Request) -> Any:
        if isinstance(request, Status):
            return self._server.status()
        if isinstance(request, Cancel):
            running = self._commands.get(request.target)
            if running is not None:
                running.stop("interrupt")
            return {"running": running is not None}
        if isinstance(request, Ping):
            return None
        if isinstance(request, Resume):
            raise RequestRefused("resume must be the first request of a connection")
        raise RequestRefused(f"{request.TYPE!r} can't be asked here")

    def _leave(self, request: Leave) -> None:
        self.answer(Final(request.id, 0))
        if self.connection is not None:
            self.connection.close()
        self.end()

    def _queue_file(self, request: FileRequest) -> None:
        if self._file_requests >= MAX_FILE_REQUESTS:
            raise RequestRefused(f"{MAX_FILE_REQUESTS} requests for files wait already")
        self._file_requests += 1
        self._spawn(self._serve_file(request))

    async def _serve_file(self, request: FileRequest) -> None:
        try:
            # In the order of arrival, and no more of them than the client reads.
            async with self._file_turn:
                while self.out.blocked:
                    self._free.clear()
                    await self._free.wait()
                if not self._gone:
                    result = await self._server.files.serve(request)
                    self.answer(Final(request.id, 0, result=result))
        except ProtocolError as exc:
            self.answer(Final(request.id, 1, "refused", exc.message, code=exc.code))
        finally:
            self._file_requests -= 1

    def _begin_run(self, request: Run) -> None:
        def on_text(stream: str, text: str) -> None:
            self.out.send(encode(Chunk(request.id, text, stream)))
            if self.out.blocked:
                command.pause()

        command = Command(request, on_text, self._server.commands, merged=False)
        # Before its task begins: a cancel may come right behind it.
        self._commands[request.id] = command
        self._spawn(self._serve_run(request, command))

    async def _serve_run(self, request: Run, command: Command) -> None:
        try:
            self.answer(await self.run(request.id, command))
        except RequestRefused as exc:
            self.answer(Final(request.id, 1, "refused", exc.message, code=exc.code))

    async def run(self, name: str, command: Command) -> Final:
        """Run a command that ends, at the latest, with this client."""
        self._commands[name] = command
        self._talkers.add(command)
        try:
            return await self._server.commands.run(command)
        finally:
            # Still in the list of those that linger, if a background child holds its pipes.
            del self._commands[name]

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what goes to it

    def answer(self, final: Final) -> None:
        """End a request, once."""
        if final.id in self._waiting:
            self._waiting.discard(final.id)
            line = encode(final)
            if len(line) > MAX_LINE_BYTES:
                # A client drops such a line, and would wait for its end for ever.
                why = f"the answer has {len(line)} bytes, and a line may have {MAX_LINE_BYTES}"
                line = encode(Final(final.id, 1, "error", why, seconds=final.seconds))
            self.out.send(line)

    def finish(self, why: str) -> None:
        """Answer everything that waits: the server stops."""
        for name in list(self._waiting):
            self.answer(Final(name, 1, "closed", why))

    # -- its connections

    def connect(self, connection: Connection) -> None:
        """It is back, with this connection."""
        if self._away is not None:
            self._away.cancel()
        before, self.connection = self.connection, connection
        if before is not None and before is not connection:
            # It has noticed the end of that one sooner than this side.
            before.abort()

    def disconnect(self) -> None:
        """Its connection is lost."""
        self.connection = None
        if not self.name:
            self.end()
        elif not self._gone:
            self.out.disconnect()
            loop = asyncio.get_running_loop()
            self.away_since = loop.time()
            self._away = loop.call_later(self._server.options.lease or AWAY_SECONDS, self.end)

    def end(self) -> None:
        """It is gone, for good."""
        self._gone = True
        if self._away is not None:
            self._away.cancel()
        self._server.clients.forget(self)
        for session in self._server.sessions.of(self.out):
            session.detach()
        for command in self._commands.values():
            command.stop("closed")
        self.out.close()
        self._let_on()

    def _let_on(self) -> None:
        """Who waited for it to read may go on."""
        self._free.set()
        for session in self._server.sessions.of(self.out):
            session.resume()
        for command in list(self._talkers):
            command.resume()


class Clients:
    """Those that may come back, by name."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clients: Dict[str, Client] = {}

    def welcome(self, request: Resume, connection: Connection) -> Client:
        """The client of this name. What it has missed follows the answer to its request."""
        client = self._clients.get(request.client)
        new = client is None
        if client is None:
            self._make_room()
            client = Client(self._server, connection, request.client)
            self._clients[client.name] = client
        client.connect(connection)
        following = client.out.connect(connection, request.received)
        result = {"new": new, "received": client.received, "next": following}
        connection.send(encode(Final(request.id, 0, result=result)))
        client.out.flow()
        return client

    def forget(self, client: Client) -> None:
        """It won't come back."""
        if self._clients.get(client.name) is client:
            del self._clients[client.name]

    def end_away(self) -> None:
        """End those that are away: the server stops."""
        for client in list(self._clients.values()):
            if client.connection is None:
                client.end()

    def _make_room(self) -> None:
        if len(self._clients) < MAX_CLIENTS:
            return
        away = [client for client in self._clients.values() if client.connection is None]
        if not away:
            raise RequestRefused(f"there are {MAX_CLIENTS} clients already; end some")
        min(away, key=lambda client: client.away_since).end()
