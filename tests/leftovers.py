"""Finds what a run of the tests has left behind: containers, processes, threads."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field

import docker
import psutil
from docker.errors import DockerException

from dockerd import connect
from system import wait_until

LABEL = "docker-kernel."
# Children inherit it, and so those are found as well whose parent has died.
MARK = "DOCKER_KERNEL_TEST_RUN"
PATIENCE_SECONDS = 10.0


@dataclass
class Guard:
    """Remembers what was there before; names what is there after it and wasn't."""

    mark: str = field(default_factory=lambda: f"{os.getpid()}-{psutil.boot_time():.0f}")
    containers: set[str] = field(default_factory=set)
    processes: set[int] = field(default_factory=set)
    threads: set[int | None] = field(default_factory=set)

    def begin(self) -> None:
        """Before the first test."""
        os.environ[MARK] = self.mark
        self.processes = {child.pid for child in psutil.Process().children(recursive=True)}
        self.threads = {thread.ident for thread in threading.enumerate()}

    def begin_containers(self, client: docker.DockerClient) -> None:
        """Before the first test that uses the engine."""
        self.containers = set(kernel_containers(client))

    def left(self, client: docker.DockerClient | None) -> list[str]:
        """One line for each thing that is still there after a time of grace."""
        found: list[str] = []

        def nothing() -> bool:
            found[:] = self._now(client)
            return not found

        wait_until(nothing, PATIENCE_SECONDS)
        return found

    def _now(self, client: docker.DockerClient | None) -> list[str]:
        found = [f"thread {thread.name}" for thread in self._threads()]
        found += [f"process {describe(process)}" for process in self._processes()]
        if client is not None:
            now = kernel_containers(client)
            found += [f"container {now[key]}" for key in now if key not in self.containers]
        return found

    def _threads(self) -> list[threading.Thread]:
        new = [thread for thread in threading.enumerate() if thread.ident not in self.threads]
        return [thread for thread in new if not thread.daemon]

    def _processes(self) -> list[psutil.Process]:
        children = {child.pid: child for child in psutil.Process().children(recursive=True)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == self.mark:
                    children[process.pid] = process
        return [child for pid, child in children.items() if pid not in self.processes]


def describe(process: psutil.Process) -> str:
    """A process in one line."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid}: {' '.join(process.cmdline())[:150] or process.name()}"
    return str(process.pid)


def kernel_containers(client: docker.DockerClient) -> dict[str, str]:
    """Our containers by id, running or not, without those of another run on this machine."""
    found = {}
    for container in client.containers.list(all=True, ignore_removed=True):
        labels = container.labels
        if any(label.startswith(LABEL) for label in labels) and not is_strangers(labels):
            found[str(container.id)] = f"{container.name} ({container.status})"
    return found


def is_strangers(labels: dict[str, str]) -> bool:
    """Whether the container's owner is a living process that is none of ours."""
    owner = labels.get("docker-kernel.owner.pid", "")
    if not owner.isdigit() or int(owner) == os.getpid():
        return False
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(int(owner))
        return all(parent.pid != os.getpid() for parent in process.parents())
    return False


def look(guard: Guard, host: str | None) -> list[str]:
    """What is left, also on the engine at `host` if there is one."""
    if host is None:
        return guard.left(None)
    try:
        with contextlib.closing(connect(host)) as client:
            return guard.left(client)
    except DockerException as exc:
        return [*guard.left(None), f"the engine does not answer any more: {exc}"]
