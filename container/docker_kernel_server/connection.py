"""A connection: bytes to `protocol.ServerSide`, and its requests to a `Client`. Raw commands."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, List, Optional, Sequence, Union, cast

from .clients import Client
from .commands import Command
from .errors import RequestRefused
from .messages import Chunk, Event, Final, FromClient, Resume, Run, encode
from .outgoing import Wire
from .protocol import RawCommand, ServerSide, State

if TYPE_CHECKING:
    from .server import Server

QUIET_SECONDS = 0.05
"""A raw command that came in one piece ends where its client is quiet for this long."""

QUIET_BETWEEN_SECONDS = 0.25
"""One that came in several pieces may have more to come: a client under load pauses."""

HANDSHAKE_SECONDS = 20.0
"""A connection that hasn't said by then what it wants is closed."""

WRITE_HIGH_WATER_BYTES = 4 * 1024 * 1024
"""Past this the sessions and commands behind a connection wait for its client."""

MAX_UNREAD_BYTES = 32 * 1024 * 1024
"""Past this no further request is read from a client that doesn't read its answers."""

MAX_RAW_RESULT_CHARS = 64 * 1024 * 1024
"""The most of a raw command's output that its final repeats; the chunks have all of it."""


class Connection(asyncio.Protocol, Wire):
    """One connection of a client's."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._side = ServerSide(server.options.secret)
        self._transport: Optional[asyncio.Transport] = None
        self._quiet: Optional[asyncio.TimerHandle] = None
        self._raw_pieces = 0
        self._deadline: Optional[asyncio.TimerHandle] = None
        self._client: Optional[Client] = None
        self._raw: List[RawCommand] = []
        self._raw_task: "Optional[asyncio.Task[None]]" = None
        self._ending = False

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self._server.admit(self)
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
        # A raw client half-closes and reads on; a client of protocol 1 that closes is gone. TLS
        # knows no half.
        self._close_when_done()
        return raw and self._server.options.tls is None

    def connection_lost(self, exc: Optional[Exception]) -> None:
        for timer in (self._quiet, self._deadline):
            if timer is not None:
                timer.cancel()
        self._side.state = State.CLOSED
        self._transport = None
        if self._client is not None and self._client.connection is self:
            self._client.disconnect()
        self._server.dismiss(self)

    def pause_writing(self) -> None:
        # Whoever sends next sees this, and pauses.
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        if self._client is not None and self._client.connection is self:
            self._client.out.flow()

    # -- what others call

    def send(self, line: bytes) -> None:
        """Send a line; after the end it goes nowhere."""
        if self._transport is not None and not self._transport.is_closing():
            # Of bytes asyncio would copy what the socket doesn't take at once, before it keeps it.
            self._transport.write(memoryview(line))
            if self.congested and self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
                self._transport.pause_reading()

    def finish(self, why: str) -> None:
        """Answer everything that waits: the server stops."""
        if self._client is not None:
            self._client.finish(why)

    def close(self) -> None:
        """Close, after what is on its way out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- inside

    def _perform(self, items: Sequence[Union[FromClient, RawCommand, Event]]) -> None:
        wanted = self._side.state is State.READY or any(
            isinstance(item, RawCommand) for item in items
        )
        if wanted and not self._server.hold_lease(self):
            self._turn_away()
            return
        for item in items:
            if isinstance(item, RawCommand):
                self._raw.append(item)
                if self._raw_task is None:
                    self._raw_task = asyncio.get_running_loop().create_task(self._serve_raw())
            elif isinstance(item, Resume):
                self._resume(item)
            elif isinstance(item, FromClient):
                self._client_here().take(item)
            elif self._client is not None:
                self._client.take(item)
            else:
                self.send(encode(item))
        if self._side.state is State.CLOSED and not self._ending:
            self._ending = True
            self._close_when_done()

    def _client_here(self) -> Client:
        """The client; one that ends with this connection, where none has said resume."""
        if self._client is None:
            self._client = Client(self._server, self)
        return self._client

    def _resume(self, request: Resume) -> None:
        if self._client is not None:
            # The client here refuses it like any request that it doesn't know.
            self._client.take(request)
            return
        try:
            self._client = self._server.clients.welcome(request, self)
        except RequestRefused as exc:
            self.send(encode(Final(request.id, 1, "refused", exc.message, code=exc.code)))

    def _turn_away(self) -> None:
        text = "this server has too many connections; close some, and connect again\n"
        self.send(encode(Final("", 1, "refused", text, code=RequestRefused.code)))
        self._side.state = State.CLOSED
        self._ending = True
        self.close()

    async def _serve_raw(self) -> None:
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
            if self.congested:
                command.pause()

        request = Run("raw", text.decode("utf-8", "surrogateescape"))
        command = Command(request, on_text, self._server.commands, merged=True)
        try:
            final = await self._client_here().run("raw", command)
        except RequestRefused as exc:
            final = Final("", 126, "refused", code=exc.code)
            kept.append(exc.message)
        ended = True
        if not room:
            kept.append(f"\n[the result ends here, at {MAX_RAW_RESULT_CHARS} characters]\n")
        result = "".join(kept)
        # The command and what it calls hold one another, so the texts would stay until Python next
        # looks for that; and a long result isn't kept in two forms.
        kept.clear()
        line = encode(replace(final, id="", result=result))
        del result
        self.send(line)

    def _on_quiet(self) -> None:
        self._raw_pieces = 0
        self._perform(self._side.quiet())

    def _check_handshake(self) -> None:
        if self._side.silent:
            self.close()
        elif self._side.state in (State.UNDECIDED, State.AWAITING_AUTH):
            # Perhaps a raw command that looks like the beginning of a hello.
            self._perform(self._side.end())

    def _close_when_done(self) -> None:
        if self._ending and self._raw_task is None and not self._raw:
            self.close()
