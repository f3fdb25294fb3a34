"""The server over real sockets: P1 to P11, X1, X3, and its stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from docker_kernel_server.connection import Connection
from docker_kernel_server.doorway import KEEPALIVE_SECONDS
from docker_kernel_server.server import MAX_CONNECTIONS, Options
from docker_kernel_server.server import Server as InProcess
from strategies import bytewise
from system import wait_until
from wire import PATIENCE, Lines, Raw, Server, gone, make_nonce, prove, stalled

SECRET = "the tests' own secret"
EVERYWHERE = "0.0.0.0"  # noqa: S104  (what the server must refuse is asked of it)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a secret."""
    with Server(tmp_path_factory.mktemp("work"), secret=SECRET) as running:
        yield running


def padded(command: str, size: int) -> bytes:
    """A command of exactly this many bytes: a comment fills it."""
    return (command + " #").ljust(size, "x").encode()


# ---- raw commands


@pytest.mark.parametrize("half_close", [True, False], ids=["half-close", "quiet"])
@pytest.mark.parametrize("size", [4095, 4096, 4097, 8192, 10_000_000])
def test_raw_commands_of_any_size_run_once(
    server: Server, tmp_path: Path, size: int, half_close: bool
) -> None:
    """P1"""
    file = tmp_path / "runs"
    with Raw(server.port) as client:
        command = padded(f"echo ran | tee -a '{file}'", size)
        answer = client.run(command, half_close=half_close)
        assert answer.ending == (0, "ok")
        assert answer.result == answer.text() == "ran\n"
        # The connection is still good, and nothing was left over to run.
        if not half_close:
            assert client.run(b"echo again").result == "again\n"
    assert file.read_text() == "ran\n"


def test_the_smallest_raw_commands(server: Server) -> None:
    """P1: 0 bytes and 1 byte."""
    with Raw(server.port) as client:
        answer = client.run(b"", half_close=True)
        assert answer.ending == (0, "ok")
        assert answer.result == ""
        assert client.is_closed()
    with Raw(server.port) as client:
        answer = client.run(b":")
        assert answer.ending == (0, "ok")
        assert answer.result == ""


def test_a_raw_command_has_what_older_clients_read(server: Server) -> None:
    """Fixed point 1 of the wire: chunk with data, final with status and result."""
    with Raw(server.port) as client:
        client.sock.sendall(b"printf 'one\\n'; printf 'two\\n' >&2; exit 3")
        answer = client.answer()
    assert "".join(event["data"] for event in answer.events) == "one\ntwo\n"
    assert {event["type"] for event in answer.events} == {"chunk"}
    assert answer.final["status"] == 3
    assert answer.final["result"] == "one\ntwo\n"
    assert answer.reason == "exit"


def test_one_byte_at_a_time(server: Server) -> None:
    """P2: with UTF-8 split anywhere, in a raw command and in protocol 1."""
    with Raw(server.port) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert client.run(bytewise("printf 'é🐍€'".encode())).result == "é🐍€"
    with Lines(server.port) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = {"type": "hello", "id": "h", "protocol": 1, "nonce": make_nonce()}
        run = {"type": "run", "id": "é🐍€", "command": "printf 'é🐍€'"}
        for message in (hello, run):
            line = json.dumps(message, ensure_ascii=False).encode() + b"\n"
            for byte in bytewise(line):
                client.sock.sendall(byte)
        assert client.receive()["type"] == "hello"
        assert client.receive()["type"] == "final"
        answer = client.answer()
        assert answer.text() == "é🐍€"
        assert answer.final["id"] == "é🐍€"


def test_a_pause_in_the_middle_of_a_long_raw_command(server: Server, tmp_path: Path) -> None:
    """P1: what has come in several pieces may have more to come, from a client that is slowed."""
    file = tmp_path / "runs"
    command = padded(f"echo ran | tee -a '{file}'", 1_000_000) + b"\necho end"
    with Raw(server.port) as client:
        client.sock.sendall(command[:700_000])
        time.sleep(0.1)  # the pause that this is about
        assert client.run(command[700_000:]).result == "ran\nend\n"
        assert client.run(b"echo again").result == "again\n"
    assert file.read_text() == "ran\n"


