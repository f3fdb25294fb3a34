"""What idle kernels and sessions cost in memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import docker
import psutil

import crowd
from bench.measures import Measure, Samples
from bench.notebooks import BASE, OURS, folder, silent, timed
from deaths import Scene
from docker_kernel.backends import make_backend
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from kernels import Kernel, OrdinaryKernel

MIB = 1 << 20

QUIET_LOOKS, QUIET_SECONDS, QUIET_MIB = 4, 0.2, 0.1
"""Memory that has changed by no more in so many looks is taken for settled."""

HOST = Measure("the kernel's process on this machine", "MiB", 1.0)
SESSION = Measure("what one more idle session adds", "MiB", 25, absolute=True)
WORKER = Measure("in the container: the session's worker", "MiB", 25, absolute=True)
KEEPER = Measure("in the container: the session's keeper", "MiB")
ZYGOTE = Measure("in the container: the zygote", "MiB")
SERVER = Measure("in the container: the server", "MiB", 30, absolute=True)


def pss(*processes: psutil.Process) -> float:
    """What processes use, in MiB: of memory that they share with others, their share."""
    return sum(float(process.memory_full_info().pss) for process in processes) / MIB


def idle(
    client: docker.DockerClient, image: str, rounds: int, say: Callable[[str], None]
) -> Samples:
    """An idle kernel of each kind, and what is in the container of ours."""
    samples = Samples()
    for number in range(rounds):
        say(f"bench: memory, round {number + 1} of {rounds}")
        with folder() as place, silent(OrdinaryKernel(folder=place)) as kernel:
            timed(kernel, "1 + 1")
            samples.add(HOST, BASE, pss(psutil.Process(kernel.pid)))
        with folder() as place, Kernel(f"--image={image}", folder=place) as kernel:
            timed(kernel, "1 + 1")
            samples.add(HOST, OURS, pss(psutil.Process(kernel.pid)))
            scene = Scene(client, place)
            settled(scene)
            parts = {SERVER: "server", WORKER: "worker", KEEPER: "keeper", ZYGOTE: "zygote"}
            for measure, part in parts.items():
                samples.add(measure, OURS, pss(psutil.Process(scene.pid(part))))
        with folder() as place:
            samples.add(SESSION, OURS, one_more(client, image, place))
    return samples


def settled(scene: Scene) -> float:
    """The memory of all processes, when they have imported what they import while nobody asks."""
    seen = [pss(*scene.processes())]
    while len(seen) < QUIET_LOOKS or max(seen) - min(seen) > QUIET_MIB:
        time.sleep(QUIET_SECONDS)
        seen = [*seen[1 - QUIET_LOOKS :], pss(*scene.processes())]
    return seen[-1]


def one_more(client: docker.DockerClient, image: str, place: Path) -> float:
    """What a container's second session adds to the memory of all its processes."""
    chosen = {"mode": "docker", "image": image, "workspace": str(place)}
    environ = {f"DOCKER_KERNEL_{name.upper()}": value for name, value in chosen.items()}
    backend = make_backend(Settings.load(environ=environ))
    with contextlib.ExitStack() as stack:
        stack.callback(backend.stop)
        endpoint = backend.start(Deadline(crowd.PATIENCE), lambda _: None)
        connected = stack.enter_context(crowd.connected(endpoint))
        scene = Scene(client, place)
        found = []
        for count in (1, 2):
            crowd.answers(connected, crowd.open_sessions(connected, count))
            found.append(settled(scene))
        return found[1] - found[0]
