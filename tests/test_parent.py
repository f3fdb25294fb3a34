"""The kernel ends when the process that started it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docker_kernel.parent import ParentWatch
from system import alive, wait_until

PARENT = Path(__file__).parent / "parent.py"
PATIENCE = 60.0


def test_a_kernel_whose_parent_was_killed_ends_with_its_server(tmp_path: Path) -> None:
    """E8: and in good order, so that the server goes with it."""
    command = [sys.executable, str(PARENT), str(tmp_path), "--mode=local"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        assert alive(pid)
        parent.kill()
    assert wait_until(lambda: not alive(pid), PATIENCE)
    # What it leaves would be found at the end of all tests, too.
    assert wait_until(lambda: not running_in(tmp_path), PATIENCE)


def running_in(folder: Path) -> list[int]:
    """The processes that work in a folder, like a server and its sessions."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = os.readlink(entry / "cwd")  # noqa: PTH115  (it may be gone)
            except OSError:
                continue
            if where == str(folder) and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("parent", [pytest.param(os.getppid(), id="ours"), 1, 12345])
def test_a_parent_that_lives_is_not_taken_for_gone(parent: int) -> None:
    """Nor one that isn't our parent: a process may stand between Jupyter and us."""
    assert not ParentWatch(parent).gone()


def test_sigterm_is_how_it_ends() -> None:
    """The application's handler does the rest."""
    program = (
        "import os, signal, sys, time\n"
        "from docker_kernel.parent import ParentWatch\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "watch = ParentWatch(os.getppid())\n"
        "watch._parent += 1\n"
        "watch.start()\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=PATIENCE)
    assert done.returncode == 7
