"""Protocol 1 without I/O: bytes in, messages out, for either end.

`ServerSide` decides by the first line what a connection speaks, holds the handshake, and lets no
request through before it is done. `ClientSide` is its mirror. Neither touches a socket, so a test
can feed them one byte at a time.

The handshake proves to each side that the other knows the secret, without sending it::

    client  hello  nonce C
    server  hello  nonce S, proof HMAC-SHA256(secret, "server" | C | S)
    server  final  of hello
    client  auth   proof HMAC-SHA256(secret, "client" | C | S)
    server  final  of auth

A server without a secret leaves its proof out, and the connection is ready after the first final.

    state          may receive
    UNDECIDED      a hello, or the bytes of a raw command
    AWAITING_AUTH  auth
    READY          every request
    RAW            the bytes of raw commands
    CLOSED         nothing more
"""

from __future__ import annotations

import enum
import re
from typing import Iterator, List, Optional, Union

from . import __version__
from .errors import (
    AuthenticationFailed,
    BadMessage,
    LineTooLong,
    NotThisProtocol,
    ProtocolError,
    RawCommandsOnly,
    RequestRefused,
    VersionMismatch,
)
from .framing import MAX_LINE_BYTES, LineSplitter, load_line
from .handshake import Secret, check_nonce, is_proof, make_nonce, prove
from .message import MAX_ID_CHARS, Json
from .messages import (
    Auth,
    Event,
    Fault,
    Final,
    FromClient,
    Hello,
    Resume,
    ServerHello,
    encode,
    parse_event,
    parse_request,
)

PROTOCOL_VERSION = 1
CAPABILITIES = ["resume", "sessions", "subshells", "comms", "variables", "run", "files"]

MAX_RAW_COMMAND_BYTES = 64 * 1024 * 1024
"""The longest raw command; more than this is refused."""

MAX_HANDSHAKE_LINE_BYTES = 64 * 1024
"""The longest line before the handshake is done: a stranger can't make us hold more."""

# As much of `{ "key" :` as has come. A shell command may begin with `{ "ls"`, but has no colon
# then.
_HELLO_START = re.compile(rb'\s*\{\s*(\Z|"[^"]*(\Z|"\s*(\Z|:)))')
# A request line at the very beginning; of the methods that a browser sends, also a part of one. Any
# other method is in capitals, too, or `echo see HTTP/1.1` would be one.
_HTTP = re.compile(
    rb"(GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE|PRI) "
    rb"|[A-Z]+ [^ \n]+ HTTP/\d(\.\d)?\r?(\n|\Z)"
)
_TLS = b"\x16\x03"


class State(enum.Enum):
    """What a connection may receive; the table is in the module's docstring."""

    UNDECIDED = "undecided"
    AWAITING_AUTH = "awaiting auth"
    READY = "ready"
    RAW = "raw"
    CLOSED = "closed"


class RawCommand(bytes):
    """The bytes of one raw shell command."""


