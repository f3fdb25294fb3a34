"""Random work for a long time, then a count of what has grown.

    python tests/soak.py [SECONDS [SEED]]

Two kernels share a server in a container, over a proxy that cuts, stalls and refuses. One is never
restarted, so that what it keeps shows; in the other sessions die and the kernel is restarted. Now
and then a third one with a container of its own comes and goes. Memory, file descriptors, threads,
processes and containers are counted after the first cells and at the end.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil

from deaths import Scene
from docker_kernel.backends import make_backend
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from dockerd import connect
from engine import using
from images import image
from kernels import Cell, Kernel, Message
from proxy import Proxy
from system import CannotError, say, wait_until

HOUR = 3600.0
WARM_UP = 3
"""So often each kind of work is done before the first count: pools and caches fill up at first."""

SETTLE_SECONDS = 15.0
"""How long what has ended may take to be gone."""

MORE_BYTES, MORE_SHARE = 8 << 20, 0.1
"""Memory may grow by so much and such a share of it, for allocators keep some …"""
CELL_BYTES = 4096
"""… and for each cell by this, as In, Out and the history are there to keep them."""

LINES = 2000


class FailedError(Exception):
    """Something went otherwise than it should."""


@dataclass(frozen=True)
class Count:
    """What there is at a moment, by the name of a part."""

    memory: dict[str, int]
    descriptors: dict[str, int]
    threads: dict[str, int]
    processes: int
    containers: int


class Soak:
    """The kernels, the proxy between, and the random work."""

    def __init__(
        self, one: Kernel, two: Kernel, proxy: Proxy, scene: Scene, name: str, chance: random.Random
    ) -> None:
        self.one, self.two = one, two
        self._proxy = proxy
        self._scene = scene
        self._image = name
        self._chance = chance
        self.done: Counter[str] = Counter()
        everywhere: list[Callable[[Kernel], None]] = [
            *(self._prints, self._displays, self._fails, self._asks, self._runs_a_program),
            *(self._has_threads, self._completes, self._is_interrupted, self._loses_network),
            self._stalls,
        ]
        self._rare: list[Callable[[Kernel], None]] = [self._dies, self._restarts]
        self._rarest: list[Callable[[Kernel], None]] = [self._has_its_own_container]
        self._work = everywhere

    def warm_up(self) -> None:
        """Do all there is."""
        for _ in range(WARM_UP):
            for work in self._work:
                for kernel in (self.one, self.two):
                    self._do(work, kernel)
            for work in self._rare:
                self._do(work, self.two)
        for work in self._rarest:
            self._do(work, self.two)
        self.done.clear()

    def step(self) -> None:
        """Do something."""
        dice = self._chance.random()
        if dice < 0.005:
            self._do(self._chance.choice(self._rarest), self.two)
        elif dice < 0.1:
            self._do(self._chance.choice(self._rare), self.two)
        else:
            self._do(self._chance.choice(self._work), self._chance.choice((self.one, self.two)))

    def _do(self, work: Callable[[Kernel], None], kernel: Kernel) -> None:
        name = work.__name__.strip("_").replace("_", " ")
        self.done[name] += 1
        try:
            work(kernel)
        except Exception as exc:
            raise FailedError(f"a kernel {name}: {type(exc).__name__}: {exc}") from exc

    # -- kinds of work

    def _prints(self, kernel: Kernel) -> None:
        count = self._chance.randrange(1, 3000)
        cell = kernel.run(f"for n in range({count}): print(n, 'é' * (n % 80))")
        expect(cell, "".join(f"{n} {'é' * (n % 80)}\n" for n in range(count)))

    def _displays(self, kernel: Kernel) -> None:
        size = self._chance.randrange(1, 200_000)
        cell = kernel.run(f"display({{'text/plain': 'x' * {size}}}, raw=True)\nlen('four')")
        found = [m for m in cell.messages if m["msg_type"] == "display_data"]
        check([len(m["content"]["data"]["text/plain"]) for m in found] == [size], cell)
        check(cell.result == "4", cell)

    def _fails(self, kernel: Kernel) -> None:
        cell = kernel.run("1 / 0")
        check(cell.reply["content"].get("ename") == "ZeroDivisionError", cell)

    def _asks(self, kernel: Kernel) -> None:
        text = str(self._chance.random())
        expect(kernel.run("print(input('? '))", answer=lambda _: text), f"{text}\n")

    def _runs_a_program(self, kernel: Kernel) -> None:
        left = self._chance.choice(("", "subprocess.Popen(['sleep', '0.2'])\n"))
        code = f"import subprocess\n{left}subprocess.run(['echo', 'here']).returncode"
        cell = kernel.run(code)
        expect(cell, "here\n")
        check(cell.result == "0", cell)

    def _has_threads(self, kernel: Kernel) -> None:
        code = (
            "import threading\n"
            "threads = [threading.Thread(target=print, args=['x']) for _ in range(8)]\n"
            "for each in threads: each.start()\n"
            "for each in threads: each.join()"
        )
        cell = kernel.run(code)
        # print writes the text and the end of the line one after the other; threads get between.
        check(sorted(cell.text()) == ["\n"] * 8 + ["x"] * 8, cell)

    def _completes(self, kernel: Kernel) -> None:
        if "print" not in kernel.ask("complete", "prin", 4)["matches"]:
            raise FailedError("print is not among the completions")

    def _is_interrupted(self, kernel: Kernel) -> None:
        wait = self._chance.choice(("import time; time.sleep(600)", "while True: pass"))

        def during(message: Message) -> None:
            if message["msg_type"] == "stream":
                kernel.manager.interrupt_kernel()

        cell = kernel.run(f"print('running')\n{wait}", during=during)
        check(cell.reply["content"].get("ename") == "KeyboardInterrupt", cell)

    def _loses_network(self, kernel: Kernel) -> None:
        messages = 0
        at = self._chance.randrange(1, 20)
        reset = self._chance.random() < 0.5

        def during(message: Message) -> None:
            nonlocal messages
            messages += message["msg_type"] == "stream"
            if messages == at:
                self._proxy.cut(reset=reset)

        code = (
            f"import time\nfor n in range({LINES}):\n print(n)\n if n % 50 == 0: time.sleep(0.01)"
        )
        expect(kernel.run(code, during=during), "".join(f"{n}\n" for n in range(LINES)))

    def _stalls(self, kernel: Kernel) -> None:
        self._proxy.stall()
        kernel.client.execute("print('late')")
        # However long it takes until the other side has noticed nothing.
        time.sleep(self._chance.random() / 5)
        self._proxy.stall(False)
        expect(kernel.run("print('here')"), "here\n")

    def _dies(self, kernel: Kernel) -> None:
        cell = kernel.run(self._chance.choice(("import os; os._exit(3)", KILL)))
        check(cell.reply["content"].get("ename") == "SessionDied", cell)
        expect(kernel.run("print('again')"), "again\n")

    def _restarts(self, kernel: Kernel) -> None:
        kernel.manager.restart_kernel(now=self._chance.random() < 0.5)
        kernel.client.wait_for_ready(timeout=60)
        expect(kernel.run("print('again')"), "again\n")

    def _has_its_own_container(self, _kernel: Kernel) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="own-", dir=self._scene.folder) as name,
            Kernel(f"--image={self._image}", folder=owned(Path(name))) as own,
        ):
            expect(own.run("print('own')"), "own\n")

    # -- counting

    def count(self) -> Count:
        """What there is now, without what is just ending."""
        parts = {
            "the server": psutil.Process(self._scene.pid("server")),
            "the zygote": psutil.Process(self._scene.pid("zygote")),
            "the session's process": self._worker(),
            "the kernel's process": psutil.Process(self.one.pid),
        }
        for kernel in (self.one, self.two):
            kernel.run("import gc; gc.collect()", silent=True)
        return Count(
            {name: part.memory_info().rss for name, part in parts.items()},
            {name: part.num_fds() for name, part in parts.items()},
            {name: part.num_threads() for name, part in parts.items()},
            len(self._scene.processes()),
            self._containers(),
        )

    def _containers(self) -> int:
        """How many there are of this soak, running or not: their workspaces are in its folder."""
        found = self._scene.client.containers.list(all=True, ignore_removed=True)
        places = [one.labels.get("docker-kernel.workspace", "") for one in found]
        return sum(place.startswith(str(self._scene.folder)) for place in places)

    def _worker(self) -> psutil.Process:
        """The process of the session that is never restarted, as this machine numbers it."""
        inside = str(self.one.run("import os; os.getpid()").result)
        for process in self._scene.processes():
            status = Path(f"/proc/{process.pid}/status").read_text()
            lines = [line.split() for line in status.splitlines() if line.startswith("NSpid")]
            if lines[0][-1] == inside:
                return process
        raise FailedError("the session's process is not there")


KILL = "import os; os.kill(os.getpid(), 9)"


def check(good: bool, cell: Cell) -> None:
    """Raise what a cell was where it isn't good."""
    if not good:
        raise FailedError(f"it ended as\n{str(cell)[-2000:]}")


