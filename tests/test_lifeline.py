"""A lost connection loses nothing, and runs nothing twice (P12): a true server, a bad network.

What the journal does by itself is in test_journal.py.
"""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import peer
from docker_kernel import absence, lifeline
from docker_kernel.client import Call, Client, OnEvent
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import ConnectionLost
from docker_kernel_server.messages import (
    Ack,
    Chunk,
    Event,
    Execute,
    Final,
    InputReply,
    InputRequest,
    Interrupt,
    OpenSession,
    Request,
    Resume,
    Run,
    Status,
    encode,
)
from docker_kernel_server.protocol import ServerSide
from proxy import Fate, Proxy, cutting
from system import wait_until
from wire import PATIENCE, Json, Server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as running:
        yield running


class Connected:
    """A client through the proxy, and what it was told."""

    def __init__(self, proxy: Proxy, **keys: Any) -> None:
        self.notices: queue.Queue[str] = queue.Queue()
        self.client = Client(
            Endpoint("127.0.0.1", proxy.port, None),
            Deadline(10),
            on_notice=self.notices.put,
            **keys,
        )
        self.session = f"s{id(self)}"

    def open(self) -> None:
        self.client.ask(OpenSession(self.client.new_id(), self.session), PATIENCE)

    def execute(self, code: str, on_event: OnEvent = lambda _: None) -> Call:
        return self.client.request(Execute(self.client.new_id(), self.session, code), on_event)

    def run(self, command: str, on_event: OnEvent) -> Call:
        return self.client.request(Run(self.client.new_id(), command), on_event)


@pytest.fixture
def connected(proxy: Proxy) -> Iterator[Connected]:
    made = Connected(proxy)
    yield made
    made.client.close()


def text(events: list[Event], stream: str = "stdout") -> str:
    return "".join(
        event.data for event in events if isinstance(event, Chunk) and event.stream == stream
    )


LINES = 40_000


def expected() -> str:
    return "".join(f"{number} {'x' * (number % 120)} \u00e9\n" for number in range(LINES))


CELL = f"""
for number in range({LINES}):
    print(number, 'x' * (number % 120), '\\u00e9')
"""
COMMAND = f"""python3 - <<'END'
for number in range({LINES}):
    print(number, 'x' * (number % 120), 'é')
END"""


