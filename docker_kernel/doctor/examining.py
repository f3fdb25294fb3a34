"""All that the doctor looks at, one after another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

from ..backends.docker import Engine
from ..config import Settings
from ..deadline import Deadline
from ..errors import DockerKernelError, SettingError
from . import engine as engines
from . import inside, machine
from .findings import IDS, Finding, of_error

CONNECT_SECONDS = 10.0


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


def _all(
    load: Callable[[], Settings], environ: dict[str, str], container: bool
) -> Iterator[Finding]:
    yield machine.versions()
    yield machine.kernels()
    broken = False
    try:
        settings = load()
    except SettingError as exc:
        yield of_error("settings", exc)
        # Their engine is looked at all the same; which image they mean is not known.
        settings, broken = Settings(), True
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
            try:
                engine = stack.enter_context(closing(Engine(environ, Deadline(CONNECT_SECONDS))))
                known = engines.ask(engine)
            except DockerKernelError as exc:
                yield of_error("engine", exc)
                return
            yield from engines.judge(known, environ)
            if mode == "docker" and not broken:
                for finding in engines.image(engine, settings):
                    container = container and finding.level == "ok"
                    yield finding
        if container and not broken:
            yield from inside.look(settings, known if mode == "docker" else None, environ)
