"""Start many kernels' containers at once, and see that none gets in another's way (E9).

.venv/bin/python tests/many.py [NUMBER]     # 20 where none is given
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TypeVar

import images
from cells import run
from docker_kernel.config import Settings
from docker_kernel.sandbox import Sandbox
from engine import using

T = TypeVar("T")


def main(number: int) -> int:
    """Start, use and stop so many, and print how long each took. Returns the exit code."""
    with ExitStack() as stack:
        engine = stack.enter_context(using())
        os.environ["DOCKER_HOST"] = engine.host
        client = stack.enter_context(closing(engine.client()))
        settings = Settings.load(
            environ={
                "DOCKER_KERNEL_MODE": "docker",
                "DOCKER_KERNEL_IMAGE": images.image("base", client),
                "DOCKER_KERNEL_MOUNT_WORKSPACE": "false",
            }
        )
        boxes = [Sandbox(settings) for _ in range(number)]
        mine = {"label": [f"docker-kernel.owner.pid={os.getpid()}"]}
        with ThreadPoolExecutor(number) as pool:
            try:
                timed("all start", lambda: list(pool.map(start, boxes)))
                found = timed("all answer", lambda: list(pool.map(answer, range(number), boxes)))
                kept = timed("all remember", lambda: list(pool.map(remembered, boxes)))
                names = {item["Names"][0] for item in client.api.containers(filters=mine)}
            finally:
                timed("all stop", lambda: list(pool.map(Sandbox.stop, boxes)))
        ports = {port for port, _ in found}
        left = client.api.containers(all=True, filters=mine)
    print(f"{len(names)} containers, {len(ports)} ports, {len(left)} containers left")
    good = len(names) == len(ports) == number and not left and kept == list(range(number))
    return 0 if good else 1


def start(box: Sandbox) -> None:
    """Start a sandbox."""
    box.client()


def answer(number: int, box: Sandbox) -> tuple[int, int]:
    """The sandbox's port, and a number that it is told to remember."""
    assert box.endpoint is not None
    return box.endpoint.port, run(box.endpoint, f"mine = {number}; found = mine")


def remembered(box: Sandbox) -> int:
    """The number that it remembers."""
    assert box.endpoint is not None
    return int(run(box.endpoint, "found = mine"))


def timed(what: str, work: Callable[[], T]) -> T:
    """Do it, and print how long it took."""
    begin = time.perf_counter()
    done = work()
    print(f"{time.perf_counter() - begin:8.2f} s  {what}", flush=True)
    return done


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
