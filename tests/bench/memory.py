"""What an idle kernel costs in memory, and whether cells and sessions make it grow."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import docker
import psutil

from bench.measures import Measure, Samples
from bench.notebooks import BASE, OURS, folder, timed
from deaths import Scene
from kernels import Kernel, OrdinaryKernel
from wire import Server, Wire

MIB = 1 << 20

SESSION = Measure("an idle session, of its own (PSS)", "MiB", 25, absolute=True)
SERVER = Measure("the server (PSS)", "MiB", 30, absolute=True)
HOST = Measure("the kernel's process on the host (USS)", "MiB", 1.0)

FIRST, LAST = "the first 1,000 cells", "the last 1,000 cells"
CELL = Measure("a cell, median", "ms", 1.1)
WORKER = Measure("the session's process", "MiB", 1.1)
GROWN_SERVER = Measure("the server", "MiB", 1.1)
GROWN_HOST = Measure("the kernel's process on the host", "MiB", 1.1)
BEFORE, AFTER = "after 10 sessions", "after 100 more"
OPENED = Measure("opening and closing a session", "ms", 1.1)
SESSIONS_SERVER = Measure("the server's memory", "MiB", 1.1)


def pss(process: psutil.Process) -> float:
    """What a process uses, its share of shared pages included, in MiB."""
    return float(process.memory_full_info().pss) / MIB


def uss(process: psutil.Process) -> float:
    """What a process alone uses, in MiB: what it shares depends on who else runs."""
    return float(process.memory_full_info().uss) / MIB


def idle(client: docker.DockerClient, image: str, rounds: int) -> Samples:
    """An idle kernel of each kind, and what is in the container of ours."""
    samples = Samples()
    for _ in range(rounds):
        with folder() as place, OrdinaryKernel(folder=place) as kernel:
            timed(kernel, "1 + 1")
            samples.add(HOST, BASE, uss(psutil.Process(kernel.pid)))
        with folder() as place, Kernel(f"--image={image}", folder=place) as kernel:
            timed(kernel, "1 + 1")
            samples.add(HOST, OURS, uss(psutil.Process(kernel.pid)))
            scene = Scene(client, place)
            worker = psutil.Process(scene.pid("worker"))
            keeper = psutil.Process(scene.pid("keeper"))
            samples.add(SESSION, OURS, pss(worker) + pss(keeper))
            samples.add(SERVER, OURS, pss(psutil.Process(scene.pid("server"))))
    return samples


def cells(client: docker.DockerClient, image: str, count: int) -> Samples:
    """So many cells in one kernel: time and memory at both ends."""
    samples, piece = Samples(), count // 10
    with folder() as place, Kernel(f"--image={image}", folder=place) as kernel:
        scene = Scene(client, place)
        parts = {
            WORKER: psutil.Process(scene.pid("worker")),
            GROWN_SERVER: psutil.Process(scene.pid("server")),
            GROWN_HOST: psutil.Process(kernel.pid),
        }
        for number in range(10):
            taken = [timed(kernel, f"value = {cell}; value")[0] for cell in range(piece)]
            if number in (0, 9):
                who = LAST if number else FIRST
                samples.add(CELL, who, statistics.median(taken) * 1e3)
                for measure, process in parts.items():
                    samples.add(measure, who, uss(process))
    return samples


def sessions(count: int, say: Callable[[str], None]) -> Samples:
    """So many sessions, one after another, in one server without a container."""
    samples = Samples()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="dk-bench-"))
        server = stack.enter_context(Server(Path(place)))
        wire = stack.enter_context(server.connect())
        process = psutil.Process(server.process.pid)
        for who, number in ((BEFORE, 10), (AFTER, count)):
            say(f"bench: {number} sessions, one after another")
            taken = [one_session(wire) for _ in range(number)]
            samples.add(OPENED, who, statistics.median(taken[-10:]) * 1e3)
            samples.add(SESSIONS_SERVER, who, uss(process))
    return samples


def one_session(wire: Wire) -> float:
    """Seconds to open a session, use it and close it."""
    began = time.perf_counter()
    wire.finish(wire.begin("open_session", session="one"))
    wire.finish(wire.begin("execute", session="one", code="1 + 1"))
    wire.finish(wire.begin("close_session", session="one"))
    return time.perf_counter() - began
