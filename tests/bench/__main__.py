"""Measure all of it, side by side, and write docs/performance.md and its picture.

    python -m bench [--rounds N] [--only PART ...] [--dry-run] [--json]

Only a whole run writes the page; with `--only` or `--dry-run` the figures are printed. `--json`
prints them for programs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import time
from functools import partial
from importlib import metadata

import docker
import psutil

from bench import cleaning, commands, growth, memory, notebooks, overhead, page, warm
from docker_kernel import __version__
from engine import engine_host, using
from images import image, ipykernel_image
from leftovers import Guard
from system import CannotError, say

PARTS = ("kernels", "commands", "overhead", "memory", "growth")
ROUNDS = 9
BUSY = 0.5
"""A machine with a load average above this isn't quiet."""


def measure(client: docker.DockerClient, parts: list[str], rounds: int) -> list[page.Part]:
    """All parts that are wanted, one after another."""
    base = image("base", client)
    found: list[page.Part] = []
    if "kernels" in parts:
        with cleaning.containers_by_hand(client) as label:
            makes = notebooks.kernels(base, ipykernel_image(client), label)
            ahead = partial(warm.measure_start, client, base)
            samples = notebooks.compare(makes, rounds, ahead, say)
        samples.repeat(notebooks.START, notebooks.BASE, warm.START)
        found.append(page.Comparison("Kernels", samples, list(makes)))
    if "commands" in parts:
        samples = commands.compare(rounds, say)
        found.append(page.Comparison("Raw commands", samples, list(commands.WHO)))
    if "overhead" in parts:
        samples = overhead.compare(rounds, say)
        who = [overhead.SOCKET, overhead.CLIENT, overhead.MAGIC]
        found.append(page.Comparison("What each layer adds", samples, who))
    if "memory" in parts:
        samples = memory.idle(client, base, rounds, say)
        found.append(page.Comparison("Memory", samples, [notebooks.BASE, notebooks.OURS]))
    if "growth" in parts:
        cells, stored = growth.cells(client, base, say)
        found.append(page.Growth(f"{growth.CELLS:,} cells in one kernel", cells, "cell"))
        who = [notebooks.BASE, notebooks.OURS]
        found.append(page.Comparison("Cells that are kept in the history", stored, who))
        for title, work in (("one after another", growth.in_turn), ("at once", growth.at_once)):
            trends = work(growth.SESSIONS, say)
            found.append(page.Growth(f"{growth.SESSIONS} sessions, {title}", trends, "session"))
    return found


def machine(client: docker.DockerClient, rounds: int) -> str:
    """What it is measured with."""
    gib = psutil.virtual_memory().total / (1 << 30)
    kernel = ".".join(platform.release().split(".")[:2])
    docker_version = str(client.version()["Version"]).split("+")[0]
    return (
        f"Measured with docker-kernel {__version__} on a machine with {os.cpu_count()} cores and "
        f"{gib:.0f} GiB of memory: {platform.system()} {kernel}, {platform.machine()}, Docker "
        f"{docker_version}, Python {platform.python_version()}, ipykernel "
        f"{metadata.version('ipykernel')}. When it began, the machine's load average was "
        f"{psutil.getloadavg()[0]:.1f}. A figure is the median of {rounds} rounds, with the middle "
        "half of them in brackets."
    )


def clean_surroundings() -> None:
    """Settings of the person who measures must not reach what is measured."""
    # A shell starts what runs in its background with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in list(os.environ):
        ours = name.startswith("DOCKER_KERNEL_") and not name.startswith("DOCKER_KERNEL_TEST_")
        # With PYTHONDONTWRITEBYTECODE, for one, what isn't compiled yet is so at each start.
        if ours or name.startswith("PYTHON"):
            del os.environ[name]
    if engine_host(os.environ) is None:
        os.environ.pop("DOCKER_HOST", None)


def run(options: argparse.Namespace) -> list[str]:
    """Measure, print and write; returns what was left behind, which must be nothing."""
    guard, began = Guard(), time.monotonic()
    with using() as engine, contextlib.closing(engine.client()) as client:
        os.environ["DOCKER_HOST"] = engine.host
        guard.begin()
        words = machine(client, options.rounds)
        if psutil.getloadavg()[0] > BUSY:
            say("bench: other processes are running on this machine, and will show in the figures")
        try:
            found = measure(client, options.only or list(PARTS), options.rounds)
        finally:
            left = cleaning.left(guard, client)
            for line in left:
                say(f"bench: left behind: {line}")
    say(f"bench: it took {(time.monotonic() - began) / 60:.0f} minutes")
    lines = page.lines_of(words, found)
    if options.json:
        parts = [{"title": part.title, "rows": part.data()} for part in found]
        print(json.dumps({"measured": words, "rounds": options.rounds, "parts": parts}, indent=1))
    else:
        print("\n".join(lines))
    if not options.dry_run and not options.only:
        from bench import picture  # what it needs is there where the page is written

        compared = [part for part in found if isinstance(part, page.Comparison)]
        picture.draw([part for part in compared if picture.has_ratios(part)], page.PICTURE)
        page.write(lines)
        say(f"bench: wrote {page.PAGE} and {page.PICTURE}")
    return left


def main(arguments: list[str]) -> int:
    """The script; returns its exit code."""
    parser = argparse.ArgumentParser("bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="print these parts alone")
    parser.add_argument("--dry-run", action="store_true", help="print, and write nothing")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    options = parser.parse_args(arguments)
    clean_surroundings()
    try:
        return 1 if run(options) else 0
    except CannotError as exc:
        say(f"bench: {exc}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
