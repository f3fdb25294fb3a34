"""The containers of ours that an engine has: whose each is, how it is, and what it uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import psutil  # type: ignore[import-untyped,unused-ignore]

from ..deadline import Deadline
from ..errors import DockerKernelError
from ..listeners import connection_file
from .docker import Engine
from .labels import KIND, PREFIX, has_own_name, read_owner
from .owners import Owner, taken_by

AT_ONCE = 16
"""So many containers are measured at the same time."""

Life = Literal["alive", "dead", "unknown"]


@dataclass(frozen=True)
class Container:
    """A container of ours. What isn't known is "", or None for a number."""

    id: str
    name: str
    kind: str
    """kernel; warm for one that was started ahead; or what a helper is there for: probe, fill."""
    image: str
    state: str
    """As the engine has it: running, paused, exited …"""
    created: float
    """Seconds since the epoch, by the engine's clock."""
    workspace: str
    owner: Owner | None
    """The process that uses it."""
    not_mine: str
    """Why it is no container of this user's, "" where it is one."""
    owner_is: Life = "unknown"
    kernel: str = ""
    """The kernel's id, as it stands in the name of its connection file."""
    notebook: str = ""
    """The path that Jupyter gives it."""


@dataclass(frozen=True)
class Usage:
    """What a container uses now: bytes, and percent of one CPU."""

    memory: int
    memory_limit: int
    cpu: float


def containers(engine: Engine, deadline: Deadline) -> list[Container]:
    """All containers of ours, by name. Raises EngineError, StartTimeout."""
    with engine.calling("looking for containers", deadline) as api:
        listed = api.containers(all=True, filters={"label": [KIND]})
        # A container is made of an image's id: by name it could be another one by now.
        named = {item["Id"]: (item["RepoTags"] or [""])[0] for item in api.images()}
    found = []
    for item in listed:
        name = (item["Names"] or [""])[0].lstrip("/")  # none while it is being removed
        # An image that was committed from one of ours hands the labels on.
        if name and has_own_name(name, item["Labels"]):
            found.append(_container(item, name, named.get(item["ImageID"]) or item["Image"]))
    return sorted(found, key=lambda container: container.name)


def usage(engine: Engine, chosen: Iterable[Container], deadline: Deadline) -> dict[str, Usage]:
    """What those that run use, by name. Takes a second or two: the engine looks twice at each."""
    names = [item.name for item in chosen if item.state in ("running", "paused")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda name: _usage(engine, name, deadline.remaining()), names)
        return {name: used for name, used in zip(names, found, strict=True) if used is not None}


def _usage(engine: Engine, name: str, seconds: float) -> Usage | None:
    """What the engine measures; None where it doesn't, as for a container that ends just now."""
    try:
        with engine.calling("asking what a container uses", Deadline(seconds)) as api:
            found: dict[str, Any] = api.stats(name, stream=False)
        memory = found["memory_stats"]
        kept = memory.get("stats") or {}
        # As `docker stats` has it: without files that the system only keeps as long as it can.
        cached = kept.get("inactive_file", kept.get("total_inactive_file", 0))
        return Usage(max(0, memory["usage"] - cached), memory.get("limit", 0), _cpu(found))
    except (DockerKernelError, KeyError, TypeError):  # an answer without a word, or half of one
        return None


def _cpu(found: dict[str, Any]) -> float:
    """Percent of one CPU, between the engine's two looks."""
    now, before = found["cpu_stats"], found["precpu_stats"]
    busy = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now["system_cpu_usage"] - before.get("system_cpu_usage", 0)
    return max(0.0, 100 * busy / passed * now.get("online_cpus", 1)) if passed > 0 else 0.0


def _container(item: dict[str, Any], name: str, image: str) -> Container:
    labels = item["Labels"]
    owner = taken_by(name) or read_owner(labels)
    not_mine = owner.hidden() if owner else "its labels don't tell whose it is"
    life: Life = "unknown"
    kernel = notebook = ""
    if owner is not None and not not_mine:
        life = "alive" if owner.lives() else "dead"
        if life == "alive":
            kernel, notebook = _of_process(int(owner.pid))
    return Container(
        id=item["Id"],
        name=name,
        kind=labels[KIND],
        image=image,
        state=item["State"],
        created=float(item["Created"]),
        workspace=labels.get(f"{PREFIX}workspace", ""),
        owner=owner,
        not_mine=not_mine,
        owner_is=life,
        kernel=kernel,
        notebook=notebook,
    )


def _of_process(pid: int) -> tuple[str, str]:
    """The kernel and the notebook of a process, as far as they can be seen."""
    kernel = notebook = ""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        kernel = kernel_of(process.cmdline())
        notebook = process.environ().get("JPY_SESSION_NAME", "")
    return kernel, notebook


def kernel_of(argv: Sequence[str]) -> str:
    """The kernel's id on a command line as Jupyter makes it, "" where there is none."""
    return PurePath(connection_file(argv)).stem.removeprefix("kernel-")
