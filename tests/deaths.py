"""Every part dies at every moment: what the person sees, what the next cell does, what is left.

One place for the scenarios, used by integration/test_deaths.py and by reliability.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import psutil
from docker.errors import APIError
from docker.models.containers import Container
from jupyter_client.blocking.client import BlockingKernelClient

from dockerd import ThrowAway
from kernels import Cell, Kernel, Message
from system import alive, wait_until

PATIENCE = 60.0
"""Seconds for what should take much less: a loaded machine is slow, and a hang must end."""

STARTING, IDLE, IN_A_CELL, IN_INPUT, STREAMING = (
    "starting",
    "idle",
    "in a cell",
    "in input()",
    "while streaming",
)
CODE = {
    IN_A_CELL: "import time\nprint('running')\ntime.sleep(600)",
    IN_INPUT: "input('? ')",
    STREAMING: "while True: print('x' * 1000)",
}
MOMENTS = (STARTING, IDLE, IN_A_CELL, IN_INPUT, STREAMING)
LINES = 3000
ENDING = {
    IDLE: "print('done')",
    IN_A_CELL: "import time\nprint('running')\ntime.sleep(1)\nprint('done')",
    IN_INPUT: "print(input('? '))",
    STREAMING: f"import time\nfor n in range({LINES}): print(n); time.sleep(0.001)",
}
"""The same for what goes on in the end, and what it has printed then."""
PRINTED = {
    IDLE: "done\n",
    IN_A_CELL: "running\ndone\n",
    IN_INPUT: "done\n",
    STREAMING: "".join(f"{n}\n" for n in range(LINES)),
}
STREAMED = 50
"""So many messages have come of a cell that streams, when the blow falls."""

TYPING_SECONDS = 1.0
"""A person who is struck while idle types the next cell after that. What is sent sooner may fall
into the death, and is told so as what runs is."""

PAUSED_SECONDS = 3.0
"""How long a container is paused that starts."""

REMEMBER = "kept = 42"
RECALL = "globals().get('kept')"


@dataclass(frozen=True)
class Outcome:
    """What came of a death."""

    seen: str
    """What the person sees in the cell, or in the next one where none was running."""
    seconds: float
    """From the blow until it is seen; where no cell ran, from the next cell's start to its end."""
    after: str
    """What the next cell does."""
    left: str
    """What was still there when the next cell had ended; "" for nothing."""
    gone: float
    """From the blow until nothing was left of what died."""


class Scene:
    """A kernel's container, and the processes in it as this machine numbers them."""

    def __init__(self, client: docker.DockerClient, folder: Path) -> None:
        self.client = client
        self.folder = folder

    def containers(self) -> list[Container]:
        """The containers of this folder's kernel, running or not."""
        mine: dict[str, str | list[str] | bool] = {
            "label": f"docker-kernel.workspace={self.folder}"
        }
        found: list[Container] = self.client.containers.list(
            all=True, filters=mine, ignore_removed=True
        )
        return found

    def container(self) -> Container:
        """The one that runs, as soon as it does."""
        found: list[Container] = []

        def runs() -> bool:
            found[:] = [one for one in self.containers() if one.status in ("running", "paused")]
            return bool(found)

        assert wait_until(runs, PATIENCE), "there is no container"
        return found[0]

    def processes(self) -> list[psutil.Process]:
        """The container's first process and all below it that live.

        A program of a cell's that nobody has waited for is there as a zombie for a while.
        """
        container = self.container()
        container.reload()
        first = psutil.Process(container.attrs["State"]["Pid"])
        return [one for one in (first, *first.children(recursive=True)) if alive(one.pid)]

    def pid(self, part: str) -> int:
        """The pid of the worker, keeper, zygote or server, once it is there."""
        found: list[int] = []

        def is_there() -> bool:
            with contextlib.suppress(psutil.Error):
                found[:] = self._parts().get(part, [])
            return bool(found)

        assert wait_until(is_there, PATIENCE), f"there is no {part}"
        return found[0]

    def _parts(self) -> dict[str, list[int]]:
        _, *others = self.processes()
        server = [one for one in others if any("tcp_server.py" in word for word in one.cmdline())]
        # Keeper and worker are forks of the zygote, and look like it.
        line = [one for one in others if "zygote.main()" in " ".join(one.cmdline())]
        names = ["zygote", "keeper", "worker"]
        if line and server and line[0].ppid() != server[0].pid:
            names = names[1:]  # the zygote has died
        return {"server": [one.pid for one in server]} | {
            name: [one.pid] for name, one in zip(names, line, strict=False)
        }


