"""The worker's end of the wire: what is put leaves once, whole and in order, whatever happens."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import operator
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_kernel_server import outbox
from docker_kernel_server.framing import dump_line
from docker_kernel_server.outbox import MAX_BYTES_HERE, MAX_WAITING_BYTES, Outbox

END = dump_line({"type": "end"})
LONG = "y" * MAX_BYTES_HERE


class _Ending(Outbox):
    """In a worker, the thread ends with the process."""

    over = False

    def _run(self) -> None:
        with contextlib.suppress(StopIteration):
            super()._run()

    def _wait(self) -> None:
        if self.over:
            raise StopIteration
        super()._wait()

    def end(self) -> None:
        self.over = True
        self._queue.append(b"")
        self._hurry()
        self._thread.join()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Such as takes a part of what is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return ours, listener.accept()[0]


@contextlib.contextmanager
def wire(
    pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair,
) -> Iterator[tuple[Outbox, socket.socket]]:
    """An outbox, and the server's end of its wire."""
    ours, theirs = pair()
    theirs.settimeout(30)
    with ours, theirs:
        out = _Ending(ours)
        yield out, theirs
        out.end()


def read(far: socket.socket) -> list[dict[str, Any]]:
    """What has come, up to `END`, without it."""
    data = bytearray()
    while not data.endswith(END):
        data += far.recv(1 << 20)
    return [json.loads(line) for line in bytes(data).splitlines()[:-1]]


@contextlib.contextmanager
def reading(far: socket.socket) -> Iterator[list[dict[str, Any]]]:
    """The events up to `END`, read while they come; whole when this is left."""
    events: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: events.extend(read(far)))
    reader.start()
    yield events
    reader.join()


def texts(events: list[dict[str, Any]], stream: str = "stdout") -> str:
    return "".join(event["data"] for event in events if event.get("stream") == stream)


