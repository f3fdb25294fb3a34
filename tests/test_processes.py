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
