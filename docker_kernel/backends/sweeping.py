"""Containers that nobody uses any more: which they are, why, and their removal.

A container is swept where its owner is dead and nobody has taken it over. Jupyter restarts a kernel
by a new process, which takes the container over in a moment, and so one that runs must have been
without a client for a while. Whatever can't be told is kept: the lease ends it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..deadline import Deadline
from ..errors import DockerKernelError, EngineRefused
from .docker import Engine
from .labels import KIND, WARM, has_own_name, read_owner
from .logtail import MAX_LINES
from .owners import drop_old_marks, taken_by
from .throwaway import remove_container

RESTART_SECONDS = 30.0
"""So long after its last client a kernel may still be restarting: Jupyter looks every 3 s whether a
kernel has died, and a new process takes a few seconds where the machine is busy."""

REST_SECONDS = 2.0
"""How long a start and what follows it have the machine for themselves."""

SWEEP_SECONDS = 10.0
"""How long one sweep may take in all; the rest goes with the next one."""

_HELPERS = ("probe", "fill")
"""The kinds of containers that only their maker ever uses."""

# The server's words, when its lease begins and when it ends. Code in a container can print them,
# too; that says something about its own container alone.
_CLIENT, _NO_CLIENT = "a client is here", "no client:"

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class Found:
    """A container with our labels, and what is to be done with it."""

    id: str
    name: str
    why: str
    leftover: bool = False
    again: float = 0.0
    """In how many seconds it may be a leftover; 0 where there is nothing to wait for."""


def look(engine: Engine, deadline: Deadline) -> Iterator[Found]:
    """All containers with our labels, each judged when it is its turn. Raises EngineError,
    StartTimeout."""
    with engine.calling("looking for containers", deadline) as api:
        listed = api.containers(all=True, filters={"label": [KIND]})
    for item in listed:
        if item["Names"]:  # none while it is being removed
            yield _judge(engine, item, item["Names"][0].lstrip("/"), deadline)


def sweep(engine: Engine) -> float:
    """Remove the leftovers. In how many seconds there may be more, 0 for none. Raises EngineError,
    StartTimeout."""
    again = 0.0
    for found in look(engine, Deadline(SWEEP_SECONDS)):
        if found.leftover:
            remove_container(engine, found.id)
        again = max(again, found.again)
    drop_old_marks()
    return again


class Sweeper:
    """Sweeps in a thread of its own, so that no start waits for it, nor the first cell; and once
    more where a container has lost its client just now."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="docker-kernel sweep", daemon=True).start()

    def stop(self) -> None:
        """Don't sweep again. Doesn't wait."""
        self._stopped.set()

    def _run(self) -> None:
        # An engine that doesn't answer is told about by what the person does, not here.
        with suppress(DockerKernelError):
            if self._stopped.wait(REST_SECONDS):
                return
            again = self._sweep()
            if again and not self._stopped.wait(again):
                self._sweep()

    def _sweep(self) -> float:
        with closing(Engine(self._environ, Deadline(SWEEP_SECONDS))) as engine:
            return sweep(engine)


def _judge(engine: Engine, item: Mapping[str, Any], name: str, deadline: Deadline) -> Found:
    def kept(why: str, again: float = 0.0) -> Found:
        return Found(item["Id"], name, why, again=again)

    def leftover(why: str) -> Found:
        return Found(item["Id"], name, why, leftover=True)

    found, state = item["Labels"], str(item["State"])
    if why := _why_not_dead(name, found):
        return kept(why)
    dead = "its process is dead"
    if state in ("created", "exited", "dead"):
        return leftover(f"{dead}, and it doesn't run")
    if found[KIND] in _HELPERS:
        return leftover(dead)
    if why := _why_needed(engine, item, name, deadline):
        return kept(why)
    seconds = _seconds_without_client(engine, item["Id"], deadline)
    if seconds is None:
        return kept("a client is connected, or its log doesn't tell; else its lease ends it")
    if seconds < RESTART_SECONDS:
        why = f"{dead}, but a restarted kernel may take it over yet"
        return kept(why, again=RESTART_SECONDS - seconds)
    return leftover(f"{dead}, and no client was there for {seconds:.0f} s")


def _why_not_dead(name: str, found: Mapping[str, str]) -> str:
    """Why the owner of a container can't be called dead, "" where it can."""
    if not has_own_name(name, found):
        return "it isn't ours: its image has our labels, or somebody has renamed it"
    owner = read_owner(found)
    if owner is None:
        return "its labels don't tell whose it is"
    return owner.hidden() or (f"its process {owner.pid} lives" if owner.lives() else "")


def _why_needed(engine: Engine, item: Mapping[str, Any], name: str, deadline: Deadline) -> str:
    """Why a container is to stay though its owner is dead; "" where nothing says so."""
    if taker := taken_by(name):
        return f"the process {taker.pid} has taken it over"
    if item["State"] != "running":
        return f"it is {item['State']}"
    if item["Labels"][KIND] == WARM:
        with suppress(EngineRefused):  # gone, or its log can't be read
            lines = _log(engine, item["Id"], deadline)
            if not any(line.partition(" ")[2].startswith(_CLIENT) for line in lines):
                return "it was started ahead and waits for a kernel; else its lease ends it"
    return ""


def _seconds_without_client(engine: Engine, container: str, deadline: Deadline) -> float | None:
    """For how long, by the server's own words and the engine's clock; None where one is there, or
    where that can't be told."""
    try:
        lines = _log(engine, container, deadline)
        with engine.calling("asking for the time", deadline) as api:
            now = time_of(str(api.info()["SystemTime"]))
    except EngineRefused:
        return None  # gone, or it logs to where the engine can't read
    for line in reversed(lines):
        stamp, _, words = line.partition(" ")
        if words.startswith(_CLIENT):
            return None
        if words.startswith(_NO_CLIENT):
            then = time_of(stamp)
            return max(0.0, now - then) if now and then else None
    return None


def _log(engine: Engine, container: str, deadline: Deadline) -> list[str]:
    """The server's last lines, each after its time. Raises EngineError."""
    with engine.calling("reading the log", deadline) as api:
        log: bytes = api.logs(container, timestamps=True, tail=MAX_LINES)
    return log.decode("utf-8", "replace").splitlines()


def time_of(stamp: str) -> float:
    """Seconds, from what the engine writes; 0 where that is no time."""
    match = _STAMP.match(stamp)
    if match is None:
        return 0.0
    return datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00")).timestamp()
