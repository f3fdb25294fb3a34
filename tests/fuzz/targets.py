"""What is fed with bytes. Each target raises where something is not as it should be.

No code runs, and no file is touched: the live server has no sessions, commands and files here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

from docker_kernel import errors, outputs, replies, texts
from docker_kernel_server import messages as wire
from docker_kernel_server import values
from docker_kernel_server.connection import Connection
from docker_kernel_server.doorway import Doorway
from docker_kernel_server.errors import BadMessage, ProtocolError, RequestRefused
from docker_kernel_server.framing import LineSplitter, dump_line, load_line
from docker_kernel_server.handshake import prove
from docker_kernel_server.messages import Event, Final, encode
from docker_kernel_server.protocol import ClientSide, RawCommand, ServerSide, State
from docker_kernel_server.server import Options, Server

SECRET = b"what both ends know, and nobody else"
NONCE = "0123456789abcdef" * 4
HELLO = encode(wire.Hello("h", 1, NONCE, "fuzz"))
PIECES = (1, 2, 3, 7, 64, 1 << 20)

Target = Callable[[bytes], None]


def split(data: bytes) -> tuple[int, list[bytes]]:
    """The first byte says how: a number for the target's own use, and the size of the pieces."""
    first = data[0] if data else 0
    size = PIECES[first % len(PIECES)]
    rest = data[1:]
    return first // len(PIECES), [rest[at : at + size] for at in range(0, len(rest), size)]


def lines(data: bytes) -> None:
    """Framing and messages: a line is a message or a named fault, and survives the journey."""
    splitter = LineSplitter(limit=1000)
    _, pieces = split(data)
    for piece in [*pieces, b"\n"]:
        for line in splitter.feed(piece):
            if isinstance(line, bytes):
                assert len(line) <= 1000
                _check_line(line)


def _check_line(line: bytes) -> None:
    try:
        value = load_line(line)
    except ProtocolError:
        return
    assert load_line(dump_line(value)[:-1]) == value
    for parse in (wire.parse_request, wire.parse_event):
        with contextlib.suppress(ProtocolError):
            message = parse(value)
            assert parse(load_line(encode(message)[:-1])) == message


def strangers(data: bytes) -> None:
    """A server with a secret, before the proof: nothing is served, whatever comes."""
    how, pieces = split(data)
    side = ServerSide(SECRET)
    if how % 2:
        side.receive(HELLO)
    for piece in pieces:
        for item in side.receive(piece):
            assert isinstance(item, Event), item
        assert len(side._raw) <= 1 << 17
    assert not any(isinstance(item, RawCommand) for item in [*side.quiet(), *side.end()])
    assert side.state is State.CLOSED


def server(data: bytes) -> None:
    """A server's end that is ready, or has no secret: each line has one answer at the most."""
    how, pieces = split(data)
    side = ServerSide(None)
    if how % 2:
        side.receive(HELLO)
    for piece in pieces:
        for item in side.receive(piece):
            assert isinstance(item, (wire.FromClient, Event))
            if isinstance(item, wire.FromClient):
                encode(item)
    [*side.quiet(), *side.end()]


def client(data: bytes) -> None:
    """A client's end: in the handshake a stranger is a ProtocolError, and once it's ready nothing
    that a server says raises."""
    how, pieces = split(data)
    secret = SECRET if how % 2 else None
    side = ClientSide(secret, wire.Resume("resume", "name") if how % 4 > 1 else None)
    if how % 8 > 3:
        _make_ready(side, secret)
    was_ready = side.ready
    try:
        for piece in pieces:
            for event in side.receive(piece):
                _check_event(event)
    except ProtocolError:
        assert not was_ready
    else:
        # Who doesn't know the secret is never believed.
        assert was_ready or secret is None or not side.ready
    if secret is not None and not was_ready:
        assert side.to_send() == b""


def _make_ready(side: ClientSide, secret: bytes | None) -> None:
    nonce = json.loads(side.hello())["nonce"]
    proof = prove(secret, "server", nonce, NONCE) if secret is not None else None
    events = [wire.ServerHello("hello", 1, "x", NONCE, proof), Final("hello", 0), Final("auth", 0)]
    for event in [*events, Final("resume", 0, result={})]:
        list(side.receive(encode(event)))
    assert side.ready
    side.to_send()


def _check_event(event: Event) -> None:
    """What becomes of an event on this side: Jupyter's messages, replies, words."""
    with contextlib.suppress(BadMessage):  # a buffer that is no base64: the event is left out
        output = outputs.output_of(event)
        if output is not None:
            json.dumps(outputs.sendable(output.content)).encode()
    if isinstance(event, Final):
        lost = outputs.error_of_final(event)
        if lost is not None:
            assert not re.search(r"[\x00-\x08\x0b-\x1f]", "".join(lost.content["traceback"]))
        for kind in (wire.Execute, wire.Complete, wire.Inspect, wire.History, wire.IsComplete):
            json.dumps(replies.reply_to(kind, event)).encode()
        replies.session_info(event.result)
        with contextlib.suppress(errors.RequestRefused):
            replies.server_status(event.result)


