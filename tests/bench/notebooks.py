"""Kernels side by side: what a person waits for, round by round, each in its turn."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from bench.measures import Measure, Samples, percentile
from kernels import PATIENCE, Kernel, OrdinaryKernel
from soak import owned

BASE, BY_HAND, OURS = "ipykernel", "ipykernel in a container", "docker-kernel"

START = Measure("start to first result", "s", 1.25)
CELL = Measure("cell, median", "ms", 1.0)
CELL_P99 = Measure("cell, 99th percentile", "ms", 1.0)
FIRST_OUTPUT = Measure("first output of a cell", "ms", 1.0)
LINES = Measure("200,000 printed lines", "s", 0.5)
WRITE = Measure("32 MB written to stdout", "MB/s", 2.0, more_is_better=True)
SUBPROCESS = Measure("300,000 lines of a subprocess", "s", 2.0)
DISPLAY = Measure("a display of 8 MB", "s", 1.2)
INTERRUPT = Measure("interrupt", "ms", 1.0)
COMPLETION = Measure("completion", "ms", 1.0)
RESTART = Measure("restart", "s", 0.4)
SHUTDOWN = Measure("shutdown", "s", 2.0)

CELLS = 200
FOLDER = "dk-bench-"
"""How the names of notebooks' folders begin."""
PRINT = "for i in range(200000): print(i)"
WRITE_CODE = """import sys
for i in range(320): _ = sys.stdout.write(("y" * 1023 + "\\n") * 100)"""
SEQ = "import os\nos.system('seq 1 300000')"
SHOW = """from IPython.display import display
display({"image/png": "A" * 8_000_000}, raw=True)"""
SLEEP = """import time
print("here", flush=True)
for i in range(1000): time.sleep(0.05)"""
ASLEEP_SECONDS = 0.5
"""A person interrupts what has been running for a while."""
UNFINISHED = "import os; os.pa"


class ByHandSpecs(KernelSpecManager):
    """Whatever kernel is asked for, it is ipykernel in a container of this image."""

    arguments: tuple[str, ...] = ()

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec, made up on the spot."""
        script = str(Path(__file__).with_name("by_hand.py"))
        return KernelSpec(
            argv=[sys.executable, script, "{connection_file}", *self.arguments],
            display_name="By hand",
            language="python",
        )


class ByHand(Kernel):
    """ipykernel in a container, as people put it there by hand: the arguments are `docker run`'s,
    the image first."""

    def make_specs(self, *arguments: str) -> KernelSpecManager:
        """Knows such a container alone."""
        specs = ByHandSpecs()
        specs.arguments = arguments
        return specs


Make = Callable[[Path], Kernel]


def kernels(image: str, image_with_ipykernel: str, label: str) -> dict[str, Make]:
    """Who is compared: the first is the base. The label is for the containers made by hand."""
    by_hand = (image_with_ipykernel, f"--label={label}")
    made: dict[str, Make] = {BASE: lambda folder: OrdinaryKernel(folder=folder)}
    if shutil.which("docker"):
        made[BY_HAND] = lambda folder: ByHand(*by_hand, folder=folder)
    made[OURS] = lambda folder: Kernel(f"--image={image}", folder=folder)
    return made


@contextmanager
def folder() -> Iterator[Path]:
    """A notebook's folder, of an ordinary user."""
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
        yield owned(Path(name))


def compare(
    makes: dict[str, Make],
    rounds: int,
    after_round: Callable[[Samples], None],
    say: Callable[[str], None],
) -> Samples:
    """All kernels, in turn, so many times."""
    say("bench: kernels, once each to begin with: a first start makes what later ones find")
    for make in makes.values():
        measure_round("", make, Samples(), 1)
    samples = Samples()
    for number in range(rounds):
        for who, make in makes.items():
            say(f"bench: kernels, round {number + 1} of {rounds}: {who}")
            measure_round(who, make, samples, CELLS)
        after_round(samples)
    return samples


