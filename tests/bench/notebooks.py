"""Kernels side by side: what a person waits for, round by round, each in its turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from bench.measures import Measure, Samples, percentile
from kernels import PATIENCE, Kernel, Message, OrdinaryKernel
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

PRINT = "for number in range(200_000): print(number)"
WRITE_CODE = """import sys
text = ("y" * 1023 + "\\n") * 100
for _ in range(320):
    sys.stdout.write(text)
None"""
WRITTEN_MB = 1024 * 100 * 320 / 1e6
SEQ = "import os\nos.system('seq 300000')\nNone"
SHOW = """from IPython.display import display
display({"image/png": "A" * 8_000_000}, raw=True)"""
SLEEP = """import time
print("here", flush=True)
while True: time.sleep(0.05)"""
UNFINISHED = "import os; os.pa"


class ByHandSpecs(KernelSpecManager):
    """Whatever kernel is asked for, it is ipykernel in a container of this image."""

    image = ""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec, made up on the spot."""
        script = str(Path(__file__).with_name("by_hand.py"))
        return KernelSpec(
            argv=[sys.executable, script, "{connection_file}", self.image],
            display_name="By hand",
            language="python",
        )


class ByHand(Kernel):
    """ipykernel in a container, as people put it there by hand."""

    def make_specs(self, *arguments: str) -> KernelSpecManager:
        """The image is the argument."""
        specs = ByHandSpecs()
        (specs.image,) = arguments
        return specs


Make = Callable[[Path], Kernel]


def kernels(image: str, image_with_ipykernel: str) -> dict[str, Make]:
    """Who is compared: the first is the base."""
    return {
        BASE: lambda folder: OrdinaryKernel(folder=folder),
        BY_HAND: lambda folder: ByHand(image_with_ipykernel, folder=folder),
        OURS: lambda folder: Kernel(f"--image={image}", folder=folder),
    }


@contextmanager
def folder() -> Iterator[Path]:
    """A notebook's folder, of an ordinary user."""
    with tempfile.TemporaryDirectory(prefix="dk-bench-") as name:
        yield owned(Path(name))


def measure_round(who: str, make: Make, samples: Samples, cells: int) -> None:
    """All of it once, with a kernel that is started for this."""

    def add(measure: Measure, value: float) -> None:
        samples.add(measure, who, value)

    with folder() as place:
        began = time.perf_counter()
        kernel = make(place)
        kernel.output = subprocess.DEVNULL  # ipykernel repeats there what subprocesses print
        with kernel:
            timed(kernel, "1 + 1")
            add(START, time.perf_counter() - began)
            measure_cells(kernel, add, cells)
            measure_output(kernel, add)
            add(INTERRUPT, interrupt(kernel) * 1e3)
            add(COMPLETION, statistics.median(complete(kernel) for _ in range(20)) * 1e3)
            began = time.perf_counter()
            kernel.manager.restart_kernel()
            kernel.client.wait_for_ready(timeout=PATIENCE)
            timed(kernel, "1")
            add(RESTART, time.perf_counter() - began)
            began = time.perf_counter()
            kernel.manager.shutdown_kernel()
            add(SHUTDOWN, time.perf_counter() - began)


def measure_cells(kernel: Kernel, add: Callable[[Measure, float], None], cells: int) -> None:
    """Cells that do nothing, or print one letter."""
    for _ in range(10):
        timed(kernel, "pass")
    taken = [timed(kernel, "pass")[0] for _ in range(cells)]
    add(CELL, statistics.median(taken) * 1e3)
    add(CELL_P99, percentile(taken, 0.99) * 1e3)
    firsts = [timed(kernel, "print('x')")[1] for _ in range(50)]
    add(FIRST_OUTPUT, statistics.median(firsts) * 1e3)


def measure_output(kernel: Kernel, add: Callable[[Measure, float], None]) -> None:
    """Cells that print and show much."""
    add(LINES, timed(kernel, PRINT)[0])
    add(WRITE, WRITTEN_MB / timed(kernel, WRITE_CODE)[0])
    add(SUBPROCESS, timed(kernel, SEQ)[0])
    add(DISPLAY, timed(kernel, SHOW)[0])


def timed(kernel: Kernel, code: str) -> tuple[float, float]:
    """Seconds until the cell has ended, and until its first output (0 where there is none)."""
    client, first, idle = kernel.client, 0.0, False
    began = time.perf_counter()
    asked = client.execute(code, store_history=False)
    while not idle:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        if kind in ("stream", "display_data", "execute_result") and not first:
            first = time.perf_counter() - began
        idle = kind == "status" and content["execution_state"] == "idle"
    wait_for_reply(kernel, asked)
    return time.perf_counter() - began, first


def wait_for_reply(kernel: Kernel, asked: str) -> Message:
    """The reply to a request."""
    while True:
        reply: Message = kernel.client.get_shell_msg(timeout=PATIENCE)
        if reply["parent_header"].get("msg_id") == asked:
            return reply


def interrupt(kernel: Kernel) -> float:
    """Seconds from an interrupt to the reply of the cell that sleeps."""
    asked = kernel.client.execute(SLEEP, store_history=False)
    kernel.next_output(lambda message: message["msg_type"] == "stream")
    began = time.perf_counter()
    kernel.manager.interrupt_kernel()
    wait_for_reply(kernel, asked)
    return time.perf_counter() - began


def complete(kernel: Kernel) -> float:
    """Seconds of a completion."""
    began = time.perf_counter()
    wait_for_reply(kernel, kernel.client.complete(UNFINISHED, len(UNFINISHED)))
    return time.perf_counter() - began


def compare(
    image: str, image_with_ipykernel: str, rounds: int, cells: int, say: Callable[[str], None]
) -> Samples:
    """All kernels, in turn, so many times."""
    samples = Samples()
    for number in range(rounds):
        for who, make in kernels(image, image_with_ipykernel).items():
            say(f"bench: round {number + 1} of {rounds}: {who}")
            measure_round(who, make, samples, cells)
    return samples
