"""Byte streams to a server. What goes wrong with them becomes an error of ours here.

`connect` makes a stream and holds the handshake on it. An engine's published port accepts a
connection before the server listens, and then closes it: so a connection counts when hello is
answered, and until then it is tried again. For how long depends on whose server it is: one that was
started for this kernel will come, and another's is there or isn't.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from docker_kernel_server import errors as wire_errors
from docker_kernel_server.messages import Event, Resume
from docker_kernel_server.protocol import ClientSide

from .deadline import Deadline
from .endpoint import Endpoint
from .errors import (
    AuthenticationFailed,
    ConnectionLost,
    NotAServer,
    OlderServer,
    RequestRefused,
    ServerError,
    ServerNotThere,
    VersionMismatch,
)
from .sockets import SocketStream, TcpStream, in_words

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1
"""Seconds between two tries to connect: short at first, as a server is up in some 50 ms."""

HELLO_SECONDS = 5.0
"""How long one try may take to connect, and how long it waits for the answer to hello."""

HANG_UP_SECONDS = 3.0
"""How long another's server may hang up on us at once, as while its container starts."""

GONE_SECONDS = 0.5
"""How often the backend is asked whether the server still lives, while connecting."""


@dataclass(frozen=True)
class Link:
    """A stream on which the handshake is done; ``early`` is what came right behind it."""

    stream: SocketStream
    protocol: ClientSide
    early: list[Event]


class _NotYet(Exception):
    """No server answered; one may in a moment.

    ``error`` says it where there is no hope. Where the server isn't ours, that is so after
    ``patience`` seconds.
    """

    def __init__(self, error: ServerError, patience: float = 0.0) -> None:
        super().__init__(error, patience)
        self.error = error
        self.patience = patience


def connect(
    endpoint: Endpoint,
    deadline: Deadline,
    why_gone: Callable[[], str] = lambda: "",
    resume: Resume | None = None,
) -> Link:
    """Connect and hold the handshake, again and again until it works or there is no hope.

    ``why_gone`` says why there can't be a server any more, or ""; ``resume`` is sent behind the
    handshake. Raises ServerNotThere, NotAServer, AuthenticationFailed or VersionMismatch.
    """
    begin = time.monotonic()
    pause, ask_at = FIRST_PAUSE, begin + GONE_SECONDS
    where = str(endpoint)
    while True:
        try:
            return _attempt(endpoint, where, min(HELLO_SECONDS, deadline.remaining()), resume)
        except _NotYet as exc:
            failed = exc
        now = time.monotonic()
        over = deadline.remaining() <= pause
        if not endpoint.ours:
            if over or now - begin >= failed.patience:
                raise failed.error
        elif over or now >= ask_at:
            ask_at = now + GONE_SECONDS
            gone = why_gone()
            if over or gone:
                raise ServerNotThere(f"no server answers at {where}", gone or failed.error.why)
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def open_stream(host: str, port: int, seconds: float) -> TcpStream:
    """Connect once, without a handshake, within ``seconds``. Raises ServerNotThere."""
    try:
        return dial(host, port, seconds)
    except OSError as exc:
        raise _not_there(f"{host}:{port}", in_words(exc)) from exc


def attempt(endpoint: Endpoint, resume: Resume) -> Link:
    """Connect once; as `connect` otherwise."""
    try:
        return _attempt(endpoint, str(endpoint), HELLO_SECONDS, resume)
    except _NotYet as exc:
        raise exc.error from exc


def nobody_listens(exc: ServerError) -> bool:
    """Whether `attempt` failed so because the machine is there, and no server."""
    cause = exc.__cause__.__cause__ if exc.__cause__ is not None else None
    return isinstance(cause, ConnectionRefusedError)