def measure_round(who: str, make: Make, samples: Samples, cells: int) -> None:
    """All of it once, with a kernel that is started for this."""

    def add(measure: Measure, value: float) -> None:
        samples.add(measure, who, value)

    with folder() as place:
        began = time.perf_counter()
        with silent(make(place)) as kernel:
            timed(kernel, "1+1")
            add(START, time.perf_counter() - began)
            measure_cells(kernel, add, cells)
            measure_output(kernel, add)
            add(INTERRUPT, interrupt(kernel) * 1e3)
            add(COMPLETION, statistics.median(complete(kernel) for _ in range(20)) * 1e3)
            add(RESTART, restart(kernel))
            kernel.client.stop_channels()
            began = time.perf_counter()
            kernel.manager.shutdown_kernel()
            add(SHUTDOWN, time.perf_counter() - began)


def silent(kernel: Kernel) -> Kernel:
    """The kernel, whose process writes nowhere: ipykernel repeats what subprocesses print."""
    kernel.output = subprocess.DEVNULL
    return kernel


def measure_cells(kernel: Kernel, add: Callable[[Measure, float], None], cells: int) -> None:
    """Cells that do nothing, or print one letter."""
    for _ in range(10):
        timed(kernel, "pass")
    taken = [timed(kernel, "pass").seconds for _ in range(cells)]
    add(CELL, statistics.median(taken) * 1e3)
    add(CELL_P99, percentile(taken, 0.99) * 1e3)
    firsts = [timed(kernel, "print('x')").first for _ in range(50)]
    add(FIRST_OUTPUT, statistics.median(firsts) * 1e3)


def measure_output(kernel: Kernel, add: Callable[[Measure, float], None]) -> None:
    """Cells that print and show much."""
    add(LINES, timed(kernel, PRINT).seconds)
    written = timed(kernel, WRITE_CODE)
    add(WRITE, written.chars / 1e6 / written.seconds)
    add(SUBPROCESS, timed(kernel, SEQ).seconds)
    add(DISPLAY, timed(kernel, SHOW).seconds)


class Taken(NamedTuple):
    """What a cell has taken."""

    seconds: float
    """Until it had ended."""
    first: float
    """Until its first output; 0 where there is none."""
    chars: int
    """How much text it has printed."""


def timed(kernel: Kernel, code: str, *, store_history: bool = False) -> Taken:
    """Run a cell until it is idle and has its reply."""
    client, first, chars, idle = kernel.client, 0.0, 0, False
    began = time.perf_counter()
    asked = client.execute(code, store_history=store_history)
    while not idle:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        if kind in ("stream", "display_data", "execute_result") and not first:
            first = time.perf_counter() - began
        if kind == "stream":
            chars += len(content["text"])
        idle = kind == "status" and content["execution_state"] == "idle"
    wait_for_reply(kernel, asked)
    return Taken(time.perf_counter() - began, first, chars)


def wait_for_reply(kernel: Kernel, asked: str) -> None:
    """Until a request has its reply."""
    while kernel.client.get_shell_msg(timeout=PATIENCE)["parent_header"].get("msg_id") != asked:
        pass


def interrupt(kernel: Kernel) -> float:
    """Seconds from an interrupt to the reply of the cell that sleeps."""
    asked = kernel.client.execute(SLEEP, store_history=False)
    kernel.next_output(lambda message: message["msg_type"] == "stream")
    time.sleep(ASLEEP_SECONDS)
    began = time.perf_counter()
    kernel.manager.interrupt_kernel()
    wait_for_reply(kernel, asked)
    return time.perf_counter() - began


def complete(kernel: Kernel) -> float:
    """Seconds of a completion."""
    began = time.perf_counter()
    wait_for_reply(kernel, kernel.client.complete(UNFINISHED, len(UNFINISHED)))
    return time.perf_counter() - began


def restart(kernel: Kernel) -> float:
    """Seconds from a restart to the first result after it, of a client that connects anew."""
    began = time.perf_counter()
    kernel.client.stop_channels()
    kernel.manager.restart_kernel()
    kernel.connect()
    timed(kernel, "1")
    return time.perf_counter() - began