def test_several_raw_commands_on_one_connection(server: Server) -> None:
    """P1: each in a shell of its own."""
    with Raw(server.port) as client:
        for count in range(5):
            assert client.run(f"echo $X{count}; X={count}".encode()).result == "\n"


# ---- lines


BAD_LINES = [
    (b"nonsense", "bad_line"),
    (b"\xff\xfe", "bad_line"),
    (b"[]", "bad_line"),
    (b'{"a": NaN}', "bad_line"),
    (b"[" * 100_000, "bad_line"),
    (b"{}", "bad_message"),
    (b'{"type": "run"}', "bad_message"),
    (b'{"type": "status", "id": ""}', "bad_message"),
    (b'{"type": "fly"}', "unknown_type"),
]


def test_bad_lines_cost_only_themselves(server: Server) -> None:
    """P3: and the sessions live."""
    with server.connect() as client:
        session = client.open()
        session.ok("x = 42")
        for line, code in BAD_LINES:
            client.sock.sendall(line + b"\n")
            fault = client.receive()
            assert (fault["type"], fault["code"]) == ("fault", code)
            assert fault["message"]
        assert session.ok("x").value == "42"


@pytest.mark.parametrize(
    ("message", "code", "says"),
    [
        ({"type": "fly"}, "unknown_type", "'fly'"),
        ({"type": "run"}, "bad_message", "missing command"),
        ({"type": "run", "command": 5}, "bad_message", "'command' must be str"),
        ({"type": "run", "command": "ls", "timeout": -1}, "bad_message", "timeout"),
        ({"type": "execute", "session": "nowhere", "code": ""}, "refused", "nowhere"),
        ({"type": "close_session", "session": "nowhere"}, "refused", "nowhere"),
        ({"type": "interrupt", "session": "nowhere"}, "refused", "nowhere"),
        ({"type": "restart_session", "session": "nowhere"}, "refused", "nowhere"),
        ({"type": "hello", "protocol": 1, "nonce": "0" * 64}, "bad_message", "already"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_bad_request_gets_its_final(
    server: Server, message: dict[str, Any], code: str, says: str
) -> None:
    """P3: which names the fault; and the connection lives."""
    with server.connect() as client:
        client.send({"id": "bad", **message})
        final = client.receive()
        assert (final["type"], final["id"], final["reason"]) == ("final", "bad", "refused")
        assert final["code"] == code
        assert says in final["result"]
        assert client.run("echo alive").text() == "alive\n"


def test_an_oversize_line_is_skipped(server: Server) -> None:
    """P3: 64 MiB and one byte."""
    with server.connect() as client:
        session = client.open()
        session.ok("x = 42")
        piece = b"x" * (1 << 20)
        for _ in range(64):
            client.sock.sendall(piece)
        client.sock.sendall(b"x\n")
        assert client.receive()["code"] == "line_too_long"
        assert session.ok("x").value == "42"


def test_pipelined_requests_give_separate_results(server: Server) -> None:
    """P4: all in one packet; a session's cells run in order."""
    with server.connect() as client:
        session = client.open()
        lines = []
        for count in range(10):
            cell = {"type": "execute", "id": f"cell {count}", "session": session.name}
            lines.append({**cell, "code": f"print({count}); {count}"})
            lines.append({"type": "run", "id": f"run {count}", "command": f"echo {count}"})
        client.sock.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        events: list[dict[str, Any]] = []
        while sum(event["type"] == "final" for event in events) < 20:
            events.append(client.receive())
    for count in range(10):
        for kind in ("cell", "run"):
            mine = [event for event in events if event["id"] == f"{kind} {count}"]
            text = "".join(event["data"] for event in mine if event["type"] == "chunk")
            assert text == f"{count}\n"
            assert mine[-1]["type"] == "final"
            assert mine[-1]["status"] == 0
    order = [e["id"] for e in events if e["type"] == "final" and e["id"].startswith("cell")]
    assert order == [f"cell {count}" for count in range(10)]


def test_an_id_that_is_still_running_is_refused(server: Server) -> None:
    """Fixed point 5: the first one has exactly one final all the same."""
    with server.connect() as client:
        run = client.begin("run", command="echo on; sleep 4321")
        client.wait_for_text(run, "on")
        client.send({"type": "status", "id": run})
        fault = client.step()
        assert (fault["type"], fault["id"], fault["code"]) == ("fault", "", "refused")
        client.ask("cancel", target=run)
        assert client.finish(run).reason == "interrupt"
        assert client.ask("status").status == 0


def test_an_id_that_another_connection_uses_in_the_session_is_refused(server: Server) -> None:
    """Fixed point 5: this connection has no other request of that id, so it gets a final."""
    with server.connect() as first, server.connect() as second:
        cell = first.open("shared").begin("print('on'); import time; time.sleep(4321)")
        first.wait_for_text(cell, "on")
        session = second.open("shared")
        second.send({"type": "execute", "id": cell, "session": "shared", "code": "1"})
        final = second.receive()
        assert (final["type"], final["id"], final["reason"]) == ("final", cell, "refused")
        session.interrupt()
        assert first.finish(cell).reason == "interrupt"


# ---- the handshake


def test_hello_reports_versions(server: Server) -> None:
    """P5"""
    with server.connect() as client:
        assert client.hello["protocol"] == 1
        assert re.match(r"\d+\.\d+", client.hello["server"])
        assert "proof" not in client.hello
        assert "sessions" in client.hello["capabilities"]


def test_another_version_is_refused(server: Server) -> None:
    """P5"""
    with Lines(server.port) as client:
        hello = {"type": "hello", "id": "h", "protocol": 2, "nonce": make_nonce()}
        client.sock.sendall(json.dumps(hello).encode() + b"\n")
        final = client.receive()
        assert (final["reason"], final["code"]) == ("refused", "version_mismatch")
        assert "protocol 2" in final["result"]
        assert client.is_closed()


def test_the_secret_opens(guarded: Server) -> None:
    """P6: the server proves that it has it, too."""
    with guarded.connect() as client:
        assert client.run("echo in").text() == "in\n"


def test_a_wrong_secret_is_refused_before_anything_runs(guarded: Server, tmp_path: Path) -> None:
    """P6"""
    file = tmp_path / "touched"
    run = {"type": "run", "id": "r", "command": f"touch '{file}'"}
    with Lines(guarded.port) as client:
        nonce = make_nonce()
        hello = {"type": "hello", "id": "h", "protocol": 1, "nonce": nonce}
        client.sock.sendall(json.dumps(hello).encode() + b"\n")
        answer = client.receive()
        client.receive()
        proof = prove("wrong", "client", nonce, answer["nonce"])
        lines = [{"type": "auth", "id": "a", "proof": proof}, run]
        client.sock.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        assert client.receive()["code"] == "authentication_failed"
        assert client.is_closed()
    for data in (
        json.dumps(run).encode() + b"\n",
        json.dumps(hello).encode() + b"\n" + json.dumps(run).encode() + b"\n",
        f"touch '{file}'".encode(),
    ):
        with Lines(guarded.port) as client:
            client.sock.sendall(data)
            answers: list[dict[str, Any]] = []
            while not answers or answers[-1].get("reason") != "refused":
                answers.append(client.receive())
            assert client.is_closed()
    with guarded.connect() as client:
        assert client.run("true").status == 0
    assert not file.exists()


def test_http_never_reaches_a_shell(server: Server, tmp_path: Path) -> None:
    """P6: a web page can't reach a server that has no secret."""
    file = tmp_path / "touched"
    for half_close in (True, False):
        with Raw(server.port) as client:
            body = f"touch '{file}'\n"
            head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            answer = client.run((head + body).encode(), half_close=half_close)
            assert answer.ending == (126, "refused")
            assert answer.final["code"] == "not_this_protocol"
            assert client.is_closed()
    assert not file.exists()


def test_tls_is_refused_at_once(server: Server) -> None:
    """P6"""
    with Raw(server.port) as client:
        answer = client.run(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert answer.final["code"] == "not_this_protocol"
        assert "TLS" in answer.result
        assert client.is_closed()


def test_the_secret_is_nowhere_to_be_seen(guarded: Server) -> None:
    """X3: not in an environment, a command line or an output that the person's code can read."""
    with guarded.connect() as client:
        session = client.open()
        seen = session.ok("import os; print(dict(os.environ), os.getppid())").text()
        seen += client.run("env; cat /proc/*/cmdline /proc/$PPID/environ | tr '\\0' ' '").text()
    assert SECRET not in seen
    assert SECRET not in guarded.log()


@pytest.mark.parametrize(("secret", "says"), [("", "there is none"), ("x" * 15, "it has 15")])
def test_a_secret_that_can_be_guessed_is_refused(tmp_path: Path, secret: str, says: str) -> None:
    """P6: a stranger gets a proof, and may try secrets against it at home."""
    server = Server(tmp_path, secret=secret)
    with pytest.raises(AssertionError, match=f"(?s){says}.*openssl rand"):
        server.__enter__()
    assert server.process.returncode == 2


# ---- addresses and starts


def listening(server: Server) -> set[str]:
    process = psutil.Process(server.process.pid)
    connections = getattr(process, "net_connections", process.connections)("inet")
    return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}


def test_loopback_is_the_default(server: Server, guarded: Server) -> None:
    """P7"""
    assert listening(server) == {"127.0.0.1"}
    assert listening(guarded) == {"127.0.0.1"}


@pytest.mark.parametrize("host", [EVERYWHERE, "::"])
def test_a_public_address_without_a_secret_is_refused(tmp_path: Path, host: str) -> None:
    """P7: with a word on what to do."""
    server = Server(tmp_path, args=["--host", host])
    with pytest.raises(AssertionError, match="--allow-unauthenticated"):
        server.__enter__()
    assert server.process.returncode not in (0, None)


def test_a_public_address_can_be_asked_for(tmp_path: Path) -> None:
    """P7"""
    with Server(tmp_path, args=["--host", EVERYWHERE, "--allow-unauthenticated"]) as server:
        assert listening(server) == {EVERYWHERE}
    with Server(tmp_path, secret=SECRET, args=["--host", EVERYWHERE]) as server:
        assert listening(server) == {EVERYWHERE}


def test_a_port_that_is_taken_is_a_clear_error(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path, port=server.port)
    with pytest.raises(AssertionError, match=str(server.port)) as caught:
        other.__enter__()
    assert "Traceback" not in str(caught.value)


def test_a_python_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    other = Server(tmp_path, args=["--python", "/no/such/python"])
    with pytest.raises(AssertionError, match="/no/such/python") as caught, other:
        pass
    assert "Traceback" not in str(caught.value)


def test_a_restarted_server_has_its_port_back(tmp_path: Path) -> None:
    """P11: also where clients were connected, and it was the server that hung up."""
    with Server(tmp_path) as first:
        port = first.port
        with first.connect() as client:
            client.open().ok("1")
            first.stop()
            assert client.is_closed()
    with Server(tmp_path, port=port) as second, second.connect() as client:
        assert second.port == port
        assert client.run("echo back").text() == "back\n"


# ---- many clients


def together(count: int, work: Any) -> float:
    """Run ``work(i)`` in as many threads, raise what one of them raised; the seconds it took."""
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            work(index)
        except BaseException as exc:  # noqa: BLE001  (raised again in the test's own thread)
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return time.monotonic() - began


def test_many_clients_at_once(server: Server) -> None:
    """P8: twenty jobs of a second take nothing like twenty seconds."""

    def command(index: int) -> None:
        with Raw(server.port) as client:
            assert client.run(f"sleep 1; echo {index}".encode()).result == f"{index}\n"

    def cell(index: int) -> None:
        with server.connect() as client:
            session = client.open()
            session.ok(f"import time; time.sleep(1); x = {index}")
            assert session.ok("x").value == str(index)
            assert session.ask("close_session").status == 0

    assert together(20, command) < 10
    assert together(6, cell) < 15


def test_stuck_clients_block_nobody(server: Server) -> None:
    """P9: silent ones, half a hello, and one that never reads what floods it."""
    silent = [Lines(server.port) for _ in range(20)]
    half = [Lines(server.port) for _ in range(20)]
    for client in half:
        client.sock.sendall(b'{"type": "hello", "no')
    flooded = server.connect()
    session = flooded.open()
    flooded.begin("run", command="yes")
    session.begin("while True: print('x' * 1000)")
    raw = Raw(server.port)
    raw.sock.sendall(b"yes")
    try:
        for _ in range(20):
            with server.connect() as client:
                assert client.run("echo hi").text() == "hi\n"
                assert client.ask("status").status == 0
        with server.connect() as client:
            assert client.open().ok("1 + 1").value == "2"
    finally:
        for stuck in (*silent, *half, flooded, raw):
            stuck.sock.close()
    with server.connect() as client:
        again = client.open(session.name)
        assert again.interrupt().status == 0
        assert client.ask("close_session", session=session.name).status == 0
    assert gone(server, "yes")


def test_a_flood_to_a_client_that_does_not_read_is_bounded(server: Server) -> None:
    """O4, P9: the writer waits; the server's memory doesn't grow with it."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    with server.connect() as client:
        run = client.begin(
            "run", command="head -c 300000000 /dev/zero | tr '\\0' x; echo; echo end"
        )
        # Others' requests go round many times while it's blocked.
        with server.connect() as other:
            for _ in range(100):
                assert other.run("true").status == 0
        assert process.memory_info().rss - before < 150_000_000
        client.ask("cancel", target=run)
        assert client.finish(run).reason in ("interrupt", "ok")


def test_what_a_raw_command_printed_is_not_kept(server: Server) -> None:
    """O4: not after the end, though its final repeats all of it."""
    with Raw(server.port) as raw:
        assert raw.run(b"head -c 60000000 /dev/zero | tr '\\0' x", half_close=True).status == 0
    assert psutil.Process(server.process.pid).memory_info().rss < 100_000_000


HELLO = {"type": "hello", "id": "h", "protocol": 1, "nonce": make_nonce()}


@contextlib.asynccontextmanager
async def in_process(
    folder: Path, port: int, secret: bytes | None = None
) -> AsyncIterator[tuple[InProcess, asyncio.Task[None]]]:
    """A server in this process, for a test that changes its times; and its task."""
    running = InProcess(Options(str(folder), port=port, secret=secret))
    task = asyncio.get_running_loop().create_task(running.serve())
    try:
        yield running, task
    finally:
        running.stop()
        await task


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to what is about to listen."""
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


def test_a_silent_connection_is_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """P9: it has asked for nothing, so nothing is run for it."""
    monkeypatch.setattr("docker_kernel_server.connection.HANDSHAKE_SECONDS", 0.1)

    async def read_all() -> bytes:
        async with in_process(tmp_path, free_port):
            reader, writer = await connect(free_port)
            data = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            return data

    assert asyncio.run(read_all()) == b""


def test_a_client_that_is_gone_without_a_word_is_noticed(server: Server) -> None:
    """E8: the kernel asks for it; else a half-open connection would hold the lease for ever."""
    with server.connect() as client:
        ours, theirs = client.sock.getsockname()[1], client.sock.getpeername()[1]
        lines = Path("/proc/net/tcp").read_text().splitlines()
        ends = f":{theirs:04X} 0100007F:{ours:04X} "
        (line,) = [line for line in lines if ends in line]
        timer, when = line.split()[5].split(":")
        assert timer == "02"
        assert 0 < int(when, 16) <= KEEPALIVE_SECONDS * os.sysconf("SC_CLK_TCK")


def test_short_lines_leave_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """P8: the end of a cell that has printed something doesn't wait for an acknowledgement."""
    found: list[int] = []

    def look(connection: Connection, transport: asyncio.BaseTransport) -> None:
        made(connection, transport)
        sock = transport.get_extra_info("socket")
        found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    made = Connection.connection_made
    monkeypatch.setattr(Connection, "connection_made", look)

    async def connect_once() -> None:
        async with in_process(tmp_path, free_port):
            reader, writer = await connect(free_port)
            writer.write_eof()
            await reader.read()
            writer.close()

    asyncio.run(connect_once())
    assert found == [1]


def test_a_flood_of_prints_to_a_client_that_does_not_read_is_bounded(server: Server) -> None:
    """O4, P9: in the server and in the session's process."""
    with server.connect() as client:
        session = client.open()
        session.ok("1")
        processes = [
            psutil.Process(pid) for pid in (server.process.pid, session.opened.result["pid"])
        ]
        before = [process.memory_info().rss for process in processes]
        cell = session.begin("for i in range(100): print('x' * 999_999)")
        stalled(processes[1].pid)
        for process, size in zip(processes, before, strict=True):
            assert process.memory_info().rss - size < 50_000_000
        assert len(client.finish(cell).text()) == 100_000_000
        assert session.ask("close_session").status == 0


def test_as_many_connections_as_the_bound_says(tmp_path: Path) -> None:
    """P9: at once, though a process may open fewer files until it asks for more; and over again."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 4 * MAX_CONNECTIONS:
        pytest.skip("this process may not open so many files")
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        server = stack.enter_context(Server(tmp_path))
        resource.setrlimit(resource.RLIMIT_NOFILE, (4 * MAX_CONNECTIONS, limits[1]))
        held = [stack.enter_context(server.connect()) for _ in range(MAX_CONNECTIONS)]
        with pytest.raises(ConnectionError, match="too many connections"):
            server.connect()
        assert all(client.ask("status").status == 0 for client in held)
        assert held[0].open().ok("1 + 1").value == "2"
        for client in held:
            client.sock.close()
        with server.connect() as client:
            assert wait_until(lambda: client.ask("status").result["connections"] == 1, 20)
        for _ in range(MAX_CONNECTIONS):
            server.connect().sock.close()
        with server.connect() as client:
            assert client.open().ok("1 + 1").value == "2"
        assert server.log() == ""


def test_a_hundred_abrupt_disconnects(server: Server) -> None:
    """P10: in all states; no process is left behind, and nothing is upset."""
    with server.connect() as client:
        session = client.open()
        session.ok("x = 42")
        for index in range(25):
            silent = Lines(server.port)
            silent.abort()
            half = Lines(server.port)
            half.sock.sendall(b'{"type": "hello"')
            half.abort()
            raw = Raw(server.port)
            raw.sock.sendall(b"echo started; sleep 4321")
            if index % 5 == 0:
                raw.receive()
            raw.abort()
            running = server.connect()
            running.begin("run", command="echo started; sleep 4321 & sleep 4321")
            if index % 5 == 0:
                running.receive()
            running.abort()
        assert session.ok("x").value == "42"
    assert gone(server, "sleep 4321")
    with server.connect() as client:
        assert client.run("echo alive").text() == "alive\n"
    assert server.log() == ""


def test_status_answers_while_everything_is_busy(server: Server) -> None:
    """X1"""
    with server.connect() as client:
        session = client.open()
        cell = session.begin("print('on', flush=True)\nwhile True: pass")
        client.wait_for_text(cell, "on")
        status = client.ask("status")
        assert status.ending == (0, "ok")
        assert {"version", "python", "uptime", "sessions", "limits"} <= set(status.result)
        assert status.result["executable"] == sys.executable
        assert status.result["workplace"] == str(server.folder)
        (mine,) = [s for s in status.result["sessions"] if s["name"] == session.name]
        assert mine["busy"] is True
        assert not client.so_far(cell).final
        session.interrupt()
        assert client.finish(cell).reason == "interrupt"


# ---- the lease


def test_strangers_do_not_hold_the_lease(tmp_path: Path) -> None:
    """E8: whoever reaches the port can connect; only who proves to be a client counts."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path, secret=SECRET, args=["--lease", "1"]))
        held: list[Lines] = []

        def ended() -> bool:
            if server.process.poll() is not None:
                return True
            with contextlib.suppress(OSError):
                held.append(stack.enter_context(Lines(server.port)))
                if len(held) % 2:
                    hello = {"type": "hello", "id": "h", "protocol": 1, "nonce": make_nonce()}
                    held[-1].sock.sendall(json.dumps(hello).encode() + b"\n")
            return False

        assert wait_until(ended, 30)


def test_the_first_client_has_a_lease_of_its_own(tmp_path: Path) -> None:
    """E8: a server that was started ahead waits longer for it than for those that come back."""
    with Server(tmp_path, args=["--lease", "1", "--first-lease", "3600"]) as server:
        assert server.process.stdout is not None
        assert b"ends in 3600 s" in server.process.stdout.readline()
        with server.connect() as client:
            assert client.open().ok("1").status == 0
        assert server.process.wait(PATIENCE) == 0


def test_who_uses_the_server_holds_the_lease(tmp_path: Path) -> None:
    """E8: a client, and a raw command; when they are gone the server ends."""
    server = Server(tmp_path, args=["--lease", "2"])
    with server, server.connect() as client, Raw(server.port) as raw:
        assert client.run("sleep 3; echo here").text() == "here\n"
        raw.sock.sendall(b"sleep 4; echo here")
        client.sock.close()
        assert raw.answer().result == "here\n"
        # An idle connection of this kind doesn't.
        assert server.process.wait(PATIENCE) == 0
        assert raw.is_closed()


# ---- the stop


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_stop_leaves_no_process_behind(tmp_path: Path, how: signal.Signals) -> None:
    """P10; and every request gets its final, fixed point 5."""
    with Server(tmp_path) as server, server.connect() as client:
        busy, idle = client.open(), client.open()
        idle.ok("import subprocess; subprocess.Popen(['sleep', '4321'])")
        cell = busy.begin("print('on', flush=True)\nwhile True: pass")
        run = client.begin("run", command="echo on; trap '' TERM INT; sleep 4321; sleep 4321")
        client.wait_for_text(cell, "on")
        client.wait_for_text(run, "on")
        began = time.monotonic()
        assert server.stop(how) == 0
        assert time.monotonic() - began < 10
        assert client.finish(cell).reason == "closed"
        assert client.finish(run).reason == "closed"
        assert client.is_closed()
        assert gone(server)
        assert server.log() == ""


def test_what_a_command_forks_while_the_server_stops_ends_too(tmp_path: Path) -> None:
    """P10: what is ended is listed first, and may fork after that."""
    storm = "trap '' TERM INT; echo on; for i in $(seq 400); do sleep 4321 & done; wait"
    for _ in range(5):
        with Server(tmp_path) as server, server.connect() as client:
            run = client.begin("run", command=storm)
            client.wait_for_text(run, "on")
            assert server.stop() == 0
            assert gone(server)


def test_a_stop_waits_for_what_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """Fixed point 5 of the wire: the final comes also to a client that has not read for a while."""
    monkeypatch.setattr("docker_kernel_server.server.FAREWELL_SECONDS", PATIENCE)

    async def stop_then_read() -> bytes:
        async with in_process(tmp_path, free_port) as (running, serving):
            reader, writer = await connect(free_port)
            writer.write(json.dumps(HELLO).encode() + b"\n")
            command = {"type": "run", "id": "r", "command": "yes 0123456789abcde"}
            writer.write(json.dumps(command).encode() + b"\n")
            while not any(item.congested for item in running.connections):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            running.stop()
            done, _ = await asyncio.wait([serving], timeout=1)
            assert not done
            data = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            return data

    lines = asyncio.run(stop_then_read()).splitlines()
    finals = [json.loads(line) for line in lines if b'"final"' in line]
    assert [final["id"] for final in finals] == ["h", "r"]
    assert finals[-1]["reason"] == "closed"


def test_a_stop_does_not_wait_for_a_client_that_never_reads(tmp_path: Path) -> None:
    """E8"""
    with Server(tmp_path) as server, server.connect() as client:
        session = client.open()
        client.wait_for_text(session.begin("while True: print('x' * 1000)"), "x")
        stalled(session.opened.result["pid"])
        assert server.stop() == 0


def test_a_killed_server_leaves_no_process_behind(tmp_path: Path) -> None:
    """P10: its workers end by themselves."""
    with Server(tmp_path) as server, server.connect() as client:
        busy, _ = client.open(), client.open()
        cell = busy.begin("print('on', flush=True)\nwhile True: pass")
        client.wait_for_text(cell, "on")
        server.process.kill()
        server.process.wait(PATIENCE)
        assert gone(server)


# ---- every Python


def test_the_server_runs_under(each_python: str, tmp_path: Path) -> None:
    """K10: handshake, a session, a command, a raw one, an interrupt, and the stop."""
    with Server(tmp_path, secret=SECRET, python=each_python) as server:
        with server.connect() as client:
            session = client.open()
            version = session.opened.result["python"]
            assert each_python.endswith("python" + ".".join(version.split(".")[:2]))
            answer = session.ok("print('out')\nx = 6\nx * 7")
            assert answer.text() == "out\n"
            assert answer.value == "42"
            failed = session.execute("1 / 0")
            assert failed.ending == (1, "error")
            assert failed.error == "ZeroDivisionError"
            cell = session.begin("print('on', flush=True)\nimport time\ntime.sleep(1000)")
            client.wait_for_text(cell, "on")
            session.interrupt()
            assert client.finish(cell).ending == (130, "interrupt")
            assert session.ok("x").value == "6"
            died = session.execute("import os; os._exit(3)")
            assert died.reason == "died"
            assert session.ok("'x' in dir()").value == "False"
            assert client.run("echo hi; exit 3").ending == (3, "exit")
        assert server.stop() == 0
        assert gone(server)
        assert server.log() == ""


def test_the_server_needs_only_the_standard_library(tmp_path: Path) -> None:
    """Its process never sees site-packages."""
    with Server(tmp_path) as server:
        maps = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().split(b"\0")
        assert maps[:3] == [sys.executable.encode(), b"-I", b"-S"]


def test_a_client_that_asks_and_never_reads_has_to_wait(server: Server) -> None:
    """P9, fixed point 7 of the wire: answers that nobody reads have a bound."""
    line = json.dumps({"type": "no-such", "id": "x" * 200}).encode() + b"\n"
    with server.connect() as client:
        client.sock.settimeout(2)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 400_000 * len(line):
                sent += client.sock.send(line * 1000)
        assert sent < 400_000 * len(line)
        client.sock.settimeout(PATIENCE)
        for _ in range(sent // len(line)):
            assert client.receive()["reason"] == "refused"


def test_too_many_waiting_requests_are_refused(server: Server) -> None:
    """Fixed point 5 of the wire: those get their final as well."""
    with server.connect() as client:
        session = client.open()
        cell = session.begin("input()", allow_stdin=True)
        lines = [
            {"type": "is_complete", "id": f"r{i}", "session": session.name, "code": "1"}
            for i in range(10_000)
        ]
        client.sock.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        events = [client.receive() for _ in range(2)]
        final = next(event for event in events if event["type"] == "final")
        assert (final["id"], final["reason"]) == ("r9999", "refused")
        # What may end the waiting is served.
        for kind, keys in (("status", {}), ("cancel", {"target": "none"})):
            assert client.ask(kind, **keys).status == 0
        assert session.interrupt().result == {"running": True}
        assert client.finish(cell).reason == "interrupt"
        with server.connect() as second:
            assert second.open(session.name).ask("close_session").status == 0
