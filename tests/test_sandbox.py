"""A sandbox starts once, comes back after a loss, and ends; here on servers that run already."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from traitlets.config import Config

import peer
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.errors import (
    ConnectionLost,
    NotAServer,
    ServerNotThere,
    StartCancelled,
    StartTimeout,
)
from docker_kernel.handover import HandoverFile
from docker_kernel.sandbox import Sandbox
from docker_kernel.session import Session
from docker_kernel_server.messages import (
    Final,
    OpenSession,
    Request,
    RestartSession,
    SessionDied,
    Status,
)
from system import wait_until


def settings(port: int, **keys: object) -> Settings:
    config = Config({"Settings": {"mode": "attached", "port": port, **keys}})
    return Settings.load(None, config, environ={})


class Sessions:
    """Answers open_session as a server does: new at the first time only."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.seen: list[str] = []

    def __call__(self, request: Request, send: peer.Send) -> None:
        self.seen.append(request.TYPE)
        if isinstance(request, (OpenSession, RestartSession)):
            new = request.session not in self.names or isinstance(request, RestartSession)
            self.names.add(request.session)
            send(Final(request.id, 0, result={"new": new, "execution_count": 1, "notes": ["hi"]}))
        else:
            send(Final(request.id, 0))


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def sandbox(sessions: Sessions) -> Iterator[Sandbox]:
    with peer.server(sessions) as endpoint:
        made = Sandbox(settings(endpoint.port))
        yield made
        made.stop()


def lose(client: Client) -> None:
    """Break a client's connection, for good: the server of these tests remembers no client."""
    client._line._link.stream.shut()
    assert wait_until(lambda: not client.connected, 10)


def test_one_start_for_many_threads(sandbox: Sandbox) -> None:
    assert sandbox.connected is None
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(lambda _: sandbox.client(), range(32)))
    assert clients == {sandbox.connected}


def test_it_comes_back_after_a_loss(sandbox: Sandbox) -> None:
    first = sandbox.client()
    lose(first)
    assert sandbox.connected is None
    second = sandbox.client()
    assert second is not first
    assert second.request(Status("1")).result(5).status == 0


def test_events_of_nobody_reach_the_owner() -> None:
    died = SessionDied("", "main", "exit", "status 3")
    seen = threading.Event()

    def answer(request: Request, send: peer.Send) -> None:
        send(died)
        send(Final(request.id, 0))

    with peer.server(answer) as endpoint:
        sandbox = Sandbox(settings(endpoint.port))
        sandbox.on_event = lambda event: seen.set() if event == died else None
        sandbox.client().request(Status("1")).result(5)
        assert seen.wait(5)
        sandbox.stop()


def test_stop_is_the_end(sandbox: Sandbox) -> None:
    client = sandbox.client()
    sandbox.stop()
    sandbox.stop()
    assert not client.connected
    with pytest.raises(StartCancelled):
        sandbox.client()


