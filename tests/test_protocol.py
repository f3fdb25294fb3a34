"""Both ends of protocol 1, without a socket: P1 to P6."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_kernel.endpoint import Endpoint
from docker_kernel_server import __version__
from docker_kernel_server.errors import (
    AuthenticationFailed,
    BadLine,
    BadMessage,
    NotThisProtocol,
    ProtocolError,
    RequestRefused,
    VersionMismatch,
)
from docker_kernel_server.framing import dump_line
from docker_kernel_server.handshake import Secret, prove
from docker_kernel_server.message import Message
from docker_kernel_server.messages import (
    Auth,
    Chunk,
    Event,
    Fault,
    Final,
    Hello,
    Resume,
    Run,
    ServerHello,
    Status,
    encode,
)
from docker_kernel_server.protocol import (
    CAPABILITIES,
    MAX_HANDSHAKE_LINE_BYTES,
    MAX_RAW_COMMAND_BYTES,
    PROTOCOL_VERSION,
    ClientSide,
    RawCommand,
    ServerSide,
    State,
)
from strategies import bytewise, json_objects, pieces, quick

SECRET = b"what both ends know"
NONCE = "0123456789abcdef" * 4


def send(server: ServerSide, *data: bytes) -> list[object]:
    """What the server makes of the pieces."""
    return [out for piece in data for out in server.receive(piece)]


def shake_hands(
    server_secret: bytes | None, client_secret: bytes | None, resume: Resume | None = None
) -> tuple[ServerSide, ClientSide, list[object]]:
    """The handshake as the two ends hold it, one byte at a time; and what the server served."""
    server, client, served = ServerSide(server_secret), ClientSide(client_secret, resume), []
    to_server = client.hello()
    while to_server:
        for out in send(server, *bytewise(to_server)):
            if isinstance(out, Event):
                for piece in bytewise(encode(out)):
                    assert not list(client.receive(piece))
            elif isinstance(out, Resume):
                answer = Final(out.id, 0, result={"received": 7})
                assert not list(client.receive(encode(answer)))
            else:
                served.append(out)
        to_server = client.to_send()
    return server, client, served


def ready(secret: bytes | None = None) -> ServerSide:
    server, client, _ = shake_hands(secret, secret)
    assert client.ready
    assert server.state is State.READY
    return server


def refused(out: list[object]) -> str:
    """The code of a refusal that stands alone."""
    (answer,) = out
    assert isinstance(answer, Final)
    assert answer.status != 0
    assert answer.reason == "refused"
    assert answer.result
    return answer.code


# ---- the handshake


@pytest.mark.parametrize("secret", [None, SECRET, b"\x00\xff\n", b""])
def test_the_right_secret_opens(secret: bytes | None) -> None:
    """P5, P6"""
    server, client, served = shake_hands(secret, secret)
    assert client.ready
    assert server.state is State.READY
    assert not served
    assert client.server is not None
    assert client.server.protocol == PROTOCOL_VERSION
    assert client.server.server == __version__
    assert client.server.capabilities == CAPABILITIES
    assert server.client == f"docker-kernel/{__version__}"


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_client_that_comes_back_says_so_behind_the_handshake(secret: bytes | None) -> None:
    """P12, P6: and not before the server has proved itself."""
    _, client, served = shake_hands(secret, secret, Resume("resume", "name", 3))
    assert client.ready
    assert client.resumed == {"received": 7}
    assert not served


@pytest.mark.parametrize(
    ("server_secret", "client_secret", "says"),
    [
        (SECRET, b"wrong", "doesn't have the secret"),
        (SECRET, None, "wants a secret and none is set"),
        (None, SECRET, "a secret is set here"),
    ],
)
def test_another_secret_is_refused_by_the_client(
    server_secret: bytes | None, client_secret: bytes | None, says: str
) -> None:
    """P6: the proof is mutual, so that code is never sent to a stranger's server."""
    with pytest.raises(AuthenticationFailed, match=says):
        shake_hands(server_secret, client_secret)


def hello(nonce: str = NONCE, protocol: int = 1) -> bytes:
    return encode(Hello("h", protocol, nonce, "a test"))