Blow = Callable[[Scene], None]

PAUSE, ENGINE, KERNEL, JUPYTER = (
    "container: docker pause",
    "engine: restart",
    "kernel's process: kill -9",
    "Jupyter's server: kill -9",
)


def kill(part: str) -> Blow:
    """A blow that kills a process."""
    return lambda scene: os.kill(scene.pid(part), signal.SIGKILL)


BLOWS: Mapping[str, Blow] = {
    **{part: kill(part) for part in ("worker", "keeper", "zygote", "server")},
    "container: docker kill": lambda scene: scene.container().kill(),
    "container: docker rm -f": lambda scene: scene.container().remove(force=True),
}
"""The parts that die while the kernel lives, and how."""


def die(kernel: Kernel, scene: Scene, part: str, moment: str) -> Outcome:
    """Let a part of a kernel that works die, and look at what comes of it."""
    if part == "zygote":
        return kill_zygote(kernel, scene, moment)
    return strike_at(kernel, scene, moment, lambda: BLOWS[part](scene))


def strike_at(kernel: Kernel, scene: Scene, moment: str, blow: Callable[[], None]) -> Outcome:
    """Strike a kernel that works, and look at what comes of it."""
    kernel.run(REMEMBER)
    processes = scene.processes()
    struck = 0.0

    def strike() -> None:
        nonlocal struck
        struck = time.monotonic()
        blow()

    if moment in CODE:
        cell = provoke(kernel, moment, strike)
        seen, seconds = words(cell), time.monotonic() - struck
        after = kernel.run(RECALL)
    else:
        strike()
        time.sleep(TYPING_SECONDS)
        typed = time.monotonic()
        after = kernel.run(RECALL)
        seen, seconds = note(after), time.monotonic() - typed
    return Outcome(seen, seconds, next_cell(after), *left(scene, processes, struck))


def die_starting(kernel: Kernel, scene: Scene, part: str) -> Outcome:
    """Start a kernel, let a part of it die as soon as it is there, and run a first cell."""
    struck = 0.0
    processes: list[psutil.Process] = []

    def strike() -> None:
        nonlocal struck
        processes[:] = scene.processes()
        BLOWS[part](scene)
        struck = time.monotonic()

    striker = threading.Thread(target=strike)
    striker.start()
    with kernel:
        cell = kernel.run("6 * 7")
        striker.join()
        seen, seconds = words(cell), time.monotonic() - struck
        after = kernel.run("6 * 7")
        works = "works" if after.result == "42" else words(after)
        return Outcome(seen, seconds, works, *left(scene, processes, struck))


def provoke(kernel: Kernel, moment: str, strike: Callable[[], None]) -> Cell:
    """Run the moment's cell, and strike once in its midst."""
    messages = 0

    def during(message: Message) -> None:
        nonlocal messages
        messages += message["msg_type"] == "stream"
        if messages == (STREAMED if moment == STREAMING else 1) and moment != IN_INPUT:
            messages += 1
            strike()

    def answer(_prompt: str) -> None:
        strike()

    return kernel.run(CODE[moment], during=during, answer=answer if moment == IN_INPUT else None)


# -- what the cell outlives


def freeze(container: Container) -> None:
    """`docker pause`; the engine fails now and then where processes are just being made."""

    def frozen() -> bool:
        with contextlib.suppress(APIError):
            container.pause()
        container.reload()
        return str(container.status) == "paused"

    assert wait_until(frozen, PATIENCE)


def pause(kernel: Kernel, scene: Scene, moment: str) -> Outcome:
    """Pause the container, wait until the person is told, unpause it: nothing may be missing."""
    container = scene.container()
    return outlive(kernel, scene, moment, partial(freeze, container), container.unpause)


def pause_starting(kernel: Kernel, scene: Scene) -> Outcome:
    """Pause the container as soon as it is there, and unpause it when a cell waits for it."""
    struck = 0.0
    processes: list[psutil.Process] = []

    def strike() -> None:
        nonlocal struck
        container = scene.container()
        freeze(container)
        struck = time.monotonic()
        processes[:] = scene.processes()
        time.sleep(PAUSED_SECONDS)
        container.unpause()

    striker = threading.Thread(target=strike)
    striker.start()
    with kernel:
        cell = kernel.run("6 * 7")
        seen, seconds = words(cell), time.monotonic() - struck
        striker.join()
        after = kernel.run("6 * 7")
        works = "works" if after.result == "42" else words(after)
        return Outcome(seen, seconds, works, *left(scene, processes, struck))