def expect(cell: Cell, text: str) -> None:
    """It went well, and has printed this."""
    check(cell.status == "ok" and cell.text() == text, cell)


def owned(folder: Path) -> Path:
    """A notebook's folder, of an ordinary user: the soak may run as root."""
    if os.getuid() == 0:
        os.chown(folder, 1000, 1000)
    return folder


def grown(before: Count, after: Count, cells: int) -> list[str]:
    """What has grown more than it may."""
    found = []
    for name, size in before.memory.items():
        bound = size * (1 + MORE_SHARE) + MORE_BYTES + CELL_BYTES * cells
        if after.memory[name] > bound:
            found.append(f"memory of {name}: {mib(size)}, {mib(after.memory[name])} MiB")
    for kind in ("descriptors", "threads"):
        was, now = getattr(before, kind), getattr(after, kind)
        found += [
            f"{kind} of {name}: {was[name]}, {now[name]}" for name in was if now[name] > was[name]
        ]
    for kind in ("processes", "containers"):
        numbers = getattr(before, kind), getattr(after, kind)
        if numbers[1] > numbers[0]:
            found.append(f"{kind}: {numbers[0]}, {numbers[1]}")
    return found


def mib(size: int) -> int:
    """In MiB."""
    return round(size / (1 << 20))


