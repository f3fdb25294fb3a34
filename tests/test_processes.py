"""What processes use: looked at on real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from docker_kernel_server.processes import Usage, read_machine, read_trees


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
    assert read_trees([os.getpid()])[os.getpid()].cpu_seconds - before >= 0.3


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