def kill_zygote(kernel: Kernel, scene: Scene, moment: str) -> Outcome:
    """Kill the zygote, of which only the next session or restart has need."""
    # The death of the one before has cost nothing, and so nobody has needed another since.
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=PATIENCE)
    pid = scene.pid("zygote")
    return outlive(kernel, scene, moment, lambda: os.kill(pid, signal.SIGKILL))


def outlive(
    kernel: Kernel,
    scene: Scene,
    moment: str,
    blow: Callable[[], None],
    mend: Callable[[], None] = lambda: None,
) -> Outcome:
    """Strike in the midst of a cell that comes to its end all the same; mend it where it's told."""
    kernel.run(REMEMBER)
    processes = scene.processes()
    struck, told, messages, notice = 0.0, 0.0, 0, ""

    def strike() -> None:
        nonlocal struck
        blow()
        struck = time.monotonic()

    def during(message: Message) -> None:
        nonlocal messages, told, notice
        messages += message["msg_type"] == "stream"
        if moment in (IN_A_CELL, STREAMING) and messages == 1:
            messages += 1
            strike()
        content = message["content"]
        if not told and content.get("name") == "stderr":
            told, notice = time.monotonic(), content["text"]
            mend()

    def answer(_prompt: str) -> str:
        strike()
        return "done"

    if moment == IDLE:
        strike()
    cell = kernel.run(ENDING[moment], during=during, answer=answer if moment == IN_INPUT else None)
    ended = time.monotonic()
    complete = cell.status == "ok" and cell.text() == PRINTED[moment]
    after = kernel.run(RECALL)
    next_one = next_cell(after) if complete else f"output is MISSING ({words(cell)})"
    seen = plain(notice) or "nothing: the cell goes on, and nothing of it is missing"
    return Outcome(seen, (told or ended) - struck, next_one, *left(scene, processes, struck))


# -- the host's side


def begin(client: BlockingKernelClient, moment: str) -> None:
    """Send the moment's cell, and wait until it is in its midst."""
    if moment not in CODE:
        return
    client.execute(CODE[moment], allow_stdin=moment == IN_INPUT)
    if moment == IN_INPUT:
        client.get_stdin_msg(timeout=PATIENCE)
        return
    streamed = 0
    while streamed < (STREAMED if moment == STREAMING else 1):
        streamed += client.get_iopub_msg(timeout=PATIENCE)["msg_type"] == "stream"


def kill_kernel(kernel: Kernel, scene: Scene, moment: str) -> Outcome:
    """Kill the kernel's own process, and start it again as Jupyter does."""
    kernel.run(REMEMBER)
    worker, container = psutil.Process(scene.pid("worker")), scene.container()
    begin(kernel.client, moment)
    os.kill(kernel.pid, signal.SIGKILL)
    struck = time.monotonic()
    assert wait_until(kernel.has_ended, PATIENCE)
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=PATIENCE)
    after = kernel.run(RECALL)
    seconds = time.monotonic() - struck
    same = "the same container" if scene.container().id == container.id else "ANOTHER container"
    # Jupyter says itself that it starts the kernel again, and so that the variables are gone.
    works = f"works, in {same}" if after.status == "ok" and after.result is None else words(after)
    wait_until(lambda: not worker.is_running(), PATIENCE)
    rest = f"process {worker.pid}" if worker.is_running() else ""
    seen = "Jupyter says that the kernel has died, and starts it again"
    return Outcome(seen, seconds, works, rest, time.monotonic() - struck)


