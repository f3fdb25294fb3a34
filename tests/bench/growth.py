"""Whether cells and sessions make time and memory grow."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import docker
import psutil

from bench.measures import Measure, Samples
from bench.memory import pss
from bench.notebooks import BASE, OURS, folder, silent, timed
from bench.trend import Trend
from deaths import Scene
from kernels import Kernel, OrdinaryKernel
from system import wait_until
from wire import PATIENCE, Server, Session, Wire

CODE = "print(6 * 7)"
CELLS, CELLS_A_POINT = 10_000, 500
SESSIONS, SESSIONS_A_POINT, CELLS_A_SESSION = 100, 10, 5
STORED_CELLS, STORED_CODE = 2_000, "value = 6 * 7; value"
STORED = Measure("what 1,000 of them add to the process that runs them", "MiB", 1.0)
WARM_UP_CELLS, WARM_UP_SESSIONS = 500, 5
"""What is only there from the first ones on isn't growth."""


def cells(
    client: docker.DockerClient, image: str, say: Callable[[str], None]
) -> tuple[list[Trend], Samples]:
    """Many cells in one kernel, beside as many in an ipykernel, a piece of each in turn; and what
    cells add that go into the history, of which IPython keeps all."""
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(folder()) for _ in range(2)]
        base = stack.enter_context(silent(OrdinaryKernel(folder=places[0])))
        ours = stack.enter_context(Kernel(f"--image={image}", folder=places[1]))
        scene = Scene(client, places[1])
        times = [
            (Trend(f"a cell: {BASE}", "ms", compared=True), base),
            (Trend(f"a cell: {OURS}", "ms"), ours),
        ]
        memory = [
            (Trend(f"memory: {name}", "MiB", compared=pid == base.pid), psutil.Process(pid))
            for name, pid in (
                (BASE, base.pid),
                ("the kernel's process on this machine", ours.pid),
                ("the session's worker", scene.pid("worker")),
                ("the server", scene.pid("server")),
            )
        ]
        for kernel in (base, ours):
            some_cells(kernel, WARM_UP_CELLS)
        for done in range(CELLS_A_POINT, CELLS + 1, CELLS_A_POINT):
            say(f"bench: growth, {done:,} of {CELLS:,} cells")
            for trend, kernel in times:
                trend.add(done, statistics.median(some_cells(kernel, CELLS_A_POINT)) * 1e3)
            for trend, process in memory:
                trend.add(done, pss(process))
        say(f"bench: growth, {STORED_CELLS:,} cells that go into the history")
        stored = Samples()
        for who, kernel, pid in ((BASE, base, base.pid), (OURS, ours, scene.pid("worker"))):
            before = pss(psutil.Process(pid))
            for _ in range(STORED_CELLS):
                timed(kernel, STORED_CODE, store_history=True)
            added = pss(psutil.Process(pid)) - before
            stored.add(STORED, who, added / STORED_CELLS * 1000)
    return [trend for trend, _ in [*times, *memory]], stored


def some_cells(kernel: Kernel, count: int) -> list[float]:
    """What each takes. IPython keeps nothing of them: they aren't stored and have no value."""
    return [timed(kernel, CODE).seconds for _ in range(count)]


@contextlib.contextmanager
def server() -> Iterator[tuple[Wire, psutil.Process]]:
    """A server without a container, and a client of it."""
    with (
        tempfile.TemporaryDirectory(prefix="dk-bench-") as place,
        Server(Path(place)) as started,
        started.connect() as wire,
    ):
        yield wire, psutil.Process(started.process.pid)


def in_turn(count: int, say: Callable[[str], None]) -> list[Trend]:
    """So many sessions, one after another: opened, used and closed."""
    say(f"bench: growth, {count} sessions, one after another")
    taken = Trend("to open, use and close one", "ms")
    memory = Trend("memory: the server", "MiB"), Trend("memory: the zygote", "MiB")
    with server() as (wire, process):
        for done in range(-WARM_UP_SESSIONS, count):
            began = time.perf_counter()
            session = wire.open()
            session.ok(CODE)
            session.ask("close_session")
            seconds = time.perf_counter() - began
            (zygote,) = process.children()
            wait_until(partial(has_no_children, zygote), PATIENCE)
            if done >= 0:
                taken.add(done, seconds * 1e3)
                for trend, part in zip(memory, (process, zygote), strict=True):
                    trend.add(done, pss(part))
    return [taken, *memory]


def has_no_children(process: psutil.Process) -> bool:
    """Whether all that it started has ended."""
    return not process.children()


def at_once(count: int, say: Callable[[str], None]) -> list[Trend]:
    """So many sessions that stay open: whether the next one costs more than those before it."""
    say(f"bench: growth, {count} sessions at once")
    opening, cell = Trend("to open one more", "ms"), Trend("a cell in the newest one", "ms")
    memory = Trend("memory of all, for each", "MiB")
    with server() as (wire, process):

        def used() -> float:
            return pss(process, *process.children(recursive=True))

        for _ in range(WARM_UP_SESSIONS):
            wire.open().ok(CODE)
        before = used()
        for done in range(1, count + 1):
            began = time.perf_counter()
            session = wire.open()
            opening.add(done, (time.perf_counter() - began) * 1e3)
            cell.add(
                done, statistics.median(seconds(session) for _ in range(CELLS_A_SESSION)) * 1e3
            )
            if done % SESSIONS_A_POINT == 0:
                memory.add(done, (used() - before) / done)
    return [opening, cell, memory]


def seconds(session: Session) -> float:
    """What a cell takes."""
    began = time.perf_counter()
    session.ok(CODE)
    return time.perf_counter() - began
