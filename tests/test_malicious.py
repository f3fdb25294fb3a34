"""A server that means harm: P3, and a kernel on the host that it can't hurt.

Whatever it says, the cell gets an end, the frontend gets Jupyter's messages alone, and the next
cell is tried again. `make fuzz` says much more than this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import comm
import pytest

import peer
from docker_kernel import files, replies
from docker_kernel.client import MAX_COMPLAINTS, Client
from docker_kernel.commands import Command, run
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import AuthenticationFailed, RequestRefused, TransferError
from docker_kernel.iopub import MAX_UNSENT_CHARS, _weight
from docker_kernel.outputs import Output
from docker_kernel_magics import bridge
from docker_kernel_server import messages as wire
from docker_kernel_server.errors import BadMessage
from docker_kernel_server.messages import EVENTS, Event, Final, Request
from docker_kernel_server.protocol import ServerSide
from kernels import Cell, Kernel
from wire import PATIENCE

ESC = "\x1b"
NASTY = f"{ESC}[2J{ESC}]52;c;cm0=\x07\u202enasty\rover\b\x00"
OUTPUTS = {
    "clear_output",
    "comm_close",
    "comm_msg",
    "comm_open",
    "display_data",
    "error",
    "execute_input",
    "execute_result",
    "input_request",
    "status",
    "stream",
    "update_display_data",
}
"""What a kernel may send on iopub and stdin."""

INFO = {
    "new": 5,
    "python": NASTY,
    "shell": ["ipython"],
    "ipython": {},
    "banner": 7,
    "pid": "1; rm -rf ~",
    "execution_count": -(10**30),
    "notes": [NASTY] * 1000,
}
"""What this server says of its sessions."""

OK = {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}

Say = Callable[..., None]


def final(name: str, result: object = OK, **keys: Any) -> dict[str, Any]:
    return {"type": "final", "id": name, "status": 0, "result": result, **keys}


def wrong_fields(say: Say, name: str) -> None:
    """Each field of each event, with each wrong type."""
    values: list[Any] = [None, True, -1, 10**300, 1.5, "x", NASTY, [], [1], {}, {"x": [None]}]
    values.append("\ud800")
    for cls in EVENTS.values():
        if cls is Final:
            continue
        right = {"type": cls.TYPE, "id": name}
        for field in dataclasses.fields(cls):
            for value in values:
                say({**right, "data": "", field.name: value})
                say({**right, "data": {}, "comm_id": "c", field.name: value})


LINES = [
    b"nonsense",
    b"\x00\xff\xfe",
    b"[" * 100_000,
    b'{"a": ' + b"9" * 1_000_000 + b"}",
    b'{"a": 1e999}',
    b'{"type": "chunk", "id": NaN}',
    b'{"type": "__class__", "id": "1"}',
    b'{"type": ["chunk"], "id": "1"}',
    b"\xef\xbb\xbf{}",
    b"\r",
    b"",
    b"HTTP/1.1 200 OK\r",
    b"\x16\x03\x01",
    b'{"type": "chunk", "type": "final"}',
]


def lines(say: Say, _name: str) -> None:
    for line in LINES:
        say(line)


def many_comms(say: Say, name: str) -> None:
    for number in range(3000):
        say({"type": "comm_open", "id": name, "comm_id": str(number), "target_name": "x" * 100})
    say({"type": "comm_open", "id": name, "comm_id": "b", "buffers": ["no base64"]})
    say({"type": "comm_msg", "id": name, "comm_id": "b", "buffers": ["====", "é"]})


def many_deaths(say: Say, _name: str) -> None:
    for number in range(1000):
        died = {"type": "session_died", "id": "", "reason": "signal", "detail": NASTY}
        say({**died, "session": f"x{number}"})
        say({"type": "gap", "id": "", "lines": 10**300, "bytes": 10**300})


def wrong_finals(say: Say, name: str) -> None:
    for other in ("", "x", "y" * 200, "hello", "resume", "ping", "leave", "auth"):
        say(final(other))
    say({"type": "final", "id": name, "status": True})
    say({"type": "final", "id": name})
    say({"type": "hello", "id": name, "protocol": 1, "server": "x", "nonce": "0" * 64})


def displays(say: Say, name: str) -> None:
    bundles: list[dict[str, Any]] = [
        {"text/plain": 5},
        {"": {}},
        {"x" * 3_000_000: "y"},
        {"text/html": [1, {}]},
    ]
    for data in bundles:
        say({"type": "display", "id": name, "data": data, "transient": {"display_id": [1]}})
        say({"type": "result", "id": name, "data": data, "execution_count": -5})
    say({"type": "input_request", "id": "another's", "prompt": NASTY})
    say({"type": "clear_output", "id": name, "wait": True})


def faults(say: Say, name: str) -> None:
    for _ in range(1000):
        say({"type": "fault", "id": name, "code": NASTY, "message": NASTY})


BEFORE: dict[str, Callable[[Say, str], None]] = {
    "lines": lines,
    "wrong fields": wrong_fields,
    "many comms": many_comms,
    "many deaths": many_deaths,
    "wrong finals": wrong_finals,
    "displays": displays,
    "faults": faults,
}
"""What is said before an honest end."""

ENDS: dict[str, dict[str, Any]] = {
    "a number": {"result": 5},
    "a list": {"result": [OK]},
    "a text": {"result": NASTY},
    "no count": {"result": {"status": "ok"}},
    "a count below 0": {"result": {**OK, "execution_count": -1}},
    "a huge count": {"result": {**OK, "execution_count": 10**300}},
    "a count that is none": {"result": {**OK, "execution_count": True}},
    "a status of its own": {"result": {**OK, "status": "fine"}},
    "an error without its text": {"result": {"status": "error", "execution_count": 1}},
    "a payload that is none": {"result": {**OK, "payload": "page"}},
    "refused": {"result": NASTY, "reason": "refused", "code": NASTY, "status": 1},
    "died": {"result": {"detail": NASTY}, "reason": "died", "status": 137},
    "closed": {"result": [NASTY], "reason": "closed", "status": 1},
    "an error of its own": {"result": f"{NASTY}: {NASTY}", "reason": "error", "status": 1},
}
"""Ends that are none."""

REPLIES: list[Any] = [
    5,
    [],
    {"matches": 5, "cursor_start": 0, "cursor_end": 0},
    {"matches": [1], "cursor_start": 0, "cursor_end": 0},
    {"matches": [], "cursor_start": -1, "cursor_end": 10**30},
    {"status": "ok", "found": "yes", "data": {}},
    {"status": "ok", "comms": [1]},
    {"status": "ok", "comms": {"c": 5}},
    {"status": "ok", "history": 5},
    {"status": ["complete"]},
    {"status": "error", "ename": 5},
]


class Liar:
    """Serves one connection: what a cell is called says which lie it gets."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._side = ServerSide()

    def serve(self) -> None:
        """Until the client is gone."""
        with contextlib.suppress(OSError):
            while data := self._connection.recv(65536):
                for item in self._side.receive(data):
                    if isinstance(item, Event):
                        self._connection.sendall(wire.encode(item))
                    elif isinstance(item, Request):
                        self._answer(item)

    def _say(self, *things: dict[str, Any] | bytes) -> None:
        found = [
            thing if isinstance(thing, bytes) else json.dumps(thing).encode() for thing in things
        ]
        self._connection.sendall(b"".join(line + b"\n" for line in found))

    def _answer(self, item: Request) -> None:
        if isinstance(item, wire.Resume):
            self._say(final(item.id, {"new": True, "received": 0, "next": 1}))
        elif isinstance(item, wire.OpenSession):
            self._say(final(item.id, INFO))
        elif isinstance(item, wire.Execute):
            self._lie(item.code, item.id)
        elif isinstance(item, (wire.Complete, wire.Inspect, wire.IsComplete)):
            self._say(final(item.id, REPLIES[int(item.code)]))
        elif isinstance(item, wire.History):
            self._say(final(item.id, REPLIES[item.access["n"]]))
        elif isinstance(item, wire.Status):
            self._say(final(item.id, {"sessions": [5], "uptime": "for ever"}))
        else:
            self._say(final(item.id, None))

    def _lie(self, code: str, name: str) -> None:
        if code in BEFORE:
            BEFORE[code](self._say, name)
        if code in ENDS:
            self._say(final(name, **ENDS[code]))
        elif code == "twice":
            self._say(final(name), final(name), final(name, None))
        elif code == "half a line":
            self._connection.sendall(b'{"type": "final", "id": "' + name.encode())
            peer.hang_up(self._connection)
        elif code == "editor":
            evil = {"source": "edit_magic", "filename": "$(touch /tmp/x)", "line_number": 1}
            input_ = {"source": "set_next_input", "text": "x"}
            self._say(final(name, {**OK, "payload": [evil, 5, {"source": []}, input_]}))
        else:
            value = {"type": "result", "id": name, "data": {"text/plain": "42"}}
            self._say({**value, "execution_count": 1}, final(name))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with peer.listening(lambda connection: Liar(connection).serve()) as listening:
        yield listening


