"""Limits that are really reached, by code in a container: who else is in it, the server and this
machine go on, and the person is told which limit it was and what to type (E7, X1).

Memory that runs out is in test_kernel.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from docker_kernel.client import Call, Client
from docker_kernel.config import Settings
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire
from kernels import PATIENCE
from system import wait_until

PIDS = 80
FILES = 600
TEMP_MIB = 24
SESSIONS = 1000


@dataclass
class Cell:
    """A cell that runs: what it says, and its end."""

    call: Call
    events: list[wire.Event] = field(default_factory=list)

    def end(self) -> wire.Final:
        """Wait for it."""
        return self.call.result(PATIENCE)

    def text(self, stream: str = "stdout") -> str:
        """What it has printed so far."""
        chunks = [e for e in self.events if isinstance(e, wire.Chunk) and e.stream == stream]
        return "".join(chunk.data for chunk in chunks)


class Box:
    """A container with narrow limits, and a session in it that must not notice anything."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.client: Client = sandbox.client()
        self.pids: list[int] = []
        for name in ("other", "main"):
            self.client.ask(wire.OpenSession(self.client.new_id(), name), PATIENCE)
        self.run("kept = 6", "other")

    def begin(self, code: str, session: str = "main") -> Cell:
        """Run a cell, and don't wait."""
        events: list[wire.Event] = []
        request = wire.Execute(self.client.new_id(), session, code)
        return Cell(self.client.request(request, events.append), events)

    def run(self, code: str, session: str = "main") -> Cell:
        """Run a cell that ends well."""
        cell = self.begin(code, session)
        final = cell.end()
        assert final.reason == "ok", (final, cell.events)
        return cell

    def fails(self, code: str) -> str:
        """Run a cell that ends with an error: what the person is told besides."""
        cell = self.begin(code)
        final = cell.end()
        assert final.reason == "error", final
        return cell.text("stderr")

    def interrupt(self) -> None:
        """Ctrl-C to the main session."""
        self.client.ask(wire.Interrupt(self.client.new_id(), "main"), PATIENCE)

    def nobody_else_is_hurt(self) -> None:
        """The other session has what it had, the server answers, and so does this machine."""
        assert self.run("print(kept * 7)", "other").text() == "42\n"
        assert self.client.ask(wire.Status(self.client.new_id()), PATIENCE)["sessions"]
        assert subprocess.run(["true"], check=True).returncode == 0
        assert not self.sandbox.away

    def processes(self) -> int:
        """How many there are in the container."""
        answer = self.client.ask(wire.Status(self.client.new_id()), PATIENCE)
        return int(answer["limits"]["pids"])


@pytest.fixture(scope="module")
def sandbox(image: str) -> Iterator[Sandbox]:
    """One container for all of them."""
    settings = Settings(
        image=image,
        mount_workspace=False,
        memory="1g",
        pids=PIDS,
        nofile=FILES,
        cpus=1.0,
        tmp_size=f"{TEMP_MIB}m",
        shm_size="1m",
    )
    made = Sandbox(settings)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared(sandbox: Sandbox) -> Box:
    return Box(sandbox)


