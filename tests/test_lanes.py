"""Subshells: what is answered while the main shell is busy, in IPython and in the plain shell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from docker_kernel_server.worker import MAX_SUBSHELLS
from system import wait_until
from wire import Session

BUSY = "import threading\ngate = threading.Event()\nprint('busy')\ngate.wait()\nprint('free')"


pytestmark = pytest.mark.parametrize("server", ["ipython", "plain"], indirect=True)


@pytest.fixture
def busy(session: Session) -> Iterator[str]:
    """A cell of the main shell that waits for its gate."""
    cell = session.begin(BUSY)
    session.wire.step()
    yield cell
    session.execute("gate.set()", subshell="opener")
    assert session.wire.finish(cell).text() == "busy\nfree\n"


def test_a_busy_session_answers_in_a_subshell(session: Session, busy: str) -> None:
    """K5, K7: completion, inspection and comms."""
    found = session.ask("complete", code="gate.is_s", cursor_pos=9, subshell="a").result
    assert "is_set" in "".join(found["matches"])
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("inspect", "ok", {"code": "gate", "cursor_pos": 2}),
        ("is_complete", "incomplete", {"code": "if 1:"}),
        ("history", "ok", {"access": {"hist_access_type": "tail", "n": 1}}),
        ("comm_info", "ok", {}),
    ]
    for kind, expected, keys in requests:
        assert session.ask(kind, **keys, subshell="a").result["status"] == expected
    assert not session.wire.so_far(busy).final


@pytest.mark.usefixtures("busy")
def test_cells_of_a_subshell_share_the_variables(session: Session) -> None:
    answer = session.execute("print(gate.is_set())\nmade = 7\nmade", subshell="a")
    assert answer.text() == "False\n"
    assert answer.value == "7"
    failed = session.execute("1 / 0", subshell="a")
    assert failed.reason == "error"
    assert failed.result["ename"] == "ZeroDivisionError"
    assert session.execute("made", subshell="b").value == "7"


@pytest.mark.usefixtures("busy")
def test_requests_of_one_subshell_wait_for_one_another(session: Session) -> None:
    first = session.begin("gate.wait()", subshell="a")
    second = session.begin("print('second')", subshell="a")
    other = session.execute("print('other')", subshell="b")
    assert other.text() == "other\n"
    assert not session.wire.so_far(second).events
    session.execute("gate.set()", subshell="b")
    session.wire.finish(first)
    assert session.wire.finish(second).text() == "second\n"


@pytest.mark.usefixtures("busy")
def test_a_subshell_asks_the_person(session: Session) -> None:
    cell = session.begin("input('? ')", allow_stdin=True, subshell="a")
    while session.wire.step()["type"] != "input_request":
        pass
    session.ask("input_reply", request=cell, value="yes")
    assert session.wire.finish(cell).value == "'yes'"


@pytest.mark.usefixtures("busy")
def test_threads_of_a_subshells_cell_print_into_it(session: Session) -> None:
    """O9."""
    code = "t = threading.Thread(target=print, args=['from the thread']); t.start(); t.join()"
    assert session.execute(code, subshell="a").text() == "from the thread\n"


@pytest.mark.usefixtures("busy")
def test_a_subshell_awaits(session: Session) -> None:
    code = "import asyncio\nawait asyncio.sleep(0)\nprint('slept')"
    assert session.execute(code, subshell="a").text() == "slept\n"


def test_an_interrupt_is_for_the_main_shell(session: Session) -> None:
    """C3."""
    waits = session.begin("import time\nprint('on')\nwhile True: time.sleep(0.01)")
    session.wire.step()
    aside = session.begin("print('aside')\nfor _ in range(50): time.sleep(0.01)", subshell="a")
    while not session.wire.so_far(aside).events:
        session.wire.step()
    session.ask("interrupt")
    assert session.wire.finish(waits).reason == "interrupt"
    assert session.wire.finish(aside).reason == "ok"


def test_a_subshells_cell_that_never_ends_can_be_ended(session: Session) -> None:
    """C7: Ctrl-C doesn't reach a thread; its timeout ends the session's process."""
    endless = "while True: pass"
    cell = session.begin(endless, timeout=0.2, subshell="a")
    assert session.wire.finish(cell).reason == "timeout"
    assert session.ok("print('again')").text() == "again\n"


def test_a_subshell_is_closed_after_what_it_was_asked(session: Session) -> None:
    cell = session.begin("print('done')", subshell="a")
    assert session.ask("close_subshell", subshell="a").result == {"running": True}
    assert session.wire.finish(cell).text() == "done\n"
    assert session.ask("close_subshell", subshell="a").result == {"running": False}
    count = "import threading\nprint(sum(t.name == 'subshell a' for t in threading.enumerate()))"
    assert wait_until(lambda: session.ok(count).text() == "0\n", 20)


def test_there_is_a_bound_on_subshells(session: Session) -> None:
    for number in range(MAX_SUBSHELLS):
        session.ask("comm_info", subshell=f"s{number}")
    answer = session.ask("comm_info", subshell="one more")
    assert answer.ending == (1, "refused")
    assert "close one" in answer.result
    session.ask("close_subshell", subshell="s0")
    assert session.ask("comm_info", subshell="one more").status == 0


def test_exit_in_a_subshell_ends_the_session(session: Session) -> None:
    session.ok("kept = 1")
    session.execute("exit()", subshell="a")
    assert wait_until(lambda: session.execute("kept").error == "NameError", 20)


def test_a_fork_in_a_subshell_ends_with_its_cell(session: Session) -> None:
    code = """
import os, warnings
warnings.simplefilter('ignore')  # Python 3.12 warns of a fork beside threads
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    print('parent')
"""
    answer = session.execute(code, subshell="a")
    assert answer.ending == (0, "ok")
    assert answer.text() == "parent\n"
