"""The start of a kernel that finds its container started ahead."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import NotFound

from bench.measures import Measure, Samples
from bench.notebooks import OURS, folder, silent, timed
from kernels import PATIENCE, Kernel
from system import wait_until

START = Measure("start to first result, with --warm 1", "s", 1.0)


def measure_start(client: docker.DockerClient, image: str, samples: Samples) -> None:
    """One start, after another kernel in the same folder has had a container started ahead."""
    with folder() as place, waiting(client) as notes:

        def kernel() -> Kernel:
            env = {"JUPYTER_RUNTIME_DIR": str(notes)}
            return silent(Kernel(f"--image={image}", "--warm=1", folder=place, env=env))

        with kernel() as first:
            timed(first, "1+1")
            if not wait_until(lambda: bool(containers(notes)), PATIENCE):
                raise RuntimeError("no container was started ahead")
        ahead = containers(notes)
        began = time.perf_counter()
        with kernel() as second:
            timed(second, "1+1")
            samples.add(START, OURS, time.perf_counter() - began)
            if ahead == containers(notes):
                raise RuntimeError("the container that was started ahead was not taken")


@contextlib.contextmanager
def waiting(client: docker.DockerClient) -> Iterator[Path]:
    """A folder for the notes of containers that wait; those that still do end with it."""
    with tempfile.TemporaryDirectory(prefix="dk-bench-") as name:
        notes = Path(name)
        try:
            yield notes
        finally:
            for container in containers(notes):
                with contextlib.suppress(NotFound):
                    client.api.remove_container(container, force=True)


def containers(notes: Path) -> list[str]:
    """The containers that wait, by their notes."""
    found = []
    for path in notes.glob("docker-kernel-warm-*"):
        with contextlib.suppress(OSError, ValueError):  # it is being written, or taken
            found.append(str(json.loads(path.read_text(encoding="utf-8"))["container"]))
    return found
