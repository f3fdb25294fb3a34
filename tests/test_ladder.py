"""Ctrl-C, then SIGTERM, then SIGKILL: what ends a cell that goes on (C1, C3, C5, C7)."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from docker_kernel_server.ladder import Ladder
from system import wait_until
from wire import PATIENCE, Server, Session, Wire, gone

# ---- the rungs


def climb(step: str, *further: str, deaf_to: int = 0) -> list[int]:
    """The signals that come up to the first one that something isn't deaf to."""

    async def run() -> list[int]:
        sent: list[int] = []
        ended = asyncio.Event()

        def send(number: int) -> None:
            sent.append(number)
            if len(sent) > deaf_to:
                ladder.cancel()
                ended.set()

        ladder = Ladder(send, 0.01, 0.01)
        for each in (step, *further):
            getattr(ladder, each)()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        assert ladder.reached == sent[-1]
        return sent

    return asyncio.run(run())


ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


@pytest.mark.parametrize("deaf_to", [0, 1, 2])
def test_each_rung_comes_where_the_one_before_was_not_enough(deaf_to: int) -> None:
    assert climb("climb", deaf_to=deaf_to) == ALL[: deaf_to + 1]


def test_an_interrupt_can_be_repeated_until_the_end_begins() -> None:
    again = ["interrupt"] * 3
    assert climb(*again, "end", *again, "end", deaf_to=4) == [signal.SIGINT] * 3 + ALL[1:]


# ---- cells that go on

DEAF_TO_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('on')
while True: pass
"""
DEAF = """
import signal
for number in (signal.SIGINT, signal.SIGTERM): _ = signal.signal(number, signal.SIG_IGN)
print('on')
while True: pass
"""
# It says "on" itself: no signal is looked at any more from then on.
IN_C = """
import itertools, os, signal
all(itertools.chain(map(os.write, [1], [b'on']), itertools.repeat(True)))
"""
IN_C_WITH_A_HANDLER = IN_C.replace("all", "_ = signal.signal(signal.SIGTERM, print)\nall")
STOPPED = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('on', flush=True)
while True: os.kill(os.getpid(), signal.SIGSTOP)
"""
GOES_ON = {
    "deaf to Ctrl-C": (DEAF_TO_CTRL_C, "SIGTERM"),
    "deaf": (DEAF, "SIGKILL"),
    "a C loop that holds the lock": (IN_C, "SIGTERM"),
    "a C loop, and a handler that can't run": (IN_C_WITH_A_HANDLER, "SIGKILL"),
    "one that stops itself": (STOPPED, "SIGTERM"),
}
EACH = pytest.mark.parametrize(("code", "rung"), GOES_ON.values(), ids=GOES_ON)


def deaths(client: Wire) -> list[dict[str, str]]:
    return [event for event in client.loose if event["type"] == "session_died"]


def check_told(client: Wire, session: Session, rung: str, by: str) -> None:
    """The event tells what ended it, and what was lost; the next cell works."""
    (died,) = deaths(client)
    assert (died["session"], died["reason"]) == (session.name, "signal")
    assert by in died["detail"]
    assert f"({rung})" in died["detail"]
    assert "variables are lost" in died["detail"]
    assert session.ok("1 + 1").value == "2"


@EACH
def test_what_ignores_an_interrupt_can_be_ended(
    client: Wire, session: Session, code: str, rung: str
) -> None:
    """C7: it's said beforehand, and a further interrupt ends it, and says what was lost."""
    cell = session.begin(code)
    client.wait_for_text(cell, "on")
    session.interrupt()
    client.wait_for_text(cell, "Interrupt again to end its process; its variables are lost then")
    session.interrupt()
    answer = client.finish(cell)
    assert answer.reason == "died"
    assert answer.result["signal"] == getattr(signal, rung)
    check_told(client, session, rung, "a further interrupt")