@pytest.fixture(params=["here", "by the thread"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as it is, and once as on Pythons before 3.11."""
    monkeypatch.setattr(outbox, "HERE", request.param == "here" and outbox.HERE)


@pytest.mark.skipif(not outbox.HERE, reason="by the thread alone")
def test_a_line_and_an_event_need_no_other_thread() -> None:
    woken = mock.patch.object(Outbox, "_ring", side_effect=AssertionError("the thread was woken"))
    with wire() as (out, far), woken:
        out.put_text("stdout", "c", "x\n")
        far.setblocking(False)
        assert texts([json.loads(line) for line in far.recv(1000).splitlines()]) == "x\n"
        out.put_line(END)
        assert far.recv(1000) == END


@pytest.mark.usefixtures("anywhere")
def test_a_line_has_left_when_the_call_returns() -> None:
    with wire() as (out, far):
        far.setblocking(False)
        for _ in range(3):
            out.put_line(b"{}\n")
            out.put_text("stdout", "c", "some")
            out.put_text("stdout", "c", "thing")
            out.put_text("stdout", "c", "\n")
            events = [json.loads(line) for line in far.recv(1000).splitlines()]
            assert texts(events) == "something\n"


@pytest.mark.usefixtures("anywhere")
def test_a_beginning_of_a_line_leaves_by_itself() -> None:
    with wire() as (out, far):
        for piece in ("50%", " 60%"):
            out.put_text("stdout", "c", piece)
            assert texts([json.loads(far.recv(1000))]) == piece


@pytest.mark.usefixtures("anywhere")
def test_a_loop_of_prints_is_few_messages() -> None:
    count = 20_000
    with wire() as (out, far), reading(far) as events:
        for number in range(count):
            out.put_text("stdout", "c", str(number))
            out.put_text("stdout", "c", "\n")
        out.put_line(END)
    assert texts(events) == "".join(f"{number}\n" for number in range(count))
    assert len(events) < count / 20


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(min_size=1, max_size=5)),
        st.tuples(st.just("stdout"), st.just("\n")),
        st.sampled_from(["line", "flush", "long"]),
    )
)


PAIRS = {"line": ("line", "line"), "long": ("stdout", LONG)}
"""What comes of a step, as those that are a stream and a text."""


@given(STEPS, STEPS)
def test_each_thread_keeps_its_order(
    ours: list[str | tuple[str, str]], others: list[str | tuple[str, str]]
) -> None:
    def put(cell: str, steps: list[str | tuple[str, str]]) -> None:
        for step in steps:
            if isinstance(step, tuple):
                out.put_text(step[0], cell, step[1])
            elif step == "flush":
                out.flush()
            elif step == "long":
                out.put_text("stdout", cell, LONG)
            else:
                out.put_line(dump_line({"type": "line", "id": cell, "data": "line"}))

    def put_together(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Texts of a stream that follow one another are one."""
        return [
            (kind, "".join(text for _, text in group))
            for kind, group in itertools.groupby(pairs, key=operator.itemgetter(0))
        ]

    with wire() as (out, far), reading(far) as events:
        other = threading.Thread(target=put, args=("other", others))
        other.start()
        put("ours", ours)
        other.join()
        out.put_line(END)
    for cell, steps in (("ours", ours), ("other", others)):
        mine = [
            (event.get("stream", "line"), event["data"]) for event in events if event["id"] == cell
        ]
        put_by_it = [
            step if isinstance(step, tuple) else PAIRS[step] for step in steps if step != "flush"
        ]
        assert put_together(mine) == put_together(put_by_it)


@pytest.mark.usefixtures("anywhere")
def test_two_threads_at_once_tear_nothing() -> None:
    count = 3000
    before = sys.getswitchinterval()

    def put(cell: str) -> None:
        for number in range(count):
            out.put_line(dump_line({"type": "line", "id": cell, "data": number}))
            if number % 10 == 0:
                out.put_text("stdout", cell, f"{number}{'y' * number}\n")

    with wire() as (out, far), reading(far) as events:
        sys.setswitchinterval(1e-6)
        try:
            other = threading.Thread(target=put, args=("other",))
            other.start()
            put("ours")
            other.join()
        finally:
            sys.setswitchinterval(before)
        out.put_line(END)
    for cell in ("ours", "other"):
        lines = [
            event["data"] for event in events if event["type"] == "line" and event["id"] == cell
        ]
        assert lines == list(range(count))


class _Alarm(Exception):
    """What the person's own handler of a signal raises."""


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("deed", ["raises", "prints", "prints and raises"])
def test_a_handler_tears_nothing(deed: str) -> None:
    counter = itertools.count()

    def handle(_number: int, _frame: FrameType | None) -> None:
        number = next(counter)
        if "prints" in deed:
            out.put_text("stderr", "c", f"{number}\n")
        if "raises" in deed:
            raise _Alarm

    put: list[int] = []
    before = signal.signal(signal.SIGALRM, handle)
    try:
        with wire() as (out, far), reading(far) as events:
            for number in range(4000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, (number % 40 + 1) * 1e-6)
                    out.put_line(dump_line({"type": "line", "data": number}))
                    out.put_text("stdout", "c", f"{number}\n")
                    put.append(number)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except _Alarm:
                    pass
            out.put_line(END)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert next(counter) > 100
    for numbers in (
        [event["data"] for event in events if event["type"] == "line"],
        [int(line) for line in texts(events).split()],
    ):
        assert numbers == sorted(set(numbers))  # nothing twice, nothing too early
        assert set(put) <= set(numbers)
    said = [int(line) for line in texts(events, "stderr").split()]
    assert said == sorted(set(said))


@pytest.mark.usefixtures("anywhere")
def test_the_collector_may_print_in_the_midst_of_it() -> None:
    class Loop:
        def __init__(self, number: int) -> None:
            self.me = self
            self.number = number

        def __del__(self) -> None:
            out.put_text("stderr", "c", f"{self.number}\n")

    before = gc.get_threshold()
    with wire() as (out, far), reading(far) as events:
        gc.set_threshold(1)
        try:
            for number in range(300):
                Loop(number)
                out.put_line(b'{"type":"line"}\n')
                out.put_text("stdout", "c", f"{number}\n")
        finally:
            gc.set_threshold(*before)
        gc.collect()
        out.put_line(END)
    assert texts(events) == "".join(f"{number}\n" for number in range(300))
    said = texts(events, "stderr").split()
    assert sorted(map(int, said)) == list(range(300))


@pytest.mark.usefixtures("anywhere")
def test_a_server_that_does_not_read_delays_and_loses_nothing() -> None:
    with wire() as (out, far):
        filler = "y" * (MAX_WAITING_BYTES // 2)
        out.put_text("stdout", "c", filler)
        out.put_text("stdout", "c", "1\n")
        out.put_line(b'{"type":"line"}\n')
        out.put_text("stdout", "c", "2")
        out.flush(patience=0.01)
        out.put_line(END)
        events = read(far)
        assert texts(events) == filler + "1\n2"
        assert [event["type"] for event in events if event["type"] != "chunk"] == ["line"]


def test_a_wire_that_is_closed_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        out = _Ending(ours)
        theirs.close()
        for _ in range(3):
            out.put_text("stdout", "c", "x\n")
            out.put_line(END)
            out.flush()
        out.end()


@pytest.mark.usefixtures("anywhere")
def test_a_socket_that_takes_a_part_tears_nothing() -> None:
    """Not every system's kernel takes a little as a whole."""
    with wire(tcp_pair) as (out, far), reading(far) as events:
        for number in range(2000):
            out.put_line(dump_line({"type": "line", "data": f"{number}{'y' * 3000}"}))
        out.put_line(END)
    assert [event["data"].rstrip("y") for event in events] == [str(i) for i in range(2000)]


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize(
    "put", [lambda out: out.put_text("stdout", "c", "x\n"), lambda out: out.put_line(END)]
)
def test_what_was_interrupted_leaves_by_itself(put: Callable[[Outbox], None]) -> None:
    """Also where nothing comes after it. The interrupt falls behind the first step of all."""
    interrupted = mock.patch.object(Outbox, "_send_here", side_effect=KeyboardInterrupt)
    with wire() as (out, far):
        with interrupted, pytest.raises(KeyboardInterrupt):
            put(out)
        assert len(far.recv(1000).splitlines()) == 1


@pytest.mark.usefixtures("anywhere")
def test_where_there_is_no_room_for_it_the_next_one_leaves() -> None:
    with wire() as (out, far):
        with mock.patch.object(outbox, "dump_line", side_effect=MemoryError):
            out.put_text("stdout", "c", "x\n")
        out.put_text("stdout", "c", "y\n")
        out.put_line(END)
        assert texts(read(far)) == "y\n"


@pytest.mark.usefixtures("anywhere")
def test_at_the_recursion_limit_it_is_pythons_error() -> None:
    """And what was put before that has left, or will."""
    put, line = 0, dump_line({"type": "line"})

    def deeper() -> None:
        nonlocal put
        out.put_line(line)  # behind it, the next line is the first one
        out.put_text("stdout", "c", f"{put}\n")
        put += 1
        deeper()

    with wire() as (out, far), reading(far) as events:
        with pytest.raises(RecursionError):
            deeper()
        out.put_line(END)
    assert texts(events).split()[:put] == [str(number) for number in range(put)]