def greet(secret: bytes | None = SECRET) -> tuple[ServerSide, ServerHello]:
    """A server to which a client has said hello, and its answer."""
    server = ServerSide(secret)
    answer, final = send(server, hello())
    assert isinstance(answer, ServerHello)
    assert final == Final("h", 0)
    return server, answer


def test_the_servers_proof_is_its_own() -> None:
    """P6"""
    _, answer = greet()
    assert answer.proof == prove(SECRET, "server", NONCE, answer.nonce)
    assert answer.proof != prove(SECRET, "client", NONCE, answer.nonce)


def test_a_secret_shows_in_no_repr() -> None:
    """X3: whatever prints the variables of a frame, as IPython's %tb and cgitb do."""
    for text in (repr(Secret(SECRET)), str(Secret(SECRET)), f"{Secret(SECRET)}"):
        assert text == "<secret>"
    for side in (ServerSide(SECRET), ClientSide(SECRET)):
        assert SECRET.decode() not in repr(vars(side))
    assert SECRET.decode() not in repr(Endpoint("here", 8000, SECRET))


def test_nonces_are_fresh_and_long() -> None:
    """P6: so that no proof is ever asked for twice."""
    nonces = {json.loads(ClientSide(SECRET).hello())["nonce"] for _ in range(100)}
    nonces |= {greet()[1].nonce for _ in range(100)}
    assert len(nonces) == 200
    assert {len(nonce) for nonce in nonces} == {64}


def reflected(what: str, client_hello: Hello) -> list[Message]:
    """What somebody without the secret may make of what he has: the client's words, and another
    server's."""
    nonce = client_hello.nonce
    proofs = {
        "no proof": None,
        "its nonce": nonce,
        "an empty one": "",
        "another's": prove(b"another secret", "server", nonce, nonce),
    }
    if what == "its hello":
        return [client_hello]
    if what == "a final alone":
        return [Final("hello", 0), Final("auth", 0), Final("resume", 0, result={})]
    return [ServerHello("hello", 1, "x", nonce, proofs[what]), Final("hello", 0), Final("auth", 0)]


@pytest.mark.parametrize(
    "what", ["its hello", "its nonce", "an empty one", "another's", "no proof", "a final alone"]
)
def test_a_client_sends_nothing_to_who_reflects_its_words(what: str) -> None:
    """P6: neither its proof nor its first request."""
    client = ClientSide(SECRET, Resume("resume", "name"))
    said = client.hello()
    lines = [encode(line) for line in reflected(what, Hello(**_keys(said)))]

    def take_it_all() -> None:
        for line in lines:
            list(client.receive(line))

    with pytest.raises(ProtocolError):
        take_it_all()
    assert not client.ready
    assert client.to_send() == b""


def _keys(line: bytes) -> dict[str, Any]:
    return {key: value for key, value in json.loads(line).items() if key != "type"}


def test_a_server_proves_nothing_for_a_client_to_use() -> None:
    """P6: its own proof, over nonces that a stranger has chosen, is no client's."""
    first, answer = greet()
    again, other = ServerSide(SECRET), None
    for out in send(again, hello(answer.nonce)):
        other = out if isinstance(out, ServerHello) else other
    assert other is not None
    assert other.proof is not None
    assert refused(send(first, encode(Auth("a", other.proof)))) == "authentication_failed"


def test_a_server_without_a_secret_has_no_proof_and_is_ready() -> None:
    """P5"""
    server, answer = greet(None)
    assert answer.proof is None
    assert server.state is State.READY


def proof_of(what: str, answer: ServerHello) -> str:
    """A proof that isn't good, of one kind or another."""
    right = prove(SECRET, "client", NONCE, answer.nonce)
    return {
        "empty": "",
        "wrong secret": prove(b"wrong", "client", NONCE, answer.nonce),
        "the server's own": answer.proof or "",
        "upper case": right.upper(),
        "cut": right[:-1],
        "too long": right + "0",
        "other nonce": prove(SECRET, "client", NONCE, NONCE),
        "lone surrogate": "\ud800" * 64,
        "NUL": "\x00",
    }[what]


@pytest.mark.parametrize(
    "what",
    [
        "empty",
        "wrong secret",
        "the server's own",
        "upper case",
        "cut",
        "too long",
        "other nonce",
        "lone surrogate",
        "NUL",
    ],
)
def test_a_wrong_proof_is_refused(what: str) -> None:
    """P6: and nothing that is sent after it is served."""
    server, answer = greet()
    out = send(server, encode(Auth("a", proof_of(what, answer))) + encode(Run("r", "touch x")))
    assert refused(out) == "authentication_failed"
    assert server.state is State.CLOSED
    assert send(server, encode(Run("r", "touch x"))) == []
    assert server.quiet() == server.end() == []