@pytest.mark.parametrize("seed", range(5))
def test_every_byte_comes_once_and_in_order(proxy: Proxy, connected: Connected, seed: int) -> None:
    """P12, O1: forty cuts each, at random points of outputs of several MB."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    connected.open()
    whole = expected()
    size = len(whole.encode())
    proxy.to_client = cutting([chance.randrange(size) for _ in range(40)], chance)
    cell: list[Event] = []
    command: list[Event] = []
    calls = [connected.execute(CELL, cell.append), connected.run(COMMAND, command.append)]
    for call in calls:
        assert call.result(PATIENCE).status == 0
    assert text(cell) == whole
    assert text(command) == whole
    assert proxy.connections > 30


@pytest.mark.parametrize("seed", range(3))
def test_nothing_runs_twice(proxy: Proxy, connected: Connected, tmp_path: Path, seed: int) -> None:
    """P12: requests are cut on their way there, and their ends on their way back."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    connected.open()
    connected.execute(f"file = open({str(tmp_path / 'seen')!r}, 'a')").result(PATIENCE)
    count, padding = 300, "#" * 200
    size = count * 400
    proxy.to_server = cutting([chance.randrange(size) for _ in range(10)], chance)
    proxy.to_client = cutting([chance.randrange(size // 4) for _ in range(10)], chance)
    calls = [
        connected.execute(f"print({number}, file=file, flush=True) {padding}")
        for number in range(count)
    ]
    for call in calls:
        assert call.result(PATIENCE).status == 0
    assert (tmp_path / "seen").read_text().split() == [str(number) for number in range(count)]
    assert proxy.connections > 10


def test_a_cell_runs_on_while_the_network_is_away_for_half_a_minute(
    proxy: Proxy, connected: Connected
) -> None:
    """The contract: everything is shown in the end, and the person is told meanwhile."""
    connected.open()
    seconds = 30
    events: list[Event] = []
    began: queue.Queue[Event] = queue.Queue()

    def take(event: Event) -> None:
        events.append(event)
        began.put(event)

    lines = seconds * 20
    code = f"import time\nfor n in range({lines}): print(n); time.sleep(0.05)\n'done'"
    call = connected.execute(code, take)
    began.get(timeout=PATIENCE)
    proxy.refuse()
    proxy.cut()
    assert "nothing is lost" in connected.notices.get(timeout=PATIENCE)
    time.sleep(seconds)  # this is what the test is about
    proxy.refuse(False)
    assert call.result(PATIENCE).status == 0
    assert text(events) == "".join(f"{n}\n" for n in range(lines))
    assert "is back" in connected.notices.get(timeout=PATIENCE)


def test_a_question_is_asked_and_answered_after_a_loss(proxy: Proxy, connected: Connected) -> None:
    """C4: the connection is lost while input() waits."""
    connected.open()
    questions: queue.Queue[InputRequest] = queue.Queue()
    results: list[Event] = []

    def take(event: Event) -> None:
        if isinstance(event, InputRequest):
            questions.put(event)
        else:
            results.append(event)

    request = Execute(
        connected.client.new_id(), connected.session, "print(input('? '))", allow_stdin=True
    )
    call = connected.client.request(request, take)
    question = questions.get(timeout=PATIENCE)
    proxy.cut()
    answer = InputReply(connected.client.new_id(), connected.session, question.id, "yes")
    connected.client.request(answer)
    assert call.result(PATIENCE).status == 0
    assert text(results) == "yes\n"
    assert questions.empty()


def test_a_network_that_stalls_loses_nothing(proxy: Proxy, connected: Connected) -> None:
    """A cell prints more than every buffer on the way holds; it waits, and so does nobody else."""
    connected.open()
    events: list[Event] = []
    proxy.stall()
    call = connected.execute("for _ in range(64): print('x' * 1_000_000)", events.append)
    with pytest.raises(TimeoutError):
        call.result(0.5)
    proxy.stall(False)
    assert call.result(PATIENCE).status == 0
    assert len(text(events)) == 64 * 1_000_001


@contextlib.contextmanager
def watching(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, *, silent: float, answer: float
) -> Iterator[Connected]:
    """A client that asks after so many seconds of silence, and waits so long for the answer."""
    monkeypatch.setattr(lifeline, "SILENT_SECONDS", silent)
    monkeypatch.setattr(lifeline, "ANSWER_SECONDS", answer)
    monkeypatch.setattr(lifeline, "KEEP_SECONDS", 0.05)
    watched = Connected(proxy)
    try:
        yield watched
    finally:
        watched.client.close()


def test_a_network_that_swallows_is_found_out(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is dead without a word: the server is asked, and another one made."""
    with watching(proxy, monkeypatch, silent=0.2, answer=0.2) as watched:
        watched.open()
        proxy.to_client = lambda _data: Fate(b"")
        events: list[Event] = []
        call = watched.execute("print('here')", events.append)
        before = proxy.connections
        assert wait_until(lambda: proxy.connections > before, PATIENCE)
        proxy.to_client = Fate
        assert call.result(PATIENCE).status == 0
        assert text(events) == "here\n"


def test_a_silence_costs_nothing_where_the_server_lives(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2: a cell may be silent for long."""
    with watching(proxy, monkeypatch, silent=0.05, answer=5.0) as watched:
        watched.open()
        assert watched.execute("import time; time.sleep(1)").result(PATIENCE).status == 0
        assert proxy.connections == 1


def test_waiting_can_be_given_up(proxy: Proxy, connected: Connected) -> None:
    """The call gets an error, and the code goes on."""
    connected.open()
    call = connected.execute("import time; time.sleep(1)")
    proxy.refuse()
    proxy.cut()
    assert wait_until(lambda: connected.client.give_up("you gave up"), PATIENCE)
    with pytest.raises(ConnectionLost, match="you gave up"):
        call.result(PATIENCE)
    assert not connected.client.connected
    assert not connected.client.give_up("again")


def test_it_gives_up_when_its_patience_is_over(proxy: Proxy) -> None:
    impatient = Connected(proxy, patience=0.2)
    call = impatient.client.request(Run(impatient.client.new_id(), "sleep 5"))
    proxy.refuse()
    proxy.cut()
    with pytest.raises(ConnectionLost, match="the server at"):
        call.result(PATIENCE)
    impatient.client.close()


def test_a_known_trouble_is_told_and_waited_for(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E8: a paused container forgets nothing; so no patience ends before the person mends it."""
    monkeypatch.setattr(absence, "QUIET_SECONDS", 0.0)
    troubles = 0

    def trouble() -> str:
        nonlocal troubles
        troubles += 1
        return "it is paused; type: unpause"

    patient = Connected(proxy, patience=0.1, trouble=trouble)
    try:
        call = patient.run("echo here", lambda _: None)
        proxy.refuse()
        proxy.cut()
        told = patient.notices.get(timeout=PATIENCE)
        assert "it is paused; type: unpause. Nothing is lost" in told
        before = time.monotonic()
        assert wait_until(lambda: troubles > 5 and time.monotonic() - before > 0.2, PATIENCE)
        proxy.refuse(False)
        assert call.result(PATIENCE).status == 0
        assert "is back" in patient.notices.get(timeout=PATIENCE)
        assert patient.notices.empty()
    finally:
        patient.client.close()


def test_a_server_that_has_begun_anew_is_told_apart(tmp_path: Path, free_port: int) -> None:
    """Nothing is sent to it that was for the one before."""
    with Proxy(free_port) as proxy:
        with Server(tmp_path, port=free_port):
            connected = Connected(proxy)
            call = connected.run(f"touch {tmp_path}/seen; sleep 60", lambda _: None)
            assert wait_until((tmp_path / "seen").exists, PATIENCE)
            (tmp_path / "seen").unlink()
            proxy.refuse()
            proxy.cut()
        with Server(tmp_path, port=free_port):
            proxy.refuse(False)
            with pytest.raises(ConnectionLost, match="begun anew"):
                call.result(PATIENCE)
            assert not (tmp_path / "seen").exists()
        connected.client.close()


def test_a_client_that_leaves_ends_its_commands(server: Server) -> None:
    """P10: it says so; nobody has to wait until it is clear that it won't come back."""
    with Proxy(server.port) as proxy:
        connected = Connected(proxy)
        seen: queue.Queue[Event] = queue.Queue()
        connected.run("echo begun; exec sleep 1234", seen.put)
        seen.get(timeout=PATIENCE)
        connected.client.close()
        # Before the proxy ends: it may not have passed it on yet.
        assert wait_until(lambda: not server.processes("sleep 1234"), PATIENCE)


def test_one_that_was_killed_is_forgotten(tmp_path: Path) -> None:
    """E8: it doesn't say that it leaves; its commands end with the lease."""
    with (
        Server(tmp_path, args=["--lease", "5"]) as server,
        server.connect() as other,
        Proxy(server.port) as proxy,
    ):
        connected = Connected(proxy)
        seen: queue.Queue[Event] = queue.Queue()
        connected.run("echo begun; exec sleep 1234", seen.put)
        seen.get(timeout=PATIENCE)
        proxy.refuse()
        proxy.cut()
        assert wait_until(
            lambda: bool(server.processes("sleep 1234")), PATIENCE
        )  # it may be in exec
        assert wait_until(lambda: not server.processes("sleep 1234"), PATIENCE)
        assert other.run("echo alive").text() == "alive\n"
        connected.client.close()


def ask(connected: Connected, request: Request) -> object:
    return connected.client.ask(request, PATIENCE)


def test_an_interrupt_while_away_reaches_the_cell(proxy: Proxy, connected: Connected) -> None:
    """C3"""
    connected.open()
    call = connected.execute("import time; time.sleep(100)")
    proxy.cut()
    connected.client.request(Interrupt(connected.client.new_id(), connected.session))
    assert call.result(PATIENCE).reason == "interrupt"
    assert isinstance(ask(connected, Status(connected.client.new_id())), dict)


class Gate:
    """A fault of a proxy: lets nothing through before it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.reached = threading.Event()
        """Whether something stands before it."""

    def __call__(self, data: bytes) -> Fate:
        self.reached.set()
        assert self._open.wait(PATIENCE)
        return Fate(data)

    def open(self) -> None:
        self._open.set()


LONG = "#" * 16_000_000 + "\n"
"""More than all buffers on the way hold."""


def sending(connected: Connected) -> bool:
    """Whether a long line is on its way."""
    return bool(connected.client._line._link.stream.progress_at)


def test_a_half_closed_connection_frees_who_sends(proxy: Proxy, connected: Connected) -> None:
    """P12: the other end says that it is done, and takes nothing more either."""
    connected.open()
    gate = proxy.to_server = Gate()
    calls: queue.Queue[Call] = queue.Queue()
    events: list[Event] = []
    thread = threading.Thread(
        target=lambda: calls.put(connected.execute(LONG + "print('here')", events.append))
    )
    thread.start()
    assert wait_until(lambda: sending(connected), PATIENCE)
    proxy.to_server = Fate
    proxy.half_close()
    assert calls.get(timeout=PATIENCE).result(PATIENCE).status == 0
    assert text(events) == "here\n"
    gate.open()
    thread.join(PATIENCE)


def test_both_sides_have_much_to_send_again(
    proxy: Proxy, connected: Connected, tmp_path: Path
) -> None:
    """P12: neither waits for the other to read first."""
    connected.open()
    code = f"""
import pathlib, time
here = pathlib.Path({str(tmp_path)!r})
(here / 'begun').touch()
while not (here / 'away').exists(): time.sleep(0.01)
display({{'text/plain': 'x' * 50_000_000}}, raw=True)
(here / 'shown').touch()"""
    show = connected.execute(code)
    assert wait_until((tmp_path / "begun").exists, PATIENCE)
    proxy.refuse()
    proxy.cut()
    assert wait_until(lambda: not connected.client.connected, PATIENCE)
    (tmp_path / "away").touch()
    assert wait_until((tmp_path / "shown").exists, PATIENCE)
    long = connected.execute(LONG)
    proxy.refuse(False)
    assert show.result(PATIENCE).status == 0
    assert long.result(PATIENCE).status == 0


@pytest.mark.parametrize("how", ["close", "give up"])
def test_it_ends_in_the_moment_of_its_return(server: Server, how: str) -> None:
    """C7, P10: nothing is left of it on either side."""
    with Proxy(server.port) as proxy:
        connected = Connected(proxy)
        seen: queue.Queue[Event] = queue.Queue()
        call = connected.run("echo begun; exec sleep 4567", seen.put)
        seen.get(timeout=PATIENCE)
        gate = proxy.to_client = Gate()
        proxy.cut()
        assert gate.reached.wait(PATIENCE)
        if how == "close":
            closing = threading.Thread(target=connected.client.close)
            closing.start()
            assert wait_until(connected.client._line._ending.is_set, PATIENCE)
        else:
            assert connected.client.give_up("you gave up")
        gate.open()
        with pytest.raises(ConnectionLost, match="closed" if how == "close" else "you gave up"):
            call.result(PATIENCE)
        if how == "close":
            closing.join(PATIENCE)
            assert wait_until(lambda: not server.processes("sleep 4567"), PATIENCE)
        assert wait_until(
            lambda: not any(thread.is_alive() for thread in connected.client._line._threads),
            PATIENCE,
        )
        connected.client.close()


def test_ctrl_c_in_the_middle_of_a_line(proxy: Proxy, connected: Connected) -> None:
    """C3: what is sent next isn't taken for the rest of it."""
    connected.open()
    gate = proxy.to_server = Gate()
    main = threading.get_ident()

    def interrupt() -> None:
        assert wait_until(lambda: sending(connected), PATIENCE)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        connected.execute(LONG)
    thread.join()
    proxy.to_server = Fate
    gate.open()
    assert isinstance(ask(connected, Status(connected.client.new_id())), dict)
    assert connected.execute("pass").result(PATIENCE).status == 0


def test_a_slow_way_is_no_silence(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2: a long request takes longer than a server may be silent."""
    proxy.hold_little()
    with watching(proxy, monkeypatch, silent=1.0, answer=3.0) as watched:
        watched.open()

        def slow(data: bytes) -> Fate:
            time.sleep(len(data) / 3_000_000)  # that is the test
            return Fate(data)

        proxy.to_server = slow
        assert watched.execute(LONG).result(PATIENCE).status == 0
        assert proxy.connections == 1


def hostile(answers: list[Json], requests: queue.Queue[Request]) -> Callable[..., None]:
    """Serves a server that answers each `resume` with the next of these, and hangs up on others."""
    left = iter(answers)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client hangs up, too
            speak(connection)

    def speak(connection: socket.socket) -> None:
        side = ServerSide()
        while data := connection.recv(65536):
            for item in side.receive(data):
                if isinstance(item, Resume):
                    connection.sendall(encode(Final(item.id, 0, result=next(left, answers[-1]))))
                elif isinstance(item, Event):
                    connection.sendall(encode(item))
                elif isinstance(item, Request):
                    requests.put(item)
                    peer.hang_up(connection)
                    return

    return serve


FIRST: Json = {"new": True, "received": 0, "next": 1}


@pytest.mark.parametrize(
    ("received", "following"), [(10**40, 1), (-1, 1), (0, 0), (0, -7), ("0", 1), (0, None)]
)
def test_numbers_that_make_no_sense(received: Any, following: Any) -> None:
    """P3: the request ends, and nothing is sent again."""
    answer = {"new": False, "received": received, "next": following}
    requests: queue.Queue[Request] = queue.Queue()
    with peer.listening(hostile([FIRST, answer], requests)) as port:
        client = Client(Endpoint("127.0.0.1", port, None), Deadline(10))
        with pytest.raises(ConnectionLost, match="begun anew"):
            client.request(Status(client.new_id())).result(PATIENCE)
        client.close()
    assert requests.qsize() == 1


def test_a_long_line_is_acknowledged_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4: also where a line before it was, while it came. The server sends no more until then."""
    monkeypatch.setattr(lifeline, "KEEP_SECONDS", 1000.0)
    lines = [encode(Chunk("1", text)) for text in ("a", "a" * (lifeline.ACK_BYTES * 7 // 4))]
    begun = len(lines[0]) + lifeline.ACK_BYTES * 5 // 4
    parts = [b"".join(lines)[:begun], b"".join(lines)[begun:]]
    acknowledged: queue.Queue[int] = queue.Queue()

    def serve(connection: socket.socket) -> None:
        side = ServerSide()
        while data := connection.recv(65536):
            for item in side.receive(data):
                if isinstance(item, Resume):
                    connection.sendall(encode(Final(item.id, 0, result=FIRST)))
                elif isinstance(item, Event):
                    connection.sendall(encode(item))
                elif isinstance(item, Ack):
                    acknowledged.put(item.received)
                if isinstance(item, (Ack, Resume)) and parts:
                    connection.sendall(parts.pop(0))

    with peer.listening(serve) as port:
        client = Client(Endpoint("127.0.0.1", port, None), Deadline(10))
        assert [acknowledged.get(timeout=PATIENCE) for _ in lines] == [1, 2]
        client.close()


def test_a_server_that_takes_it_back_and_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """P3: the pauses between the tries grow all the same."""
    pauses: list[float] = []

    def shorter() -> Iterator[float]:
        for number in range(1000):
            pauses.append(number)
            yield 0.001

    monkeypatch.setattr(lifeline, "pauses", shorter)
    requests: queue.Queue[Request] = queue.Queue()
    with peer.listening(hostile([FIRST, {**FIRST, "new": False}], requests)) as port:
        client = Client(Endpoint("127.0.0.1", port, None), Deadline(10))
        client.request(Status(client.new_id()))
        for _ in range(5):
            requests.get(timeout=PATIENCE)
        client.close()
    assert pauses[:4] == [0, 1, 2, 3]
