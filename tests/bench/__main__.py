"""Measure all of it, side by side, and write docs/performance.md and its picture.

    python -m bench [--rounds N] [--only PART ...] [--dry-run]

`--dry-run` prints the figures and writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from importlib import metadata

import docker
import psutil

from bench import commands, memory, notebooks, overhead, page
from docker_kernel import __version__
from engine import using
from images import image, ipykernel_image
from system import CannotError, say

PARTS = ("kernels", "commands", "overhead", "memory", "growth")
CELLS = 200


def measure(client: docker.DockerClient, parts: list[str], rounds: int) -> list[str]:
    """The lines of the page."""
    base = image("base", client)
    lines = [machine(client, rounds)]

    def section(title: str, *content: str) -> None:
        lines.extend(["", f"### {title}", "", *content])

    if "kernels" in parts:
        found = notebooks.compare(base, ipykernel_image(client), rounds, CELLS, say)
        who = [notebooks.BASE, notebooks.BY_HAND, notebooks.OURS]
        page.draw(found, who[0], who[1:])
        section("Kernels", *page.table(found, who))
    if "commands" in parts:
        found = commands.compare(rounds, say)
        section("Raw commands", *page.table(found, list(commands.WHO)))
    if "overhead" in parts:
        found = overhead.compare(rounds, CELLS, say)
        who = [overhead.SOCKET, overhead.CLIENT, overhead.MAGIC]
        section("What each layer adds", *page.table(found, who))
    if "memory" in parts:
        say("bench: memory of idle kernels")
        found = memory.idle(client, base, rounds)
        section("Memory", *page.table(found, [notebooks.BASE, notebooks.OURS]))
    if "growth" in parts:
        say("bench: 10,000 cells in one kernel")
        found = memory.cells(client, base, 10_000)
        section("10,000 cells", *page.table(found, [memory.FIRST, memory.LAST]))
        found = memory.sessions(100, say)
        section("100 sessions", *page.table(found, [memory.BEFORE, memory.AFTER]))
    return lines


def machine(client: docker.DockerClient, rounds: int) -> str:
    """What it was measured with, in one line."""
    gib = psutil.virtual_memory().total / (1 << 30)
    return (
        f"Measured with docker-kernel {__version__} on a machine with {os.cpu_count()} cores and "
        f"{gib:.0f} GiB of memory: Linux {platform.release().split('-')[0]}, {platform.machine()}, "
        f"Docker {client.version()['Version']}, Python {platform.python_version()}, ipykernel "
        f"{metadata.version('ipykernel')}; the median of {rounds} rounds, with the smallest "
        "and the largest in brackets."
    )


def main(arguments: list[str]) -> int:
    """The script; returns its exit code."""
    parser = argparse.ArgumentParser("bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each is measured")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dry-run", action="store_true", help="print, and write nothing")
    options = parser.parse_args(arguments)
    try:
        with using() as engine, contextlib.closing(engine.client()) as client:
            os.environ["DOCKER_HOST"] = engine.host
            lines = measure(client, options.only, options.rounds)
    except CannotError as exc:
        say(f"bench: {exc}")
        return 1
    print("\n".join(lines))
    if not options.dry_run:
        page.write(lines)
        say(f"bench: {page.PAGE} and {page.PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