def test_a_replayed_proof_is_refused() -> None:
    """P6: the proof of one connection is worth nothing on the next."""
    first, answer = greet()
    auth = encode(Auth("a", prove(SECRET, "client", NONCE, answer.nonce)))
    assert send(first, auth) == [Final("a", 0)]
    second, other = greet()
    assert other.nonce != answer.nonce
    assert refused(send(second, auth)) == "authentication_failed"


@pytest.mark.parametrize(
    "line",
    [encode(Run("r", "touch x")), encode(Status("s")), hello()],
    ids=["run", "status", "second hello"],
)
def test_nothing_is_served_before_the_proof(line: bytes) -> None:
    """P6"""
    server, _ = greet()
    assert refused(send(server, line)) == "authentication_failed"
    assert server.state is State.CLOSED


def test_a_pipelined_request_before_the_proof_is_refused() -> None:
    """P6"""
    server = ServerSide(SECRET)
    _, final, *out = send(server, hello() + encode(Run("r", "touch x")))
    assert final == Final("h", 0)
    assert refused(out) == "authentication_failed"
    assert server.state is State.CLOSED


@pytest.mark.parametrize("line", [hello(), encode(Auth("a", "0" * 64))], ids=["hello", "auth"])
def test_a_handshake_when_it_is_done_is_refused(line: bytes) -> None:
    """P3: the connection lives."""
    server = ready(SECRET)
    assert refused(send(server, line)) == "bad_message"
    assert send(server, encode(Status("s"))) == [Status("s")]


@pytest.mark.parametrize("version", [0, 2, -1, 10**30])
def test_another_version_is_refused_by_the_server(version: int) -> None:
    """P5: both versions are named, and what to do."""
    server = ServerSide(SECRET)
    out = send(server, hello(protocol=version))
    assert refused(out) == "version_mismatch"
    (final,) = out
    assert isinstance(final, Final)
    assert f"the client speaks protocol {version}" in final.result
    assert f"this server ({__version__}) speaks protocol 1" in final.result
    assert "install the same version" in final.result
    assert server.state is State.CLOSED


def test_another_version_is_refused_by_the_client() -> None:
    """P5"""
    client = ClientSide()
    with pytest.raises(VersionMismatch, match=r"the server \(9\.0\) speaks protocol 9"):
        list(client.receive(encode(ServerHello("hello", 9, "9.0", NONCE))))


def test_only_the_end_of_the_hello_ends_the_handshake() -> None:
    """P3: a final of anything else is passed over."""
    client = ClientSide(None, Resume("resume", "name"))
    list(client.receive(encode(ServerHello("hello", 1, "x", NONCE))))
    assert not list(client.receive(encode(Final("another", 0))))
    assert client.to_send() == b""
    assert not list(client.receive(encode(Final("hello", 0))))
    assert client.to_send() == encode(Resume("resume", "name"))


def test_the_servers_refusal_reaches_the_client() -> None:
    """P5, P6: with the server's own words."""
    for error in (VersionMismatch, AuthenticationFailed, RequestRefused):
        final = Final("hello", 1, "refused", "the server's words", error.code)
        with pytest.raises(error, match="the server's words"):
            list(ClientSide().receive(encode(final)))


@pytest.mark.parametrize(
    "nonce",
    ["", "0" * 31, "0" * 129, "\ud800" * 64, "A" * 64, "0" * 32 + "\n" + "0" * 31, "é" * 64],
    ids=["none", "short", "long", "surrogates", "upper", "newline", "not ascii"],
)
def test_a_bad_nonce_is_refused(nonce: str) -> None:
    """P6: a nonce with a newline would let two pairs of nonces have one proof."""
    server = ServerSide(SECRET)
    assert refused(send(server, hello(nonce))) == "bad_message"
    assert server.state is State.CLOSED
    with pytest.raises(BadMessage, match="nonce"):
        list(ClientSide().receive(encode(ServerHello("hello", 1, "x", nonce))))