def _attempt(endpoint: Endpoint, where: str, seconds: float, resume: Resume | None) -> Link:
    stream: SocketStream
    try:
        if endpoint.dial is not None:
            stream = endpoint.dial(max(0.05, seconds))
        else:
            stream = dial(endpoint.host, endpoint.port, max(0.05, seconds))
    except ServerNotThere:
        raise
    except OSError as exc:
        raise _NotYet(_not_there(where, in_words(exc))) from exc
    try:
        if endpoint.tls:
            from .tls import Trust, secure  # few need it

            stream = secure(stream, Trust(endpoint.tls), endpoint.host)
        until = time.monotonic() + max(0.05, seconds)
        link = _shake_hands(stream, ClientSide(endpoint.secret, resume), until)
    except BaseException:
        stream.close()
        raise
    stream.set_timeout(None)
    return link


def dial(host: str, port: int, seconds: float) -> TcpStream:
    """A connection. Raises OSError; ServerNotThere where another try can't help."""
    where = f"{host}:{port}"
    try:
        return TcpStream(socket.create_connection((host, port), timeout=seconds), where)
    except (socket.gaierror, UnicodeError) as exc:
        raise _not_there(where, f"there is no host {host!r} ({in_words(exc)})") from exc


def _shake_hands(stream: SocketStream, protocol: ClientSide, until: float) -> Link:
    early: list[Event] = []
    heard, lost_by = False, ""
    try:
        stream.send(protocol.hello())
        while not protocol.ready:
            # For the whole of it: what listens there may send a byte now and then.
            stream.set_timeout(max(0.01, until - time.monotonic()))
            data = stream.receive()
            if not data:
                break
            heard = True
            early += protocol.receive(data)
            stream.send(protocol.to_send())
    except ConnectionLost as exc:
        if isinstance(exc.__cause__, TimeoutError):
            what = "did not do its part of the handshake in" if heard else "said nothing for"
            why = f"it takes connections, and {what} {HELLO_SECONDS:g} s"
            raise _NotYet(_not_a_server(stream.peer, why)) from exc
        lost_by = "" if isinstance(exc.__cause__, OSError) else f"{exc.what}: {exc.why}"
    except wire_errors.ProtocolError as exc:
        raise _from_wire(stream.peer, exc) from exc
    if not protocol.ready:
        if heard:
            lost = _not_a_server(stream.peer, "it hung up before the handshake was done")
            if protocol.server is None:
                raise lost
            # It is one: with a crowd at its port it closes who has not shown yet who he is.
            raise _NotYet(lost, HANG_UP_SECONDS)
        why = "it closes each connection at once, as the port of a container without a server does"
        raise _NotYet(_not_a_server(stream.peer, lost_by or why), HANG_UP_SECONDS)
    return Link(stream, protocol, early)


def _from_wire(peer: str, exc: wire_errors.ProtocolError) -> ServerError:
    if isinstance(exc, wire_errors.AuthenticationFailed):
        return AuthenticationFailed(
            f"the server at {peer} and this side don't trust each other",
            exc.message,
            "name the file with the server's secret: DOCKER_KERNEL_SECRET_FILE=/path/to/file "
            "(unset it for a server without a secret)",
        )
    if isinstance(exc, wire_errors.VersionMismatch):
        return VersionMismatch(
            f"the server at {peer} is of another version",
            exc.message,
            "install the same version of docker-kernel on both ends",
        )
    if isinstance(exc, wire_errors.RequestRefused):
        return RequestRefused(f"the server at {peer} takes no further client", exc.message.strip())
    if isinstance(exc, wire_errors.RawCommandsOnly):
        return OlderServer(
            f"the server at {peer} is an older one",
            "it knows shell commands alone, and no Python sessions",
            f"docker_kernel.tools and %%docker --shell work with it; for sessions, {_ELSEWHERE}",
        )
    return _not_a_server(peer, exc.message)


def _not_a_server(peer: str, why: str) -> NotAServer:
    return NotAServer(f"what listens at {peer} is not a docker-kernel server", why, _ELSEWHERE)


def _not_there(where: str, why: str) -> ServerNotThere:
    return ServerNotThere(f"no server answers at {where}", why, _ELSEWHERE)


_ELSEWHERE = (
    "start one there (python -m docker_kernel_server --workplace FOLDER --port PORT), or say where "
    "it is: DOCKER_KERNEL_HOST, DOCKER_KERNEL_PORT; for a new container: DOCKER_KERNEL_MODE=docker"
)
