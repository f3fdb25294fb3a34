"""Raw commands, beside the least that could run them."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from bench.measures import Measure, Samples
from system import end
from wire import Raw, Server

BASE, OURS = "subprocess behind a socket", "docker-kernel"

IN_A_ROW = Measure("100 commands in a row, each", "ms", 1.2)
AT_ONCE = Measure("8 clients with 25 commands each, each", "ms", 1.2)
SOME = Measure("a command that prints 20 MB", "s", 1.2)
MUCH = Measure("a command that prints 200 MB", "s", 1.2)
PEAK = Measure("the server's memory at its peak, after 200 MB", "MiB")
BOUND = Measure("the same after 400 MB, as a multiple of that after 100 MB", "", 1.5, absolute=True)

COMMANDS, CLIENTS, COMMANDS_EACH = 100, 8, 25
MB = 1_000_000


@contextlib.contextmanager
def plain_server() -> Iterator[tuple[int, int]]:
    """The port and the pid of the base."""
    script = str(Path(__file__).with_name("plain_server.py"))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        with process.stdout:
            yield int(process.stdout.readline()), process.pid
    finally:
        end(process)


@contextlib.contextmanager
def our_server() -> Iterator[tuple[int, int]]:
    """The port and the pid of ours, which is no container's: neither is the base."""
    with tempfile.TemporaryDirectory(prefix="dk-bench-") as name, Server(Path(name)) as server:
        yield server.port, server.process.pid


WHO: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[int, int]]]] = {
    BASE: plain_server,
    OURS: our_server,
}


def command(port: int, text: str, expected: int = 0) -> float:
    """Seconds of one command on a connection of its own. It must print so many bytes."""
    began = time.perf_counter()
    with Raw(port) as client:
        answer = client.run(text.encode(), half_close=True)
    seconds = time.perf_counter() - began
    if answer.status != 0 or len(answer.text()) != expected:
        raise RuntimeError(f"{text}: {answer.status}, {len(answer.text())} characters")
    return seconds


def peak_mib(pid: int) -> float:
    """The most memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return psutil.Process(pid).memory_info().rss / (1 << 20)


def measure_one(who: str, port: int, pid: int, samples: Samples) -> None:
    """All of it once."""

    def some(count: int) -> list[float]:
        return [command(port, "true") for _ in range(count)]

    some(5)
    samples.add(IN_A_ROW, who, statistics.median(some(COMMANDS)) * 1e3)
    with ThreadPoolExecutor(CLIENTS) as pool:
        each = list(pool.map(some, [COMMANDS_EACH] * CLIENTS))
    samples.add(AT_ONCE, who, statistics.median(itertools.chain(*each)) * 1e3)
    for measure, size in ((SOME, 20 * MB), (MUCH, 200 * MB)):
        samples.add(measure, who, printing(port, size))
    samples.add(PEAK, who, peak_mib(pid))


def printing(port: int, size: int) -> float:
    """Seconds of a command that prints so much."""
    return command(port, f"yes 0123456789 | head -c {size}", size)


def measure_bound(samples: Samples) -> None:
    """Whether more output needs more memory of our server; each in a server of its own."""
    peaks = []
    for size in (100 * MB, 400 * MB):
        with our_server() as (port, pid):
            printing(port, size)
            peaks.append(peak_mib(pid))
    samples.add(BOUND, OURS, peaks[1] / peaks[0])


def compare(rounds: int, say: Callable[[str], None]) -> Samples:
    """Both, in turn, so many times."""
    samples = Samples()
    for number in range(rounds):
        for who, make in WHO.items():
            say(f"bench: commands, round {number + 1} of {rounds}: {who}")
            with make() as (port, pid):
                measure_one(who, port, pid, samples)
        measure_bound(samples)
    return samples