class ServerSide:
    """The server's end of one connection.

    `receive`, `quiet` and `end` return what to do, in order: a `Request` or an `Ack` to serve, a
    `RawCommand` to run, or an `Event` to send at once (the handshake's answers and faults). After
    each call `state` says whether the connection is to be closed.
    """

    def __init__(self, secret: Optional[bytes] = None) -> None:
        self.state = State.UNDECIDED
        self.client = ""
        self._secret = None if secret is None else Secret(secret)
        self._lines = LineSplitter(MAX_HANDSHAKE_LINE_BYTES)
        # Where no raw command is served anyway, a stranger can't make us hold a large one.
        self._raw_limit = MAX_RAW_COMMAND_BYTES if secret is None else MAX_HANDSHAKE_LINE_BYTES
        self._raw = bytearray()
        self._raw_served = False
        self._client_nonce = ""
        self._nonce = make_nonce()

    def receive(self, data: bytes) -> List[Union[FromClient, Event]]:
        """Take what the client sent. Raw commands come from `quiet` and `end` alone."""
        if self.state is State.UNDECIDED:
            return self._decide(data)
        if self.state is State.RAW:
            return self._receive_raw(data)
        return list(self._receive_lines(data))

    def quiet(self) -> List[Union[RawCommand, Event]]:
        """The client has sent nothing for a while: what it sent is one whole raw command."""
        if self.state is State.UNDECIDED and self._raw and not self.may_be_hello:
            self.state = State.RAW
        if self.state is not State.RAW or not self._raw:
            return []
        return self._take_raw()

    def end(self) -> List[Union[RawCommand, Event]]:
        """The client has closed its side."""
        served, raw = self._raw_served, self.state in (State.UNDECIDED, State.RAW)
        out: List[Union[RawCommand, Event]] = []
        if raw and (self._raw or not served):
            out = self._take_raw()
        self.state = State.CLOSED
        return out

    @property
    def silent(self) -> bool:
        """Whether nothing has come yet."""
        return self.state is State.UNDECIDED and not self._raw

    @property
    def may_be_hello(self) -> bool:
        """Whether what has come so far may still become a hello line."""
        if self.state is not State.UNDECIDED or len(self._raw) > MAX_HANDSHAKE_LINE_BYTES:
            return False
        return bool(_HELLO_START.match(self._raw))

    # -- the first line

    def _decide(self, data: bytes) -> List[Union[FromClient, Event]]:
        refused = self._receive_raw(data)
        if refused or b"\n" not in data:
            return refused
        lines = bytes(self._raw)
        if self._is_hello(lines[: lines.index(b"\n")]):
            self._raw.clear()
            self.state = State.AWAITING_AUTH
            return list(self._receive_lines(lines))
        self.state = State.RAW
        return []

    @staticmethod
    def _is_hello(line: bytes) -> bool:
        if not _HELLO_START.match(line):
            return False
        try:
            return load_line(line).get("type") == "hello"
        except ProtocolError:
            return False

    # -- raw commands

    def _receive_raw(self, data: bytes) -> List[Union[FromClient, Event]]:
        self._raw += data
        if len(self._raw) > self._raw_limit:
            return [self._refuse_raw(f"a raw command is over {self._raw_limit} bytes")]
        if self._raw.startswith(_TLS):
            return [self._refuse_raw("this port does not speak TLS")]
        return []

    def _take_raw(self) -> List[Union[RawCommand, Event]]:
        command = RawCommand(self._raw)
        self._raw.clear()
        self._raw_served = True
        if _HTTP.match(command):
            return [self._refuse_raw("this port does not speak HTTP")]
        if self._secret is not None:
            return [
                self._refuse_raw(
                    "this server has a secret, and serves raw commands to nobody; "
                    "speak protocol 1, or start a server without a secret"
                )
            ]
        return [command]

    def _refuse_raw(self, why: str) -> Final:
        self.state = State.CLOSED
        self._raw.clear()
        return Final("", 126, "refused", why + "\n", code=NotThisProtocol.code)

    # -- protocol 1

    def _receive_lines(self, data: bytes) -> Iterator[Union[FromClient, Event]]:
        for line in self._lines.feed(data):
            if self.state is State.CLOSED:
                return
            if isinstance(line, LineTooLong):
                yield Fault("", line.code, line.message)
                if self.state is not State.READY:
                    self.state = State.CLOSED
                continue
            if not line.strip():
                continue
            yield from self._receive_line(line)

    def _receive_line(self, line: bytes) -> Iterator[Union[FromClient, Event]]:
        message: Json = {}
        try:
            message = load_line(line)
            request = parse_request(message)
            if self.state is State.READY:
                if isinstance(request, (Hello, Auth)):
                    raise BadMessage("the handshake is already done")
                yield request
            else:
                yield from self._shake(request)
        except ProtocolError as exc:
            yield refusal(message, exc)
            if self.state is not State.READY:
                self.state = State.CLOSED

    def _shake(self, request: FromClient) -> Iterator[Event]:
        if isinstance(request, Hello) and not self._client_nonce:
            yield from self._answer_hello(request)
        elif isinstance(request, Auth) and self._client_nonce and self._secret is not None:
            proof = prove(self._secret, "client", self._client_nonce, self._nonce)
            if not is_proof(request.proof, proof):
                raise AuthenticationFailed("the proof is wrong: the two ends have other secrets")
            self._become_ready()
            yield Final(request.id, 0)
        else:
            raise AuthenticationFailed(f"{request.TYPE!r} before the handshake was done")

    def _answer_hello(self, hello: Hello) -> Iterator[Event]:
        if hello.protocol != PROTOCOL_VERSION:
            raise VersionMismatch(
                f"the client speaks protocol {hello.protocol}, this server ({__version__}) speaks "
                f"protocol {PROTOCOL_VERSION}; "
                "install the same version of docker-kernel on both ends"
            )
        check_nonce(hello.nonce)
        self.client = hello.client[:MAX_ID_CHARS]
        self._client_nonce = hello.nonce
        proof = None
        if self._secret is not None:
            proof = prove(self._secret, "server", hello.nonce, self._nonce)
        else:
            self._become_ready()
        yield ServerHello(hello.id, PROTOCOL_VERSION, __version__, self._nonce, proof, CAPABILITIES)
        yield Final(hello.id, 0)

    def _become_ready(self) -> None:
        self.state = State.READY
        self._lines.limit = MAX_LINE_BYTES


NO_SECRET_THERE = "a secret is set here, and the server doesn't have one"  # noqa: S105  (words)