def test_a_hello_without_its_keys_is_refused() -> None:
    """P3"""
    server = ServerSide()
    assert refused(send(server, b'{"type": "hello", "id": "1"}\n')) == "bad_message"
    assert server.state is State.CLOSED


def test_a_hello_without_an_id_gets_a_fault() -> None:
    """P3"""
    server = ServerSide()
    (fault,) = send(server, b'{"type": "hello"}\n')
    assert isinstance(fault, Fault)
    assert fault.code == "bad_message"


def test_a_stranger_can_not_make_us_hold_much() -> None:
    """P3: before the proof, lines are short."""
    server, _ = greet()
    assert send(server, b'{"type": "auth"' + b" " * MAX_HANDSHAKE_LINE_BYTES) == []
    (fault,) = send(server, b"}\n")
    assert isinstance(fault, Fault)
    assert fault.code == "line_too_long"
    assert server.state is State.CLOSED


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", BadLine),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", BadLine),
        (b"\x15\x03\x01\x00\x02\x02\n", BadLine),
        (encode(Chunk("", "hi")), NotThisProtocol),
        (encode(Final("hello", 0)), NotThisProtocol),
        (encode(Fault("", "bad_line", "words")), NotThisProtocol),
        (b'{"type": "surprise", "id": ""}\n', ProtocolError),
    ],
)
def test_a_client_knows_a_stranger(data: bytes, error: type[Exception]) -> None:
    """P5: whatever holds the port, it's a ProtocolError and never a traceback."""
    client = ClientSide()

    def take_it_all() -> None:
        for piece in bytewise(data):
            list(client.receive(piece))

    with pytest.raises(error):
        take_it_all()
    assert not client.ready


@quick
@given(st.data(), st.binary(max_size=80))
def test_any_bytes_to_a_client(data: st.DataObject, stream: bytes) -> None:
    """P3"""
    client = ClientSide(SECRET)
    try:
        for piece in data.draw(pieces(stream)):
            assert not list(client.receive(piece))
    except ProtocolError:
        pass
    assert not client.ready


# ---- requests and events, once ready


@quick
@given(st.data(), st.integers(0, 4))
def test_pipelined_requests_come_in_order_in_any_split(data: st.DataObject, count: int) -> None:
    """P2, P4"""
    requests: list[Message] = [Run(str(i), f"echo {i} é 🐍 \ud800") for i in range(count)]
    stream = b"".join(map(encode, requests))
    assert send(ready(), *data.draw(pieces(stream))) == requests
    assert send(ready(), *bytewise(stream)) == requests


def test_requests_may_follow_the_hello_at_once() -> None:
    """P4: a server without a secret serves them; a long one as well, in one write."""
    server = ServerSide()
    long = Run("2", "x" * (2 * MAX_HANDSHAKE_LINE_BYTES))
    _, _, *out = send(server, hello() + encode(Status("1")) + encode(long))
    assert out == [Status("1"), long]


@quick
@given(st.data(), st.binary(max_size=60).filter(lambda line: b"\n" not in line and line.strip()))
def test_a_bad_line_gets_one_fault_and_costs_nothing_else(data: st.DataObject, line: bytes) -> None:
    """P3"""
    stream = encode(Status("1")) + line + b"\n" + encode(Status("2"))
    first, fault, last = send(ready(SECRET), *data.draw(pieces(stream)))
    assert (first, last) == (Status("1"), Status("2"))
    assert isinstance(fault, Fault)


@quick
@given(json_objects)
def test_any_object_with_an_id_gets_its_final(value: dict[str, Any]) -> None:
    """P3: fixed point 5, every request gets exactly one final."""
    line = dump_line({**value, "type": "no such type", "id": "7"})
    (final,) = send(ready(), line)
    assert final == Final("7", 1, "refused", "unknown type 'no such type'", "unknown_type")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\xff\n", "bad_line"),
        (b"[1]\n", "bad_line"),
        (b'{"id": "x"\n', "bad_line"),
        (b"{}\n", "bad_message"),
        (b'{"type": "status"}\n', "bad_message"),
        (b'{"type": "status", "id": 7}\n', "bad_message"),
        (b'{"type": "fly"}\n', "unknown_type"),
        (dump_line({"type": "status", "id": "x" * 201}), "bad_message"),
    ],
)
def test_a_line_without_a_usable_id_gets_a_fault(line: bytes, code: str) -> None:
    """P3"""
    server = ready()
    (fault,) = send(server, line)
    assert isinstance(fault, Fault)
    assert (fault.id, fault.code) == ("", code)
    assert fault.message
    assert send(server, encode(Status("s"))) == [Status("s")]