def variables(data: bytes) -> None:
    """The files of `push` and `pull`: values or a ValueError, and nothing is imported."""

    def nothing(name: str) -> Any:
        raise ValueError(name)

    for blob in (data, values.MAGIC + len(data).to_bytes(8, "big") + data):
        with contextlib.suppress(ValueError):
            values.unpack(blob, nothing)


def words(data: bytes) -> None:
    """Text for a terminal, and for messages of ours."""
    text = data.decode("utf-8", "surrogateescape")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", texts.plain(text))
    shown = texts.for_terminal(text)
    assert "\x1b" not in re.sub(r"\x1b\[(?:[0-9;:]*m|[0-9;]*[ABCDGK]|\?25[hl])", "", shown)
    assert "\x1b" not in texts.without_codes(text)


class _Nothing:
    """Sessions, commands or files of a server that has none."""

    def handle(self, *_: object) -> None:
        raise RequestRefused("not here")

    async def serve(self, *_: object) -> None:
        raise RequestRefused("not here")

    async def run(self, *_: object) -> None:
        raise RequestRefused("not here")

    def of(self, _: object) -> list[object]:
        return []

    def status(self) -> list[object]:
        return []

    def __len__(self) -> int:
        return 0


class Live:
    """True servers' connections over true sockets, on a loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._wrong: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _loop, context: self._wrong.append(context))
        self._servers: list[tuple[Server, Doorway, int]] = []
        self._loop.run_until_complete(self._open())

    def __call__(self, data: bytes) -> None:
        """See `live`."""
        self._loop.run_until_complete(asyncio.wait_for(self._feed(data), 60))
        assert not self._wrong, self._wrong

    def close(self) -> None:
        """End the servers."""
        for _, doorway, _ in self._servers:
            doorway.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _open(self) -> None:
        for secret in (None, SECRET):
            made = Server(Options(tempfile.gettempdir(), secret=secret))
            await made.sessions.close()
            made.sessions = made.commands = made.files = _Nothing()  # type: ignore[assignment]
            doorway = Doorway(functools.partial(Connection, made), made._strangers, None, 0)
            port = await doorway.open("127.0.0.1", 0)
            self._servers.append((made, doorway, port))

    async def _feed(self, data: bytes) -> None:
        how, pieces = split(data)
        running, _, port = self._servers[how % 2]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            if how % 4 > 1:
                writer.write(HELLO)
            for piece in pieces:
                writer.write(piece)
            writer.write_eof()
        said = b""
        with contextlib.suppress(ConnectionError):
            said = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        # Nothing tells of a connection's end.
        while running.connections or len(running._strangers):  # noqa: ASYNC110
            await asyncio.sleep(0)
        running.clients.end_away()
        _check_answers(said, running.options.secret is not None)
        assert not running._tenants
        assert not running.clients._clients


def _check_answers(said: bytes, guarded: bool) -> None:
    finals: Counter[str] = Counter()
    for line in said.splitlines():
        event = wire.parse_event(load_line(line))
        if guarded:
            assert isinstance(event, (wire.ServerHello, wire.Fault, Final))
            if isinstance(event, Final):
                finals[event.id] += event.status == 0
    # Nothing but its hello was ever done for a stranger.
    assert sum(finals.values()) <= 1


_live: list[Live] = []


def live(data: bytes) -> None:
    """A live server: it lives, holds nothing afterwards, and says events alone."""
    if not _live:
        _live.append(Live())
    _live[0](data)


def close() -> None:
    """End what the targets have left open."""
    while _live:
        _live.pop().close()


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (lines, strangers, server, client, variables, words, live)
}


def vocabulary() -> list[bytes]:
    """Words that mean something on the wire, for what is made up at random."""
    found = {"nonce", "status", "traceback", "ename", "evalue", "detail", "matches", "payload"}
    found |= {"execution_count", "true", "false", "null", "1e999", "NaN", "\\ud800", "\\u0000"}
    found |= set(values.MAGIC.decode().split()) | {"buffers", "values", "list", "dict", "bytes"}
    for cls in [*wire.REQUESTS.values(), *wire.EVENTS.values()]:
        found |= {cls.TYPE, *cls.__dataclass_fields__}
    quoted = [f'"{word}"'.encode() for word in found]
    codes = [b"\x1b[", b"\x1b]52;c;", b"\x1b[31m", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"]
    return sorted(quoted) + codes + [NONCE.encode(), HELLO, b'{"type": ', b'"id": "1"', b"\n"]