@EACH
@pytest.mark.parametrize("server", ["ipython", "plain"], indirect=True)
def test_a_timeout_ends_what_ignores_interrupts(
    client: Wire, session: Session, code: str, rung: str
) -> None:
    """C1, C7: by itself; it's told as a timeout, with what ended it."""
    answer = session.execute(code, timeout=0.5)
    assert answer.ending == (124, "timeout")
    assert answer.seconds < 20
    assert f"its timeout ({rung})" in answer.result["detail"]
    check_told(client, session, rung, "its timeout")


def test_an_impatient_person_ends_nothing_at_once(client: Wire, session: Session) -> None:
    """C7: further interrupts within two seconds are Ctrl-C; variables stay."""
    code = "import time; n = 0\nwhile n < 3:\n    try:\n        print('on', n)\n"
    code += "        time.sleep(99)\n    except KeyboardInterrupt: n += 1"
    cell = session.begin(code)
    client.wait_for_text(cell, "on 0")
    began = time.monotonic()
    session.interrupt()
    client.wait_for_text(cell, "on 1")
    session.interrupt()
    client.wait_for_text(cell, "on 2")
    session.interrupt()
    answer = client.finish(cell)
    if time.monotonic() - began < 2:  # else the machine is too slow to tell
        assert answer.ending == (0, "ok")
        assert session.ok("n").value == "3"


def test_a_cell_may_handle_sigterm(client: Wire, session: Session) -> None:
    """C7: then nothing is lost."""
    code = DEAF_TO_CTRL_C.replace("print", "signal.signal(signal.SIGTERM, stop)\nprint")
    session.ok("kept = 42\ndef stop(*_): raise TimeoutError('by SIGTERM')")
    answer = session.execute(code, timeout=1.5)
    assert answer.reason == "timeout"
    assert session.ok("kept").value == "42"
    assert not deaths(client)


# ---- what is stopped


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_worker_that_is_stopped_takes_its_interrupt(client: Wire, session: Session) -> None:
    """C3: SIGCONT comes with it; variables stay."""
    session.ok("kept = 42")
    pid = int(session.opened.result["pid"])
    cell = session.begin("print('on')\nwhile True: pass")
    client.wait_for_text(cell, "on")
    client.run(f"kill -STOP {pid}")
    assert wait_until(lambda: state(pid) == "T", PATIENCE)
    session.interrupt()
    assert client.finish(cell).reason == "interrupt"
    assert session.ok("kept").value == "42"


@pytest.mark.parametrize("apart", [False, True], ids=["in the group", "in a session of its own"])
def test_a_child_that_is_stopped_ends_with_the_interrupt(
    server: Server, client: Wire, session: Session, apart: bool
) -> None:
    """C3"""
    session.ok("kept = 42")
    code = "import os, signal, subprocess\n"
    code += "p = subprocess.Popen(['sleep', '4321'], preexec_fn="
    code += "os.setsid)\n" if apart else "None)\n"
    code += "os.kill(p.pid, signal.SIGSTOP)\n"
    code += "try:\n    print(p.pid); p.wait()\n"
    code += "finally:\n    p.kill()" if apart else "finally: pass"
    cell = session.begin(code)
    client.wait_for_text(cell, "\n")
    pid = int(client.so_far(cell).text())
    assert wait_until(lambda: state(pid) == "T", PATIENCE)
    session.interrupt()
    # Without a session of its own it takes the signal itself.
    assert client.finish(cell).reason in ("interrupt", "ok")
    assert gone(server, "sleep 4321")
    assert session.ok("kept").value == "42"


def test_a_worker_that_is_stopped_is_restarted_and_closed(client: Wire, session: Session) -> None:
    """K9: it can't end by itself."""
    for ending in ("restart_session", "close_session"):
        pid = int(str(session.ok("import os; os.getpid()").value))
        client.run(f"kill -STOP {pid}")
        assert wait_until(lambda each=pid: state(each) == "T", PATIENCE)  # type: ignore[misc]
        assert session.ask(ending).status == 0