class ClientSide:
    """The client's end of one connection.

    Send `hello()` first; then `receive` returns the events, and what `to_send` returns has to be
    sent. `ready` turns true when requests may be sent. With a `resume`, that is sent behind the
    handshake, and `resumed` is the server's answer to it.

    Raises `AuthenticationFailed`, `VersionMismatch` or another `ProtocolError` where the other end
    isn't the server that it should be. A line that can't be read, once ready, is a `Fault` event: a
    session's other events are still good.
    """

    def __init__(self, secret: Optional[bytes] = None, resume: Optional[Resume] = None) -> None:
        self.ready = False
        self.server: Optional[ServerHello] = None
        self.resumed: Json = {}
        self._secret = None if secret is None else Secret(secret)
        self._resume = resume
        self._nonce = make_nonce()
        self._lines = LineSplitter(MAX_HANDSHAKE_LINE_BYTES)
        self._out: List[bytes] = []

    def hello(self) -> bytes:
        """The first line."""
        return encode(Hello("hello", PROTOCOL_VERSION, self._nonce, f"docker-kernel/{__version__}"))

    def to_send(self) -> bytes:
        """What has to be sent now; b"" for nothing."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take what the server sent; yield the events that aren't the handshake's own."""
        for line in self._lines.feed(data):
            event = self._read(line)
            if self.ready:
                yield event
            else:
                self._shake(event)

    def _read(self, line: Union[bytes, LineTooLong]) -> Event:
        try:
            if isinstance(line, LineTooLong):
                raise line
            message = load_line(line, quoted=True)
            if not self.ready and _answers_raw(message):
                if self._secret is not None:
                    # Who goes on with raw commands would send them to whoever listens there.
                    raise AuthenticationFailed(NO_SECRET_THERE)
                raise RawCommandsOnly("it took the hello for a shell command")
            return parse_event(message)
        except ProtocolError as exc:
            if not self.ready:
                raise
            return Fault("", exc.code, exc.message)

    def _shake(self, event: Event) -> None:
        if isinstance(event, ServerHello) and self.server is None:
            self._check_server(event)
        elif isinstance(event, Final) and event.status == 0 and self.server is not None:
            if self._resume is not None and event.id == self._resume.id:
                self.resumed = event.result if isinstance(event.result, dict) else {}
                self._become_ready()
            elif event.id == ("hello" if self._secret is None else "auth"):
                if self._resume is None:
                    self._become_ready()
                elif self._secret is None:
                    self._out.append(encode(self._resume))
        elif isinstance(event, (Final, Fault)):
            words = event.message if isinstance(event, Fault) else str(event.result)
            raise _REFUSALS.get(event.code, NotThisProtocol)(words)
        else:
            raise NotThisProtocol(f"{event.TYPE!r} in the middle of the handshake")

    def _check_server(self, hello: ServerHello) -> None:
        if hello.protocol != PROTOCOL_VERSION:
            raise VersionMismatch(
                f"the server ({hello.server}) speaks protocol {hello.protocol}, this client speaks "
                f"protocol {PROTOCOL_VERSION}"
            )
        if (self._secret is None) != (hello.proof is None):
            raise AuthenticationFailed(
                "the server wants a secret and none is set here"
                if self._secret is None
                else NO_SECRET_THERE
            )
        check_nonce(hello.nonce)
        if self._secret is not None and hello.proof is not None:
            proof = prove(self._secret, "server", self._nonce, hello.nonce)
            if not is_proof(hello.proof, proof):
                raise AuthenticationFailed("the server doesn't have the secret that is set here")
            self._out.append(
                encode(Auth("auth", prove(self._secret, "client", self._nonce, hello.nonce)))
            )
            if self._resume is not None:
                self._out.append(encode(self._resume))
        self.server = hello

    def _become_ready(self) -> None:
        self.ready = True
        self._lines.limit = MAX_LINE_BYTES


_REFUSALS = {cls.code: cls for cls in (VersionMismatch, AuthenticationFailed, RequestRefused)}
"""What the server may answer a handshake with. The last one: there are too many clients already."""


def _answers_raw(message: Json) -> bool:
    """Whether it is what a raw command gets: no id, and no code as a refusal has."""
    raw = message.get("type") in ("chunk", "final")
    return raw and not message.get("id") and not message.get("code")


def refusal(message: Json, exc: ProtocolError) -> Event:
    """The answer to a line that can't be served: a `Final` where it has an id, else a `Fault`."""
    name = message.get("id")
    if isinstance(name, str) and 0 < len(name) <= MAX_ID_CHARS:
        return Final(name, 1, "refused", exc.message, code=exc.code)
    return Fault("", exc.code, exc.message)