def test_empty_lines_are_nothing() -> None:
    """P3"""
    assert send(ready(), b"\n\r\n  \n" + encode(Status("s"))) == [Status("s")]


def test_a_line_past_the_bound_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """P3"""
    monkeypatch.setattr("docker_kernel_server.protocol.MAX_LINE_BYTES", 100)
    server = ready()
    fault, request = send(server, b"x" * 101 + b"\n" + encode(Status("s")))
    assert isinstance(fault, Fault)
    assert fault.code == "line_too_long"
    assert request == Status("s")


def test_a_ready_client_outlives_a_bad_line() -> None:
    """P3: an event that can't be read is a fault, and the others are still good."""
    _, client, _ = shake_hands(SECRET, SECRET)
    good = Chunk("1", "hi\n")
    out = list(client.receive(encode(good) + b"nonsense\n" + encode(good)))
    assert out[0] == out[2] == good
    assert isinstance(out[1], Fault)


# ---- raw commands


def raw(server: ServerSide, *data: bytes, ending: str = "end") -> list[object]:
    """Send a raw command, and end it by half-closing or by going quiet."""
    return [*send(server, *data), *(server.end() if ending == "end" else server.quiet())]


@pytest.mark.parametrize("ending", ["end", "quiet"])
@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 8192, 10_000_000])
def test_raw_commands_of_any_size_come_once(size: int, ending: str) -> None:
    """P1"""
    command = b"x" * size
    server = ServerSide()
    chunks = [command[i : i + 4096] for i in range(0, size, 4096)]
    assert raw(server, *chunks, ending=ending) == [RawCommand(command)]
    assert server.quiet() == []
    assert server.end() == []


def test_an_empty_raw_command() -> None:
    """P1: only half-closing can end it, and only where it is the first."""
    server = ServerSide()
    assert server.quiet() == []
    assert server.end() == [RawCommand(b"")]
    assert server.end() == []
    other = ServerSide()
    assert raw(other, b"ls", ending="quiet") == [RawCommand(b"ls")]
    assert other.end() == []


commands = st.binary(min_size=1, max_size=60).filter(
    lambda data: not data.startswith(b"\x16\x03") and b"HTTP/" not in data and b" " not in data[:9]
)


@quick
@given(st.data(), commands)
def test_raw_commands_in_any_split(data: st.DataObject, command: bytes) -> None:
    """P1, P2"""
    for split in (data.draw(pieces(command)), bytewise(command)):
        assert raw(ServerSide(), *split) == [RawCommand(command)]


@pytest.mark.parametrize(
    "command",
    [
        b"ls",
        b"ls\n",
        b"\n",
        b"a\nb\n",
        "echo é 🐍".encode(),
        b"\xff\xfe",
        b"\x00",
        b'{ "ls" ; }',
        b'{ "echo" hi; }\n',
        b"{ ls; }\n",
        b"{}\n",
        b'{"type": "status", "id": "1"}\n',
        b'{"type": "hello"\n',
        b'echo "GET / HTTP/1.1"',
        b"echo see HTTP/1.1",
        b"ls\nGET / HTTP/1.1\n",
        b"A=1\nB C HTTP/1.1\n",
        b"curl http://localhost | grep HTTP/1",
        b"GETTING=1 env",
    ],
)
def test_what_is_not_a_hello_is_a_raw_command(command: bytes) -> None:
    """P1: in one piece or one byte at a time, by either ending."""
    for ending in ("end", "quiet"):
        assert raw(ServerSide(), command, ending=ending) == [RawCommand(command)]
        assert raw(ServerSide(), *bytewise(command), ending=ending) == [RawCommand(command)]


def test_several_raw_commands_on_one_connection() -> None:
    """P1"""
    server = ServerSide()
    assert raw(server, b"echo ", b"1", ending="quiet") == [RawCommand(b"echo 1")]
    assert server.quiet() == []
    # A hello counts on the first line only.
    assert raw(server, hello(), ending="quiet") == [RawCommand(hello())]
    assert raw(server, b"echo 2") == [RawCommand(b"echo 2")]


