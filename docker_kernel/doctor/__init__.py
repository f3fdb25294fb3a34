"""The doctor: finds out what is wrong here, and says what to do.

Its findings and the errors of a start have the same words, for they come from the same places:
hints.py for an engine that can't be reached, and here for what an engine says of itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

from ..backends.docker import Engine
from ..config import Settings
from ..deadline import Deadline
from ..errors import (
    DockerKernelError,
    EngineRefused,
    ImageNotFound,
    SettingError,
    StartCancelled,
    StartError,
    StartTimeout,
)
from . import engine as engines
from . import inside, machine
from .findings import IDS, Finding, of_error

__all__ = ["IDS", "Finding", "examine", "explain"]

CONNECT_SECONDS = 10.0
EXPLAIN_SECONDS = 2.0
"""How long a start that failed may be held up by the search for its cause."""

_NETWORK = ("dial tcp", "lookup", "timeout", "refused", "x509", "proxyconnect", "awaiting headers")
"""What an engine says where it can't reach a registry; else the registry has answered."""


def examine(load: Callable[[], Settings], container: bool = True) -> Iterator[Finding]:
    """Look at everything, each finding as soon as it is known; an id may have more than one.

    `load` gives the settings, or raises SettingError. Without `container`, nothing is started.
    """
    seen: set[str] = set()
    for finding in _all(load, dict(os.environ), container):
        seen.add(finding.id)
        yield finding
    for name in IDS:
        if name not in seen:
            yield Finding(name, "skipped", "not looked at")


def explain(error: DockerKernelError) -> None:
    """Add to the error of a start in a new container what the doctor knows of its cause."""
    if isinstance(error, (StartTimeout, StartCancelled)):
        return
    if isinstance(error, ImageNotFound):
        if not any(words in error.why.lower() for words in _NETWORK):
            return
        causes = {"proxy", "clock"}
    elif isinstance(error, (StartError, EngineRefused)):
        causes = {"disk"}
    else:
        return
    with (
        suppress(DockerKernelError),
        closing(Engine(os.environ, Deadline(EXPLAIN_SECONDS))) as engine,
    ):
        for finding in engines.judge(engines.ask(engine, EXPLAIN_SECONDS), os.environ):
            if finding.id in causes and finding.level in ("warning", "problem"):
                error.why = "; ".join(filter(None, [error.why, finding.what]))
                error.remedy = "; or ".join(filter(None, [error.remedy, finding.remedy]))


def _all(
    load: Callable[[], Settings], environ: dict[str, str], container: bool
) -> Iterator[Finding]:
    yield machine.versions()
    yield machine.kernels()
    try:
        settings = load()
    except SettingError as exc:
        yield of_error("settings", exc)
        settings, container = Settings(), False
    else:
        yield machine.settings(settings)
    mode, known = settings.resolved_mode(), None
    try:
        yield machine.address(environ, settings)
    except DockerKernelError as exc:
        yield of_error("address", exc)
        if mode == "docker" or settings.container:
            return
    with ExitStack() as stack:
        if mode == "docker" or settings.container:
            obstacles = list(machine.in_the_way(environ))
            yield from obstacles
            try:
                engine = stack.enter_context(closing(Engine(environ, Deadline(CONNECT_SECONDS))))
                known = engines.ask(engine)
            except DockerKernelError as exc:
                yield of_error("engine", exc)
                return
            found = engines.judge(known, environ)
            yield from (item for item in found if item.id != "proxy" or not obstacles)
            if mode == "docker":
                for finding in engines.image(engine, settings):
                    container = container and finding.level == "ok"
                    yield finding
        if container:
            yield from inside.look(settings, known if mode == "docker" else None, environ)
