"""Nothing that the bench starts stays behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import docker
from docker.errors import NotFound

from bench.notebooks import FOLDER
from leftovers import PATIENCE_SECONDS, Guard
from system import wait_until


@contextlib.contextmanager
def containers_by_hand(client: docker.DockerClient) -> Iterator[str]:
    """The label of containers that nothing of ours watches over; they end with this."""
    label = f"docker-kernel-bench={os.getpid()}"
    try:
        yield label
    finally:
        for container in client.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        ):
            with contextlib.suppress(NotFound):
                container.remove(force=True)


def left(guard: Guard, client: docker.DockerClient) -> list[str]:
    """One line for each thing that is still there after a time of grace."""
    found: list[str] = []

    def nothing() -> bool:
        # Not all that is there: others may use this engine, and their kernels may die meanwhile.
        found[:] = our_containers(client)
        return not found

    wait_until(nothing, PATIENCE_SECONDS)
    return guard.left(None) + [f"container {name}" for name in found]


def our_containers(client: docker.DockerClient) -> list[str]:
    """The containers of kernels that were started in a folder of the bench."""
    label = "docker-kernel.workspace"
    there = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    return [str(one.name) for one in there if f"/{FOLDER}" in one.labels[label]]
