"""What processes use: looked at on real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from docker_kernel_server.processes import (
    Tree,
    Usage,
    is_stopped,
    read_machine,
    read_trees,
    signal_all,
)
from system import wait_until
from wire import Server, Session


def test_descendants_count(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import subprocess, sys\n"
        "if len(sys.argv) > 1:\n"
        "    kept = bytearray(64 << 20)\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
        "else:\n"
        "    subprocess.run([sys.executable, __file__, 'grandchild'])\n"
    )
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (child,) = psutil.Process(process.pid).children()
        found = read_trees([process.pid, child.pid])
        process.stdin.close()
    assert found[child.pid].memory > 64 << 20
    assert found[process.pid].memory > found[child.pid].memory
    assert found[process.pid].cpu_seconds >= found[child.pid].cpu_seconds


def test_cpu_time_stays_when_a_child_has_ended() -> None:
    before = read_trees([os.getpid()])[os.getpid()].cpu_seconds
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert read_trees([os.getpid()])[os.getpid()].cpu_seconds - before > 0.29


def test_a_process_that_is_not_there() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert read_trees([process.pid]) == {process.pid: Usage()}


def test_a_system_without_proc(tmp_path: Path) -> None:
    assert read_trees([1], str(tmp_path / "nowhere")) == {1: Usage()}


def test_the_machine(tmp_path: Path) -> None:
    found = read_machine()
    assert found["memory"] == psutil.virtual_memory().total
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert read_machine(str(tmp_path))["memory"] is None


@pytest.mark.parametrize("known", [False, True], ids=["by its mark", "as it was found before"])
def test_a_tree_holds_what_has_lost_its_parents(known: bool) -> None:
    command = ["sh", "-c", "sleep 4321 >&- & read x; exit"]
    mark = {"DOCKER_KERNEL_TEST": f"{os.getpid()}"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **mark}) as process:
        text = "nothing" if known else f"DOCKER_KERNEL_TEST={os.getpid()}"
        tree = Tree(process.pid, text.encode())
        assert wait_until(lambda: len(psutil.Process(process.pid).children()) == 1, 20)
        (child,) = psutil.Process(process.pid).children()
        if known:
            assert tree.find() == [process.pid, child.pid]
        assert process.stdin is not None
        process.stdin.write(b"\n")
    assert tree.find() == [child.pid]
    os.kill(child.pid, signal.SIGSTOP)
    assert wait_until(lambda: is_stopped(child.pid), 20)
    signal_all(tree.find(), signal.SIGTERM)
    child.wait(20)
    assert tree.find() == []
    assert not is_stopped(child.pid)


def test_where_memory_runs_out_it_is_not_one_of_ours(server: Server, session: Session) -> None:
    """C5: a session's processes and a command's are preferred; the keeper, the zygote and the
    server are not."""
    code = "import os, subprocess; from pathlib import Path\n"
    code += "subprocess.run(['cat', '/proc/self/oom_score_adj'])\n"
    code += "pid, parent = os.getpid(), os.getppid()\n"
    code += "print(*(Path(f'/proc/{pid}/oom_score_adj').read_text() for pid in (pid, parent)))"
    own = int(Path("/proc/self/oom_score_adj").read_text())
    # What works is preferred to what only holds somebody's variables.
    idle, busy = min(own + 300, 1000), min(own + 650, 1000)
    assert sorted(map(int, session.ok(code).text().split())) == sorted([busy, busy, own])
    worker = int(session.ok("print(pid)").text())
    assert wait_until(lambda: int(Path(f"/proc/{worker}/oom_score_adj").read_text()) == idle, 20)
    code = "sleep 0.2; cat /proc/$$/oom_score_adj /proc/self/oom_score_adj"
    assert list(map(int, session.wire.run(code).text().split())) == [busy, busy]
    for process in (psutil.Process(server.process.pid).children()[0].pid, server.process.pid):
        assert int(Path(f"/proc/{process}/oom_score_adj").read_text()) == own
