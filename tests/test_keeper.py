"""What a session leaves ends with it (C1, C5), and what a cell may do to our own processes (K9)."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from system import wait_until
from wire import PATIENCE, Server, Session, Wire, gone

pytestmark = pytest.mark.parametrize("server", ["ipython", "plain"], indirect=True)


@pytest.fixture
def apart(server: Server, tmp_path: Path) -> Iterator[tuple[Server, Wire]]:
    """A server of this test's own, of the same Python."""
    with Server(tmp_path, python=server.python) as other, other.connect() as client:
        yield other, client


STRAYS = {
    "a child": "subprocess.Popen(['sleep', '4321'])",
    "setsid": "subprocess.Popen(['sleep', '4321'], start_new_session=True)",
    "nohup": "os.system('nohup sleep 4321 >/dev/null 2>&1 &')",
    "a daemon without our environment": (
        "print(subprocess.Popen(\"(env -i setsid sh -c 'echo $$; exec sleep 4321' &) &\", "
        "shell=True, stdout=subprocess.PIPE).stdout.readline().decode())"
    ),
    "a stopped one": (
        "os.kill(subprocess.Popen(['sleep', '4321'], start_new_session=True).pid, signal.SIGSTOP)"
    ),
    "deaf ones": (
        "subprocess.Popen(['sh', '-c', 'trap \"\" TERM INT HUP; (setsid sleep 4321 &); echo on; "
        "sleep 4321'], start_new_session=True, stdout=subprocess.PIPE).stdout.readline()"
    ),
    "a daemon by two forks": """
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.closerange(0, 3)
        os.write(write, b'%d' % os.getpid())
        time.sleep(4321)
    os._exit(0)
print(os.read(read, 99).decode())
""",
}
ENDINGS = ("close_session", "restart_session", "os._exit(3)", "os.kill(os.getpid(), 9)", "keeper")


def are_left(server: Server, text: str) -> bool:
    """Whether what the cell has started lives: by name, or by the number that it printed."""
    number = text.strip()
    # The server's processes are found by a mark in their environment, which one has emptied.
    found = number.isdigit() and psutil.pid_exists(int(number))
    return found or bool(server.processes("sleep 4321"))


def are_gone(server: Server, text: str) -> bool:
    return not are_left(server, text)


@pytest.mark.parametrize("stray", STRAYS.values(), ids=STRAYS)
def test_what_a_session_leaves_ends_with_it(server: Server, client: Wire, stray: str) -> None:
    """C5: wherever it has gone, and however the session ends; and it lives until then."""
    before = len(server.processes())
    for ending in ENDINGS:
        session = client.open()
        session.ok("import os, signal, subprocess, time")
        text = session.ok(stray).text()
        assert session.ok("1 + 1").value == "2"
        assert wait_until(functools.partial(are_left, server, text), PATIENCE)
        if ending.endswith("session"):
            assert session.ask(ending).status == 0
        elif ending == "keeper":
            assert session.execute("os.kill(os.getppid(), 9); time.sleep(99)").reason == "died"
        else:
            assert session.execute(ending).reason == "died"
        assert wait_until(functools.partial(are_gone, server, text), PATIENCE)
        client.ask("close_session", session=session.name)
    # The zygote, perhaps.
    assert wait_until(lambda: len(server.processes()) <= max(before, 2), PATIENCE)


FAREWELL = """
import subprocess, sys
code = '''
import os, signal, sys, time
def end(*args):
    os.write(1, b"farewell" + bytes([10]))  # print may be in the midst of the other line
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("on", flush=True)
time.sleep(4321)
'''
p = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
"""


def test_what_is_left_may_say_farewell(client: Wire, session: Session) -> None:
    """C5, O9: SIGTERM comes first, once; what it prints belongs to its cell."""
    cell = session.begin(FAREWELL)
    client.finish(cell)
    if "on" not in client.so_far(cell).text():
        client.late_text(cell, 3)
    assert session.ask("restart_session").status == 0
    assert client.late_text(cell, len("farewell\n")).endswith("farewell\n")


def test_a_restart_does_not_wait_for_what_is_left(server: Server, session: Session) -> None:
    """K9: the new one answers while what is left still takes its second to the full."""
    outlived = []
    for _ in range(3):
        session.ok("import subprocess")
        session.ok(STRAYS["deaf ones"])
        assert session.ask("restart_session").status == 0
        assert session.ok("1 + 1").value == "2"
        outlived.append(bool(server.processes("sleep 4321")))
        assert gone(server, "sleep 4321")
    assert any(outlived)  # a machine that is busy may take the second itself, now and then