def test_stop_before_anything_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made for it; and a start that comes by then makes nothing either."""
    made: list[Settings] = []
    monkeypatch.setattr("docker_kernel.sandbox.make_backend", lambda *_: made.append(Settings()))
    sandbox = Sandbox(Settings(mode="docker"))
    sandbox.stop()
    with pytest.raises(StartCancelled):
        sandbox._backend()
    assert made == []


def test_a_start_that_fails_can_be_tried_again(free_port: int, sessions: Sessions) -> None:
    sandbox = Sandbox(settings(free_port))
    for _ in range(2):
        with pytest.raises(ServerNotThere, match=str(free_port)):
            sandbox.client()
    listener = socket.create_server(("127.0.0.1", free_port))
    thread = threading.Thread(target=serve_one, args=(listener, sessions))
    thread.start()
    assert sandbox.client().connected
    sandbox.stop()
    thread.join(5)
    listener.close()


def serve_one(listener: socket.socket, answer: peer.Answer) -> None:
    connection, _ = listener.accept()
    with connection:
        peer.speak(connection, answer)


def test_something_else_on_the_port() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"220 mail.example.org ESMTP\r\n")

    with peer.listening(serve) as port:
        sandbox = Sandbox(settings(port))
        with pytest.raises(NotAServer):
            sandbox.client()
        sandbox.stop()


def test_before_the_start_nothing_is_said_of_the_workspace(tmp_path: Path) -> None:
    """Whether the folder may be mounted is found out by the start."""
    waiting = Sandbox(Settings(image="box:1", workspace=str(tmp_path)))
    assert waiting.describe() == "box:1, 2g of memory, 512 processes, network bridge"
    waiting.stop()


def test_describe_names_the_server(sandbox: Sandbox) -> None:
    assert str(sandbox.settings.port) in sandbox.describe()
    assert sandbox.handover() is None


# ---- sessions ----------------------------------------------------------------------------------


def test_a_session_is_opened_once(sandbox: Sandbox, sessions: Sessions) -> None:
    session = Session(sandbox, "main")
    assert session.ready is None
    client = session.client()
    assert session.client() is client is session.ready
    assert sessions.seen == ["open_session"]
    assert (session.take_notes(), session.take_notes()) == (["hi"], [])


def test_a_fresh_session_drops_what_was_left(sandbox: Sandbox, sessions: Sessions) -> None:
    sessions.names.add("main")
    Session(sandbox, "main", fresh=True).client()
    assert sessions.seen == ["open_session", "restart_session"]


def test_after_a_loss_the_session_is_the_same(sandbox: Sandbox, sessions: Sessions) -> None:
    session = Session(sandbox, "main", fresh=True)
    lose(session.client())
    session.take_notes()
    assert session.ready is None
    session.client()
    assert sessions.seen == ["open_session", "open_session"]
    assert session.take_notes() == ["hi"]


def test_a_session_that_is_new_again_says_so(sandbox: Sandbox, sessions: Sessions) -> None:
    session = Session(sandbox, "main")
    session.client()
    session.take_notes()
    sessions.names.clear()
    session.forget()
    session.client()
    assert "reset" in session.take_notes()[0]


def test_close(sandbox: Sandbox, sessions: Sessions) -> None:
    session = Session(sandbox, "main")
    session.close()
    session.client()
    session.close()
    assert sessions.seen == ["open_session", "close_session"]


def test_a_session_that_never_opens() -> None:
    with peer.server(lambda *_: None) as endpoint:
        session = Session(Sandbox(settings(endpoint.port, start_timeout=1.0)), "main")
        with pytest.raises(StartTimeout, match="1 s"):
            session.client()
        session.sandbox.stop()


def test_a_session_on_a_lost_server() -> None:
    def serve(connection: socket.socket) -> None:
        peer.speak(connection, lambda *_: peer.hang_up(connection))

    with peer.listening(serve) as port:
        session = Session(Sandbox(settings(port)), "main")
        with pytest.raises(ConnectionLost):
            session.client()
        session.sandbox.stop()


# ---- the note for the next process -------------------------------------------------------------


def test_a_note_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    note = HandoverFile(str(tmp_path / "kernel-1.json"))
    assert note.read() is None
    note.write({"container": "abc"})
    assert note.path.stat().st_mode & 0o777 == 0o600
    assert note.read() == {"container": "abc"}
    assert HandoverFile(str(tmp_path / "kernel-2.json")).read() is None
    note.remove()
    note.remove()
    assert list(tmp_path.iterdir()) == []


def test_of_two_who_leave_a_note_anew_one_does(tmp_path: Path) -> None:
    """E3: two kernels that start a container ahead in the same moment; and one takes it."""
    first, second = (HandoverFile(str(tmp_path / "kernel-1.json")) for _ in range(2))
    first.write({"container": "abc"}, anew=True)
    with pytest.raises(FileExistsError):
        second.write({"container": "def"}, anew=True)
    assert second.take() == {"container": "abc"}
    assert first.take() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\xff"])
def test_a_note_that_is_no_use(tmp_path: Path, text: str) -> None:
    note = HandoverFile(str(tmp_path / "kernel-1.json"))
    note.path.write_text(text, encoding="latin-1")
    assert not note.read()


@pytest.mark.parametrize("name", ["kernel-1.json", "./kernel-1.json"])
def test_a_note_for_a_bare_name_lies_in_jupyters_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert HandoverFile(name).path == tmp_path / "kernel-1.docker-kernel"