@pytest.fixture
def box(shared: Box) -> Iterator[Box]:
    """The container, from which each test has to go without a trace."""
    yield shared
    shared.nobody_else_is_hurt()
    assert shared.run("print(1)").text() == "1\n"
    assert wait_until(lambda: shared.processes() < PIDS // 2, PATIENCE)


TOO_MANY = f"as many processes and threads as it may have, {PIDS} (for more, set DOCKER_KERNEL_PIDS"


def test_a_fork_bomb(box: Box) -> None:
    """It holds every place that there is, and those in it go on until they are ended."""
    cell = box.begin("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass")
    assert wait_until(lambda: box.processes() >= PIDS, PATIENCE)
    box.nobody_else_is_hurt()
    # One that ends when it's asked to does so now; else its process is ended.
    while not cell.call.future.done():
        box.interrupt()
        wait_until(cell.call.future.done, 2.5)
    final = cell.end()
    told = cell.text("stderr")
    if final.reason == "died":
        assert isinstance(final.result, dict)
        told = final.result["detail"]
    assert TOO_MANY in told
    # Those that are ended one after another go on forking meanwhile.
    assert wait_until(lambda: box.begin("1").end().reason == "ok", PATIENCE)


def test_a_fork_bomb_of_a_shell(box: Box) -> None:
    cell = box.run("!bomb() { bomb | bomb & }; bomb; sleep 1")
    assert TOO_MANY in cell.text("stderr")


def test_threads_without_end(box: Box) -> None:
    code = "import threading\nended = threading.Event()\n"
    code += "while True: threading.Thread(target=ended.wait).start()"
    assert TOO_MANY in box.fails(code)
    box.nobody_else_is_hurt()
    # What needs a further process is refused, with the reason, and nothing breaks by it.
    final = box.client.request(wire.Run(box.client.new_id(), "echo hi")).result(PATIENCE)
    assert TOO_MANY in str(final.result)
    box.run("ended.set()")


def test_a_thousand_sessions(box: Box) -> None:
    """Those that there is room for open. The others are told which limit it is, and what to type;
    when there is room again, they open."""
    client = box.client
    names = [f"one of {SESSIONS}: {number}" for number in range(SESSIONS)]
    calls = [client.request(wire.OpenSession(client.new_id(), name)) for name in names]
    finals = [call.result(PATIENCE) for call in calls]
    opened = [name for name, final in zip(names, finals, strict=True) if final.status == 0]
    refused = [str(final.result) for final in finals if final.status]
    assert 5 < len(opened) < PIDS
    assert len(refused) > SESSIONS - PIDS
    limits = (TOO_MANY, "DOCKER_KERNEL_NOFILE", "close one first")
    assert [words for words in refused if not any(limit in words for limit in limits)] == []
    assert any(TOO_MANY in words for words in refused)
    box.nobody_else_is_hurt()
    for name in opened:
        client.ask(wire.CloseSession(client.new_id(), name), PATIENCE)
    assert wait_until(lambda: box.processes() < PIDS // 2, PATIENCE)
    late = names[-1]
    client.ask(wire.OpenSession(client.new_id(), late), PATIENCE)
    client.ask(wire.CloseSession(client.new_id(), late), PATIENCE)


def test_files_without_end(box: Box) -> None:
    """The session goes on, and can give them back."""
    told = box.fails("files = []\nwhile True: files.append(open('/dev/null'))")
    assert f"may have {FILES} files" in told
    assert f"--nofile={2 * FILES}" in told
    box.nobody_else_is_hurt()
    assert box.run("print(len(files) > 500)").text() == "True\n"
    box.run("files.clear()")
    assert "hi" in box.run("!echo hi").text()


def test_a_full_tmp(box: Box) -> None:
    told = box.fails(f"open('/tmp/full', 'wb').write(bytes({2 * TEMP_MIB} << 20))")
    assert f"no room left in /tmp, which has {TEMP_MIB} MiB" in told
    assert "DOCKER_KERNEL_TMP_SIZE=64m" in told
    box.nobody_else_is_hurt()
    # Also where it is a program that has no room, and says so in its own words alone.
    box.run("import os; os.remove('/tmp/full')")
    cell = box.run("!dd if=/dev/zero of=/tmp/full bs=1M")
    assert f"no room left in /tmp, which has {TEMP_MIB} MiB" in cell.text("stderr")
    ran = box.client.request(wire.Run(box.client.new_id(), "cat", stdin="in")).result(PATIENCE)
    assert ran.status == 0
    assert box.run("os.remove('/tmp/full')").text("stderr") == ""


def test_full_shared_memory(box: Box) -> None:
    """It's mapped: who has no room is killed."""
    code = "import mmap, os\nfd = os.open('/dev/shm/x', os.O_RDWR | os.O_CREAT)\n"
    code += "os.remove('/dev/shm/x'); os.truncate(fd, 4 << 20)\n"
    code += "mmap.mmap(fd, 4 << 20).write(bytes(4 << 20))"
    final = box.begin(code).end()
    assert final.reason == "died"
    assert isinstance(final.result, dict)
    assert "SIGBUS" in final.result["detail"]
    assert "/dev/shm has no room: it has 1 MiB" in final.result["detail"]
    assert "--shm-size=64m" in final.result["detail"]


def test_busy_sessions(box: Box) -> None:
    """More loops than the container may use CPUs: whoever else is in it gets a share."""
    names = [f"busy {number}" for number in range(4)]
    for name in names:
        box.client.ask(wire.OpenSession(box.client.new_id(), name), PATIENCE)
    cells = [box.begin("print(flush=True)\nwhile True: pass", name) for name in names]
    assert wait_until(lambda: all(cell.text() for cell in cells), PATIENCE)
    box.nobody_else_is_hurt()
    for name, cell in zip(names, cells, strict=True):
        box.client.ask(wire.Interrupt(box.client.new_id(), name), PATIENCE)
        assert cell.end().reason == "interrupt"
        box.client.ask(wire.CloseSession(box.client.new_id(), name), PATIENCE)


@pytest.mark.parametrize(
    "code", ["while True: print('x' * 10_000)", "import os\nwhile True: os.write(1, b'x' * 10_000)"]
)
def test_output_without_end(box: Box, code: str) -> None:
    """O4: an interrupt is heard, and nothing piles up, on either side."""
    seen = 0

    def count(event: wire.Event) -> None:
        nonlocal seen
        if isinstance(event, wire.Chunk):
            seen += len(event.data)

    before = psutil.Process().memory_info().rss
    limits = box.client.ask(wire.Status(box.client.new_id()), PATIENCE)["limits"]
    call = box.client.request(wire.Execute(box.client.new_id(), "main", code), count)
    assert wait_until(lambda: seen > 50 << 20, PATIENCE)
    box.nobody_else_is_hurt()
    box.interrupt()
    assert call.result(PATIENCE).reason == "interrupt"
    assert psutil.Process().memory_info().rss - before < 64 << 20
    now = box.client.ask(wire.Status(box.client.new_id()), PATIENCE)["limits"]
    assert now["memory"] - limits["memory"] < 64 << 20