def test_orphans_leave_no_zombies(session: Session) -> None:
    """C5: a container has room for 512 processes, and each is one until somebody asks for it."""
    keeper = psutil.Process(int(str(session.ok("import os; os.getppid()").value)))
    session.ok("for _ in range(100): _ = os.system('true & true &')")
    assert wait_until(lambda: len(keeper.children(recursive=True)) == 1, PATIENCE)


def test_the_servers_sudden_end_ends_what_sessions_left(
    apart: tuple[Server, Wire],
) -> None:
    """C5, E8: where nobody else could end it."""
    server, client = apart
    session = client.open()
    session.ok("import os, signal, subprocess, time")
    for stray in STRAYS.values():
        session.ok(stray)
    server.process.kill()
    assert gone(server)


def test_a_python_without_ctypes_ends_its_group(server: Server, tmp_path: Path) -> None:
    """C5: nothing can be adopted there."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ctypes'] = None\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {server.python} "$@"\n')
    python.chmod(0o755)
    args = ["--python", str(python)]
    with Server(tmp_path / "work", args=args) as other, other.connect() as client:
        session = client.open()
        assert session.execute("import ctypes").error == "ModuleNotFoundError"
        for ending in ("restart_session", "close_session"):
            session.ok("import subprocess; p = subprocess.Popen(['sleep', '4321'])")
            assert session.ask(ending).status == 0
            assert gone(other, "sleep 4321")
        assert other.log() == ""


# ---- our own processes, stopped and killed by a cell

STOP_LOOP = "import os, sys\nwhile True: os.kill(int(sys.argv[1]), 19)"
ZYGOTE = "zygote = int(open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1])\n"
TIMES = pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])


def stop(whom: str, again: bool) -> str:
    code = "import os, signal, subprocess, sys\n" + ZYGOTE + f"os.kill({whom}, signal.SIGSTOP)\n"
    if again:
        code += f"_ = subprocess.Popen([sys.executable, '-c', {STOP_LOOP!r}, str({whom})], "
        code += "start_new_session=True)\n"
    return code


@TIMES
def test_a_zygote_that_is_stopped_hangs_nothing(apart: tuple[Server, Wire], again: bool) -> None:
    """C5, K9: a cell can reach it."""
    server, client = apart
    for _ in range(2):
        session = client.open()
        kept = client.open()
        kept.ok("kept = 42")
        session.ok(stop("zygote", again))
        assert client.open().ok("1 + 1").value == "2"
        assert session.ask("restart_session").status == 0
        assert session.ok("1 + 1").value == "2"
        assert kept.ok("kept").value == "42"
    assert server.stop() == 0
    assert gone(server)
    assert server.log() == ""


@TIMES
@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "restart", "close", ""])
def test_a_keeper_that_is_stopped_hangs_nothing(
    apart: tuple[Server, Wire], again: bool, end: str
) -> None:
    """C5, K9: it's the worker's parent."""
    server, client = apart
    session = client.open()
    stopped = session.execute(stop("os.getppid()", again) + (end if "(" in end else ""))
    assert stopped.reason == ("died" if "(" in end else "ok")
    if end == "restart":
        assert session.ask("restart_session").status == 0
    if end != "close":
        assert session.ok("1 + 1").value == "2"
    assert session.ask("close_session").status == 0
    # The server, and its zygote.
    assert wait_until(lambda: len(server.processes()) == 2, PATIENCE)
    assert server.log() == ""


def test_a_keeper_that_is_killed_ends_its_session_alone(client: Wire, session: Session) -> None:
    """C5: and its cause is told."""
    other = client.open()
    other.ok("kept = 42")
    answer = session.execute("import os, time; os.kill(os.getppid(), 9); time.sleep(99)")
    assert answer.reason == "died"
    assert "variables are lost" in answer.result["detail"]
    assert session.ok("1 + 1").value == "2"
    assert other.ok("kept").value == "42"
    assert other.ask("close_session").status == 0


def test_a_keeper_is_deaf_to_what_is_told_to_all(session: Session) -> None:
    """C5: as a batch system or a terminal's end tells each process of a group to end."""
    code = "import os; os.kill(os.getppid(), 15); os.kill(os.getppid(), 1)"
    assert session.ok(code).status == 0
    answer = session.execute("os.killpg(0, 15)")
    assert (answer.reason, answer.result["signal"]) == ("died", signal.SIGTERM)
    assert session.ok("1 + 1").value == "2"