def kill_jupyter(scene: Scene, moment: str, *arguments: str) -> Outcome:
    """Kill the process that has started the kernel."""
    program = str(Path(__file__).with_name("parent.py"))
    command = [sys.executable, program, str(scene.folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            pid, connection_file = parent.stdout.readline().split()
            scene.container()
            if moment != STARTING:
                begin_elsewhere(connection_file, moment)
        finally:
            parent.kill()
            struck = time.monotonic()
    assert wait_until(lambda: not alive(int(pid)), PATIENCE), "the kernel still runs"
    seconds = time.monotonic() - struck
    wait_until(lambda: not scene.containers(), PATIENCE)
    rest = ", ".join(f"container {one.name}" for one in scene.containers())
    seen = "the browser has lost Jupyter; the kernel ends"
    return Outcome(seen, seconds, "", rest, time.monotonic() - struck)


def begin_elsewhere(connection_file: str, moment: str) -> None:
    """The same as `begin`, for a kernel that another process has started."""
    client = BlockingKernelClient()
    client.load_connection_file(connection_file)
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        client.execute_interactive(REMEMBER, timeout=PATIENCE)
        begin(client, moment)
    finally:
        client.stop_channels()


def lease_seconds(kernel: Kernel, scene: Scene) -> float:
    """Kill the kernel's own process for good; the seconds until its container is gone."""
    with kernel:
        kernel.run("1")
        os.kill(kernel.pid, signal.SIGKILL)
        struck = time.monotonic()
        assert wait_until(lambda: not scene.containers(), PATIENCE), "the container is still there"
        return time.monotonic() - struck


@contextlib.contextmanager
def own_engine() -> Iterator[ThrowAway]:
    """An engine that nobody else uses, for its restart. Raises CannotError."""
    engine = ThrowAway(Path(f"/tmp/docker-kernel-engine-{os.getpid()}"))
    engine.acquire()
    try:
        yield engine
    finally:
        engine.release()
        engine.stop()


def restart_engine(kernel: Kernel, scene: Scene, engine: ThrowAway, moment: str) -> Outcome:
    """Restart the engine under a kernel."""
    return strike_at(kernel, scene, moment, engine.restart)


# -- words


def words(cell: Cell) -> str:
    """The error of a cell, in a line without what differs from run to run."""
    return plain(cell.error) if cell.status != "ok" else note(cell)


def note(cell: Cell) -> str:
    """What a cell says before it begins."""
    said = [line for line in cell.text("stderr").splitlines() if not line.startswith("starting")]
    return plain(" ".join(said)) or "nothing"


def next_cell(cell: Cell) -> str:
    """What became of the variables, and whether it was said."""
    if cell.status != "ok":
        return words(cell)
    if cell.result == "42":
        return "works, with all variables"
    told = "reset" in cell.text("stderr")
    return "works; says that variables were reset" if told else "works, variables LOST UNSAID"


def plain(text: str) -> str:
    """Without names, ports and log lines."""
    text = re.sub(r"docker-kernel-[0-9a-f]{8}", "docker-kernel-NAME", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"; its last lines were: [^\n]*", "", text)
    text = re.sub(r"docker-kernel-test/[\w.:-]+", "IMAGE", text)
    return " ".join(text.replace("\nTo mend it", ". To mend it").split())


def left(scene: Scene, processes: list[psutil.Process], struck: float) -> tuple[str, float]:
    """What was there before, has no use any more, and is still there; and for how long it was."""
    container, now = scene.container(), scene.processes()

    def remains() -> list[str]:
        found = [f"process {one.pid}" for one in processes if one.is_running() and one not in now]
        others = [one for one in scene.containers() if one.id != container.id]
        return found + [f"container {one.name}" for one in others]

    wait_until(lambda: not remains(), PATIENCE)
    return ", ".join(remains()), time.monotonic() - struck


KILLED = "SIGKILL"
ENDED = "the container ended with status 137|the container is gone"
RESET = "variables were reset"
STARTS = f"^nothing$|{ENDED}"
EXPECTED = {
    "worker": {IDLE: KILLED, "": KILLED},
    "keeper": {IDLE: KILLED, "": KILLED},
    "zygote": {"": "^nothing"},
    "server": {STARTING: STARTS, IDLE: RESET, "": ENDED},
    "container: docker kill": {STARTING: STARTS, IDLE: RESET, "": ENDED},
    "container: docker rm -f": {STARTING: STARTS, IDLE: RESET, "": ENDED},
    PAUSE: {STARTING: "^nothing", "": "is paused; type: docker unpause docker-kernel-NAME"},
    ENGINE: {IDLE: RESET, "": "the engine is stopped|engine is away"},
}
"""The words that matter, by part and moment; "" is for the other moments."""


def complaints(part: str, moment: str, outcome: Outcome) -> list[str]:
    """What is not as it should be; nothing, where all is well."""
    found = []
    expected = EXPECTED.get(part, {"": ""})
    pattern = expected.get(moment, expected[""])
    if not re.search(pattern, outcome.seen):
        found.append(f"it was told as {outcome.seen!r}, without {pattern!r}")
    if not re.match("works|$", outcome.after) or "LOST" in outcome.after:
        found.append(f"the next cell: {outcome.after}")
    if outcome.left:
        found.append(f"left behind: {outcome.left}")
    return [f"{part}, {moment}: {text}" for text in found]
