"""Many at once: sessions in one server, and kernels with containers of their own."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil

from deaths import Scene
from docker_kernel.backends import make_backend
from docker_kernel.client import Call, Client
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel_server.messages import Execute, OpenSession, Status
from kernels import Kernel
from system import say, wait_until

PATIENCE = 120.0
BUSY = "sum(iter(int, 1))"
"""A loop in C that looks for no signal and never lets go of Python's lock."""

STATUSES = 20


@dataclass(frozen=True)
class Figures:
    """What it took."""

    open_seconds: float
    """Until all were there."""
    answer_seconds: float
    """Until all had answered a cell that was sent to all at once."""
    memory: int
    """What all of their processes use, each shared page counted once."""
    status_seconds: float = 0.0
    """The median time of a status request while all are busy."""


def many_sessions(client: docker.DockerClient, folder: Path, image: str, count: int) -> Figures:
    """So many sessions in one container."""
    chosen = {"mode": "docker", "image": image, "workspace": str(folder), "pids": str(count * 10)}
    chosen["memory"] = "8g"
    environ = {f"DOCKER_KERNEL_{name.upper()}": value for name, value in chosen.items()}
    backend = make_backend(Settings.load(environ=environ))
    try:
        endpoint = backend.start(Deadline(PATIENCE), say)
        scene = Scene(client, folder)
        with connected(endpoint) as crowd:
            began = time.monotonic()
            names = open_sessions(crowd, count)
            opened = time.monotonic()
            answers(crowd, names)
            answered = time.monotonic()
            memory = used(scene.processes())
            status = median_status(crowd, names)
    finally:
        backend.stop()
    return Figures(opened - began, answered - opened, memory, status)


@contextlib.contextmanager
def connected(endpoint: Endpoint) -> Iterator[Client]:
    """A client of the server."""
    client = Client(endpoint, Deadline(PATIENCE))
    try:
        yield client
    finally:
        client.close()


def open_sessions(client: Client, count: int) -> list[str]:
    """So many sessions, asked for at once."""
    names = [f"session {number}" for number in range(count)]
    wait_for([client.request(OpenSession(client.new_id(), name)) for name in names])
    return names


def answers(client: Client, names: Sequence[str]) -> None:
    """Let each session run a cell, all at once."""
    wait_for([client.request(Execute(client.new_id(), name, "6 * 7")) for name in names])


def wait_for(calls: Sequence[Call]) -> None:
    """All of them end well."""
    for call in calls:
        final = call.result(PATIENCE)
        assert final.status == 0, final


def make_busy(client: Client, names: Sequence[str]) -> None:
    """Let each session run a busy loop in C, and wait until all do."""
    for name in names:
        client.request(Execute(client.new_id(), name, BUSY))

    def all_busy() -> bool:
        found = client.ask(Status(client.new_id()), PATIENCE)["sessions"]
        return [session["busy"] for session in found] == [True] * len(names)

    assert wait_until(all_busy, PATIENCE)


def median_status(client: Client, names: Sequence[str]) -> float:
    """How long a status request takes while all these sessions are busy."""
    make_busy(client, names)
    taken = []
    for _ in range(STATUSES):
        asked = time.monotonic()
        client.ask(Status(client.new_id()), PATIENCE)
        taken.append(time.monotonic() - asked)
    return statistics.median(taken)


def many_kernels(client: docker.DockerClient, folder: Path, image: str, count: int) -> Figures:
    """So many kernels with containers of their own, started at once."""
    kernels = []
    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        if os.getuid() == 0:
            os.chown(place, 1000, 1000)
        kernels.append(Kernel(f"--image={image}", "--start-timeout=300", folder=place))
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for kernel in kernels:
            kernel.launch()
        for kernel in kernels:
            stack.enter_context(kernel)
        ask_all(kernels)
        opened = time.monotonic()
        ask_all(kernels)
        answered = time.monotonic()
        processes = [psutil.Process(kernel.pid) for kernel in kernels]
        for kernel in kernels:
            processes += Scene(client, kernel.folder).processes()
        memory = used(processes)
    return Figures(opened - began, answered - opened, memory)


def ask_all(kernels: Sequence[Kernel]) -> None:
    """Let each kernel run a cell, all at once."""
    ids = [kernel.client.execute("6 * 7") for kernel in kernels]
    for kernel, message_id in zip(kernels, ids, strict=True):
        while True:
            reply = kernel.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == message_id:
                assert reply["content"]["status"] == "ok", reply["content"]
                break


def used(processes: Sequence[psutil.Process]) -> int:
    """Their memory, each shared page counted once."""
    return sum(process.memory_full_info().pss for process in processes)