def table(before: Count, after: Count) -> str:
    """Both counts, for docs/reliability.md."""
    lines = ["| | memory, MiB | file descriptors | threads |", "|---|---|---|---|"]
    for name, size in before.memory.items():
        cells = [
            f"{mib(size)} → {mib(after.memory[name])}",
            f"{before.descriptors[name]} → {after.descriptors[name]}",
            f"{before.threads[name]} → {after.threads[name]}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    processes = f"{before.processes} → {after.processes}"
    containers = f"{before.containers} → {after.containers}"
    lines += ["", f"Processes in the container: {processes}; containers: {containers}."]
    return "\n".join(lines)


def soak(client: docker.DockerClient, name: str, seconds: float, seed: int) -> str:
    """Work for so long; the table of both counts. Raises FailedError."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dk-soak-")))
        chosen = {"mode": "docker", "image": name, "workspace": str(owned(folder))}
        environ = {f"DOCKER_KERNEL_{key.upper()}": value for key, value in chosen.items()}
        backend = make_backend(Settings.load(environ=environ))
        stack.callback(backend.stop)
        endpoint = backend.start(Deadline(120), say)
        proxy = stack.enter_context(Proxy(endpoint.port))
        secret = folder / "secret"
        secret.write_bytes(endpoint.secret or b"")
        arguments = ("--mode=attached", f"--port={proxy.port}", f"--secret-file={secret}")

        def attached(which: str) -> Kernel:
            place = folder / which
            place.mkdir()
            return stack.enter_context(Kernel(*arguments, folder=place))

        chance = random.Random(seed)  # noqa: S311  (no secret)
        scene = Scene(client, folder)
        work = Soak(attached("one"), attached("two"), proxy, scene, name, chance)
        work.warm_up()
        before = work.count()
        cells = run_for(work, seconds)
        after = settled(work, before, cells)
        say(f"soak: {cells} times: {', '.join(f'{n} {what}' for what, n in work.done.items())}")
        say(table(before, after))
        if found := grown(before, after, cells):
            raise FailedError(f"after {cells} cells this has grown: {'; '.join(found)}")
        return table(before, after)


def run_for(work: Soak, seconds: float) -> int:
    """Work for so long; how much was done."""
    end = time.monotonic() + seconds
    told = time.monotonic()
    steps = 0
    while time.monotonic() < end:
        work.step()
        steps += 1
        if time.monotonic() - told > 60:
            told = time.monotonic()
            memory = ", ".join(f"{mib(size)}" for size in work.count().memory.values())
            say(f"soak: {steps} done, {end - told:.0f} s to go; memory in MiB: {memory}")
    return steps


def settled(work: Soak, before: Count, cells: int) -> Count:
    """The count when what has ended is gone, or has had the time for it."""
    counts: list[Count] = []

    def good() -> bool:
        counts.append(work.count())
        return not grown(before, counts[-1], cells)

    wait_until(good, SETTLE_SECONDS)
    return counts[-1]


def main(arguments: list[str]) -> int:
    """The script; returns its exit code."""
    seconds = float(arguments[0]) if arguments else HOUR
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 32)  # noqa: S311
    signal.signal(signal.SIGINT, signal.default_int_handler)
    again = f"python tests/soak.py {seconds:g} {seed}"
    say(f"soak: {seconds:g} s with the seed {seed}")
    try:
        with using() as engine, contextlib.closing(connect(engine.host)) as client:
            os.environ["DOCKER_HOST"] = engine.host
            soak(client, image("base", client), seconds, seed)
    except Exception as exc:
        say(f"soak: {exc}\nsoak: the same again: {again}")
        if isinstance(exc, (CannotError, FailedError)):
            return 1
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