def test_a_slow_hello_is_waited_for() -> None:
    """P2: a pause in the middle of a hello is no end of a raw command."""
    server = ServerSide()
    for piece in bytewise(hello())[:-1]:
        assert send(server, piece) == []
        assert server.may_be_hello
        assert server.quiet() == []
    assert len(send(server, b"\n")) == 2
    assert server.state is State.READY


def test_keys_of_a_hello_may_come_in_any_order() -> None:
    """P2"""
    line = {"nonce": NONCE, "more": {"deep": ["{"]}, "id": "h", "protocol": 1, "type": "hello"}
    server = ServerSide()
    assert len(send(server, *bytewise(b" " + json.dumps(line).encode() + b"\r\n"))) == 2
    assert server.state is State.READY


@pytest.mark.parametrize("ending", ["end", "quiet"])
def test_a_server_with_a_secret_serves_no_raw_command(ending: str) -> None:
    """P6: the answer is in the form that an older client reads."""
    server = ServerSide(SECRET)
    out = raw(server, b"touch x", ending=ending)
    assert refused(out) == "not_this_protocol"
    (final,) = out
    assert isinstance(final, Final)
    assert final.status == 126
    assert "speak protocol 1" in final.result
    assert server.state is State.CLOSED


HTTP = [
    b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n",
    b"POST /x HTTP/1.1\r\nContent-Length: 8\r\n\r\ntouch x\n",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"BREW /pot HTTP/1.1\r\n\r\n",
    b"GET /" + b"x" * 5000,
]


@pytest.mark.parametrize("data", HTTP, ids=lambda data: data[:12].decode())
@pytest.mark.parametrize("secret", [None, SECRET])
def test_http_never_reaches_a_shell(data: bytes, secret: bytes | None) -> None:
    """P6: a web page can't reach the port, in one write or in many."""
    for split in ([data], bytewise(data)):
        for ending in ("end", "quiet"):
            server = ServerSide(secret)
            assert refused(raw(server, *split, ending=ending)) == "not_this_protocol"
            assert server.state is State.CLOSED
            assert send(server, b"touch x") == server.quiet() == server.end() == []


@pytest.mark.parametrize("secret", [None, SECRET])
def test_tls_never_reaches_a_shell(secret: bytes | None) -> None:
    """P6: and is told at once, not when it goes quiet."""
    data = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"{\n" * 100
    for split in ([data], bytewise(data)):
        server = ServerSide(secret)
        assert refused(send(server, *split)) == "not_this_protocol"
        assert server.state is State.CLOSED


def test_a_raw_command_past_the_bound_is_refused() -> None:
    """P3: with a secret, a stranger is stopped much sooner."""
    server = ServerSide()
    piece = b"x" * (1024 * 1024)
    out: list[object] = []
    for _ in range(MAX_RAW_COMMAND_BYTES // len(piece)):
        out += send(server, piece)
    assert out == []
    assert refused(send(server, b"x")) == "not_this_protocol"
    guarded = ServerSide(SECRET)
    assert refused(send(guarded, piece)) == "not_this_protocol"


@pytest.mark.parametrize("start", [b'{"', b"{ ", b" ", b"x"])
def test_deciding_takes_linear_time(start: bytes) -> None:
    """P9: a large first line without an end doesn't hold the server up."""
    server = ServerSide()
    began = time.process_time()
    send(server, start)
    for _ in range(2000):
        send(server, b" " * 10_000)
        server.may_be_hello  # noqa: B018  (the server asks after each read)
    assert time.process_time() - began < 5


@quick
@given(st.data(), st.binary(max_size=80), st.sampled_from([None, SECRET]))
def test_any_bytes_to_a_server(data: st.DataObject, stream: bytes, secret: bytes | None) -> None:
    """P3, P6: no bytes raise, and with a secret no bytes get anything served."""
    server = ServerSide(secret)
    prefix = data.draw(st.sampled_from([b"", hello()]))
    out = send(server, *data.draw(pieces(prefix + stream)))
    for made in [*out, *server.quiet(), *server.end()]:
        assert isinstance(made, Event if secret else (Event, RawCommand))
    assert server.state is State.CLOSED