@pytest.fixture(scope="module")
def kernel(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One for all lies: it has to outlive them."""
    folder = tmp_path_factory.mktemp("notebook")
    with Kernel("--mode=attached", f"--port={port}", "--lease=5", folder=folder) as running:
        yield running


def words(kernel_cell: Cell) -> str:
    """All that is said to the person in this kernel's own words."""
    return kernel_cell.error + kernel_cell.text("stderr")


@pytest.mark.parametrize("lie", [*BEFORE, *ENDS, "twice", "half a line", "editor"])
def test_the_cell_ends_and_the_next_one_runs(kernel: Kernel, lie: str) -> None:
    """P3: and the messages are Jupyter's."""
    cell = kernel.run(lie)
    assert cell.status in ("ok", "error")
    assert (cell.status == "ok") == (lie in (*BEFORE, "twice", "editor")), str(cell)[-3000:]
    assert set(cell.kinds()) <= OUTPUTS
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", words(cell))
    if lie == "editor":
        # Some frontends give that name to a shell of this machine.
        assert cell.reply["content"]["payload"] == [{"source": "set_next_input", "text": "x"}]
    following = kernel.run("fine")
    assert following.result == "42"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", words(following))


@pytest.mark.parametrize("number", range(len(REPLIES)))
def test_a_reply_that_is_none_is_an_error(kernel: Kernel, number: int) -> None:
    """P3: a frontend may fail on another shape."""
    kernel.run("fine")
    for what in ("complete", "inspect"):
        assert kernel.ask(what, str(number), 0)["status"] == "error"
    assert kernel.ask("is_complete", str(number))["status"] == "unknown"
    assert kernel.ask("history", hist_access_type="tail", n=number)["status"] == "error"


def test_what_it_says_of_its_session(kernel: Kernel) -> None:
    """P3: the kernel's own words of it stay words."""
    info = kernel.ask("kernel_info")
    assert ESC not in info["language_info"]["version"] + info["banner"]
    said = replies.session_info(INFO)
    assert said.keys() == {"new", "python", "notes"}
    answers: list[Any] = [5, None, [], {"notes": 5}, {"notes": [1]}]
    for answer in answers:
        assert replies.session_info(answer)["notes"] == []
    assert len(replies.session_info(INFO)["notes"]) == replies.MAX_NOTES


def test_a_status_that_is_none(port: int) -> None:
    client = Client(Endpoint("127.0.0.1", port, None), Deadline(10))
    with pytest.raises(RequestRefused, match="can't be read"):
        replies.server_status(client.ask(wire.Status(client.new_id()), PATIENCE))
    client.close()


HONEST = {
    "uptime": 1.5,
    "python": "3.12",
    "executable": "/usr/bin/python3",
    "workplace": "/workspace",
    "hostname": "h",
    "temp": "/tmp",
    "sessions": [{"name": "main", "busy": False, "pid": None}],
}


@pytest.mark.parametrize(
    "lie",
    [
        {"uptime": -1},
        {"uptime": True},
        {"uptime": 10**300},
        {"python": None},
        {"sessions": {}},
        {"sessions": [{"name": "main", "pid": None}]},
        {"sessions": [{"name": "main", "busy": False}]},
        {"sessions": [{"name": "main", "busy": False, "pid": "1"}]},
        {"sessions": [{"name": "main", "busy": False, "pid": 1, "memory": 1.5}]},
    ],
    ids=str,
)
def test_a_status_with_one_lie(lie: dict[str, Any]) -> None:
    """P3: what counts with it would fail further on; a limit that is none is left out."""
    limits = {"memory": 1.5, "pids": 3, "cpu_seconds": 0.5, "x": "y", "memory_limit": None}
    honest = replies.server_status({**HONEST, "limits": limits, "machine": 5})
    assert honest["limits"] == {"pids": 3, "cpu_seconds": 0.5, "memory_limit": None}
    assert honest["machine"] == {}
    with pytest.raises(RequestRefused, match="can't be read"):
        replies.server_status({**HONEST, **lie})


# ---- the client itself


@contextlib.contextmanager
def client_of(answer: peer.Answer) -> Iterator[Client]:
    with peer.server(answer) as endpoint:
        client = Client(endpoint, Deadline(10))
        try:
            yield client
        finally:
            client.close()


def test_the_log_has_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """P3: a server that does wrong for ever doesn't fill a disk; and its words stay words."""

    def answer(request: Request, send: peer.Send) -> None:
        for _ in range(200):
            send(wire.Fault("", NASTY, NASTY))
            send(Final(NASTY, 0))
            send(wire.Chunk(request.id, NASTY))
        send(Final(request.id, 0))

    def fail(event: Event) -> None:
        raise ValueError(getattr(event, "data", ""))

    with caplog.at_level(logging.DEBUG), client_of(answer) as client:
        client.request(wire.Ping(client.new_id()), fail).result(PATIENCE)
    assert MAX_COMPLAINTS <= len(caplog.records) < MAX_COMPLAINTS + 10
    for record in caplog.records:
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", record.getMessage())
        assert record.exc_info is None


def test_a_command_whose_output_comes_on_no_stream() -> None:
    """O4, P3: what is kept is bounded by stream, and there are two."""

    def answer(request: Request, send: peer.Send) -> None:
        with contextlib.suppress(BadMessage):
            send(wire.Chunk(request.id, "x", "stdin"))
        send(wire.Chunk(request.id, "y"))
        send(Final(request.id, 1, "signal", {"signal": NASTY}))

    with client_of(answer) as client:
        done = run(client, Command("ls"))
    assert done.stdout == "y"
    assert ESC not in done.error


def test_a_stream_without_end_takes_no_memory() -> None:
    """O4: who doesn't take it has the server wait; who gives up, gives up."""
    stop = threading.Event()
    sent = []

    def answer(request: Request, send: peer.Send) -> None:
        while not stop.is_set():
            send(wire.Chunk(request.id, "x" * 1_000_000))
            sent.append(1)

    with client_of(answer) as client:

        def on_text(_stream: str, _text: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(client, Command("yes"), on_text)
        stop.set()
    assert sent


@pytest.mark.parametrize("name", ["../../.bashrc", "a/b", "", ".", "..", "x\0y"])
def test_a_name_that_leads_elsewhere(name: str) -> None:
    """P3: somebody may make a path of this machine with it."""

    def answer(request: Request, send: peer.Send) -> None:
        entry = {"name": name, "kind": "file", "size": 1, "mtime": 0}
        send(Final(request.id, 0, result={"entries": [entry], "more": False}))

    with client_of(answer) as client, pytest.raises(TransferError, match="can't be read"):
        files.list(client, ".")


def test_a_folder_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ENTRIES", 1000)

    def answer(request: Request, send: peer.Send) -> None:
        assert isinstance(request, wire.ListFiles)
        at = int(request.after or "0")
        entries = [
            {"name": f"{number:09}", "kind": "file", "size": 1, "mtime": 0}
            for number in range(at + 1, at + 101)
        ]
        send(Final(request.id, 0, result={"entries": entries, "more": True}))

    with client_of(answer) as client, pytest.raises(TransferError, match="more than 1000"):
        files.list(client, ".")


@pytest.mark.parametrize(
    ("size", "says"), [(10, "changed"), (0, "no end"), (2**62, "free"), (10**300, "free")]
)
def test_a_size_that_lies(
    size: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: a file without end fills neither the disk nor the memory."""
    monkeypatch.setattr(files, "SIZELESS_BYTES", 5000)
    (data,) = wire.pack_buffers([b"x" * 1000])

    def answer(request: Request, send: peer.Send) -> None:
        result = {"data": data, "size": size, "mtime": 0, "eof": False}
        send(Final(request.id, 0, result=result))

    with client_of(answer) as client:
        for local in (tmp_path / "file", None):
            with pytest.raises(TransferError, match=says):
                files.get(client, "file", local)
    assert list(tmp_path.iterdir()) == []


def test_what_waits_for_the_frontend_is_weighed() -> None:
    """O4: a large display counts as one, wherever in it the size is."""
    big = "x" * 1_000_000
    for data in ({"application/json": {"a": [[big]]}}, {big: ""}, {"a": [0] * 200_000}):
        assert _weight(Output("display_data", {"data": data})) >= 1_000_000
    deep: Any = "x"
    for _ in range(150):
        deep = [deep] * 2
    assert _weight(Output("display_data", {"data": {"a": deep}})) >= MAX_UNSENT_CHARS


def test_widgets_of_a_container_are_bounded_and_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """K7, P3: in the host's notebook each has a twin, and the host's own comms stay its own."""
    monkeypatch.setattr(bridge, "MAX_TWINS", 100)
    own = comm.create_comm(target_name="the host's")
    heard: list[object] = []
    made = bridge.Bridge(lambda *said: heard.append(said))
    for name in (own.comm_id, *map(str, range(1000))):
        made.take(wire.CommOpen("1", name, target_name="x"))
    comms = comm.get_comm_manager().comms
    assert comms[own.comm_id] is own
    assert len(comms) == 101
    made.close()
    own.close()
    assert not comms


def test_a_server_that_proves_nothing_gets_nothing(port: int) -> None:
    """P6: a server that proves nothing gets no proof, and no request."""
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                heard.append(data)
                nonce = json.loads(heard[0])["nonce"]
                hello = wire.ServerHello("hello", 1, "x", nonce, "0" * 64)
                connection.sendall(wire.encode(hello) + wire.encode(Final("hello", 0)))

    with peer.listening(listen) as fake:
        endpoint = Endpoint("127.0.0.1", fake, b"the owner's secret", ours=False)
        with pytest.raises(AuthenticationFailed, match="doesn't have the secret"):
            Client(endpoint, Deadline(5))
    assert len(heard) == 1
    assert b"hello" in heard[0]
    with pytest.raises(AuthenticationFailed, match="a secret is set here"):
        Client(Endpoint("127.0.0.1", port, b"the owner's secret", ours=False), Deadline(5))
