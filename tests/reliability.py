"""Lets every part die at every moment, counts what many need, and writes docs/reliability.md.

    python tests/reliability.py

It takes some minutes, and ends with 1 where something is not as it should be.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil

import crowd
import deaths
from deaths import (
    BLOWS,
    CODE,
    ENGINE,
    IDLE,
    JUPYTER,
    KERNEL,
    MOMENTS,
    PAUSE,
    STARTING,
    Outcome,
    Scene,
)
from docker_kernel import __version__
from dockerd import ThrowAway, cannot_start, connect
from engine import using
from images import image
from kernels import Kernel
from system import CannotError, say

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LATER = (IDLE, *CODE)
"""The moments of a kernel that has started."""

SESSIONS, KERNELS = 100, 20
LEASE = 5.0

Row = tuple[str, str, Outcome]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A notebook's folder, of an ordinary user: this may run as root."""
    with tempfile.TemporaryDirectory(prefix="dk-reliability-") as name:
        if os.getuid() == 0:
            os.chown(name, 1000, 1000)
        yield Path(name)


@contextlib.contextmanager
def quiet_engine() -> Iterator[tuple[str, ThrowAway | None]]:
    """Where an engine is: one for this alone where that can be, so that it can be restarted, and
    nobody else sweeps on it meanwhile. Raises CannotError."""
    if cannot_start() is None:
        with deaths.own_engine() as own:
            yield own.host, own
    else:
        with using() as found:
            yield found.host, None


def die_all(client: docker.DockerClient, name: str, engine: ThrowAway | None) -> Iterator[Row]:
    """Each death, one after another."""
    argument = f"--image={name}"
    with folder() as place, Kernel(argument, folder=place) as kernel:
        scene = Scene(client, place)
        for part in BLOWS:
            for moment in LATER:
                yield part, moment, deaths.die(kernel, scene, part, moment)
        for moment in LATER:
            yield KERNEL, moment, deaths.kill_kernel(kernel, scene, moment)
        for moment in LATER:
            yield PAUSE, moment, deaths.pause(kernel, scene, moment)
    for part in BLOWS:
        with folder() as place:
            starting = Kernel(argument, folder=place)
            yield part, STARTING, deaths.die_starting(starting, Scene(client, place), part)
    with folder() as place:
        starting = Kernel(argument, folder=place)
        yield PAUSE, STARTING, deaths.pause_starting(starting, Scene(client, place))
    for moment in MOMENTS:
        with folder() as place:
            yield JUPYTER, moment, deaths.kill_jupyter(Scene(client, place), moment, argument)
    if engine is None:
        say("reliability: the engine is not restarted, for that needs root on Linux")
        return
    with folder() as place, Kernel(argument, folder=place) as kernel:
        scene = Scene(client, place)
        for moment in LATER:
            yield ENGINE, moment, deaths.restart_engine(kernel, scene, engine, moment)


def table(rows: list[Row]) -> str:
    """The rows, those of a part together that differ in their seconds alone."""
    merged: dict[tuple[str, str, str], list[tuple[str, Outcome]]] = {}
    for part, moment, outcome in rows:
        merged.setdefault((part, outcome.seen, outcome.after), []).append((moment, outcome))
    order = [*BLOWS, PAUSE, ENGINE, KERNEL, JUPYTER]
    lines = [
        "| what dies | when | what the person sees | after, s | the next cell | all gone, s |",
        "|---|---|---|---|---|---|",
    ]
    for key in sorted(merged, key=lambda key: order.index(key[0])):
        part, seen, after = key
        found = sorted(merged[key], key=lambda one: MOMENTS.index(one[0]))
        cells = [
            part,
            ", ".join(moment for moment, _ in found),
            seen,
            span([outcome.seconds for _, outcome in found]),
            after or "(there is none)",
            span([outcome.gone for _, outcome in found]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def span(numbers: list[float]) -> str:
    """The least and the most."""
    ends = [f"{min(numbers):.1f}", f"{max(numbers):.1f}"]
    return " – ".join(dict.fromkeys(ends))


def machine(client: docker.DockerClient) -> str:
    """The kind of machine, and the versions."""
    memory = psutil.virtual_memory().total / (1 << 30)
    kernel = ".".join(platform.release().split(".")[:2])
    docker_version = str(client.version()["Version"]).split("+")[0]
    return (
        f"Measured with docker-kernel {__version__} on a machine with {os.cpu_count()} cores and "
        f"{memory:.0f} GiB of memory: {platform.system()} {kernel}, {platform.machine()}, Docker "
        f"{docker_version}, Python {platform.python_version()}."
    )


def count(client: docker.DockerClient, name: str) -> str:
    """The figures of many sessions and many kernels."""
    with folder() as place:
        one = crowd.many_sessions(client, place, name, SESSIONS)
    with folder() as place:
        two = crowd.many_kernels(client, place, name, KERNELS)
    lines = [
        "| | all are there, s | all answer a cell, s | memory of all, MiB | of each, MiB |",
        "|---|---|---|---|---|",
    ]
    for words, number, figures in (
        (f"{SESSIONS} sessions in one server", SESSIONS, one),
        (f"{KERNELS} kernels, each with a container", KERNELS, two),
    ):
        mib = figures.memory / (1 << 20)
        seconds = f"{figures.open_seconds:.1f} | {figures.answer_seconds:.1f}"
        lines.append(f"| {words} | {seconds} | {mib:.0f} | {mib / number:.0f} |")
    status = f"`status` answers in {one.status_seconds * 1000:.0f} ms (median)"
    lines += ["", f"While all {SESSIONS} sessions run a busy loop in C, {status}."]
    return "\n".join(lines)


def measure(
    client: docker.DockerClient, name: str, engine: ThrowAway | None
) -> tuple[str, list[str]]:
    """The text between the marks of the page, and what is not as it should be."""
    rows, wrong = [], []
    for row in die_all(client, name, engine):
        rows.append(row)
        wrong += deaths.complaints(*row)
        say(f"reliability: {row[0]}, {row[1]}: {row[2]}")
    with folder() as place:
        short = Kernel(f"--image={name}", f"--lease={LEASE:g}", folder=place)
        lease = deaths.lease_seconds(short, Scene(client, place))
    words = (
        f"Where nobody starts a killed kernel again, its container is gone {lease:.1f} s after the "
        f"kill with a lease of {LEASE:g} s (the default is 120 s)."
    )
    return "\n\n".join([machine(client), table(rows), words, count(client, name)]), wrong


def between_marks(page: str, text: str) -> str:
    """The page with this text between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def write(text: str) -> None:
    """Put the text between the marks of the page."""
    PAGE.write_text(between_marks(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


def main() -> int:
    """The script; returns its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with quiet_engine() as (host, engine), contextlib.closing(connect(host)) as client:
            os.environ["DOCKER_HOST"] = host
            text, wrong = measure(client, image("base", client), engine)
    except CannotError as exc:
        say(f"reliability: {exc}")
        return 1
    write(text)
    for complaint in wrong:
        say(f"reliability: NOT AS IT SHOULD BE: {complaint}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
