"""What stays of a container: an image of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import closing

from .. import files
from ..commands import Command, run
from ..deadline import Deadline
from ..errors import UsageError
from ..inside import LIST_ORIGINS
from ..sandbox import Sandbox
from .freezing import (
    DOCKERFILE,
    REQUIREMENTS,
    Packages,
    changed_places,
    dockerfile_text,
    read_packages,
    requirements_text,
)
from .freezing import freeze as compare
from .looking import ask_status

CONNECT_SECONDS = 10.0
LIST_SECONDS = 60.0
"""How long the container's Python may take to list its packages."""

Show = Callable[[str], None]
"""Takes a line on how it goes."""


def container_of(sandbox: Sandbox, action: str) -> str:
    """The container that was started for this sandbox. Raises UsageError where there is none."""
    if sandbox.container:
        return sandbox.container
    whys = {
        "attached": "the code runs in a server, or a container, that somebody else has started",
        "local": "the code runs on this machine, without a container",
        "docker": "no container runs",
    }
    remedies = {
        "attached": "see what is installed: %pip freeze; an image is made by: docker commit",
        "local": "see what is installed: %pip freeze",
        "docker": "run a cell first: that starts one",
    }
    mode = sandbox.settings.resolved_mode()
    raise UsageError(f"%docker {action} was not done", whys[mode], remedies[mode])


def commit(sandbox: Sandbox, tag: str, show: Show, use: str) -> str:
    """Make an image of the container, and say how to use it; ``use`` is what does so in a cell.

    Raises UsageError, EngineError, ImageError, StartTimeout.
    """
    # These are slow to import.
    from ..backends import committing
    from ..backends.docker import Engine

    container = container_of(sandbox, "commit")
    name = committing.full_name(tag)
    with closing(Engine(os.environ, Deadline(CONNECT_SECONDS))) as engine:
        size = committing.commit(engine, container, name, show)
    where = name.removeprefix(committing.NAMESPACE).partition(":")[0].replace("/", "-")
    return (
        f"The image {name} is there: {sandbox.settings.image_name()}, and {size / 1e6:.0f} MB that "
        "were written in this container.\n"
        f"A kernel of it:      jupyter docker-kernel install --image {name} --name {where}\n"
        f"This notebook in it: {use} {name}"
    )


def freeze(sandbox: Sandbox, show: Show, force: bool) -> str:
    """Write a Dockerfile and a requirements file into the container's working folder, and say what
    they have. The container writes them: what it may not write, nobody does.

    Raises UsageError, EngineError, StartTimeout, ConnectionLost, RequestRefused.
    """
    from ..backends.ancestry import ancestor, changes
    from ..backends.creation import HOME
    from ..backends.docker import Engine

    container = container_of(sandbox, "freeze")
    with closing(sandbox.connection()) as client:
        there = {entry.name for entry in files.list(client, ".")}
        taken = sorted(there & {REQUIREMENTS, DOCKERFILE})
        if taken and not force:
            raise UsageError(
                "%docker freeze was not done",
                f"the working folder has a {' and a '.join(taken)} already",
                "to write over it: %docker freeze --force",
            )
        show("looking at what is installed")
        python = str(ask_status(client)["executable"])
        listing = shlex.join([python, "-c", LIST_ORIGINS])
        done = run(client, Command(listing, timeout=LIST_SECONDS))
        now = _packages(done.stdout, done.error or done.stderr)
        with closing(Engine(os.environ, Deadline(CONNECT_SECONDS))) as engine:
            base = ancestor(engine, container, sandbox.settings.image_name())
            show(f"comparing it with {base.reference}")
            said = base.run(engine, [python, "-c", LIST_ORIGINS], sandbox.settings)
            frozen = compare(now, _packages(said, said))
            places = changed_places(changes(engine, container), HOME)
        text = dockerfile_text(base.reference, base.note, python, frozen, places)
        files.put(client, requirements_text(frozen, base.reference).encode(), REQUIREMENTS)
        files.put(client, text.encode(), DOCKERFILE)
    count = f"{len(frozen.lines)} packages on top of {base.reference}"
    news = [
        f"{DOCKERFILE} and {REQUIREMENTS} are in the working folder: {count}.",
        *(f"Not in there, or not for sure: {text}" for text in frozen.missed),
        *([f"Not in there are files that were changed in: {', '.join(places)}"] if places else []),
        "To build the image: docker build -t NAME .",
    ]
    return "\n".join(news)


def _packages(said: str, why: str) -> Packages:
    found = read_packages(said)
    if found is None:
        raise UsageError(
            "%docker freeze was not done",
            f"the container's Python doesn't say what is installed: {why[-300:]}",
            "see whether this works: %pip list",
        )
    return found


def is_own(sandbox: Sandbox, image: str) -> bool:
    """Whether an image was committed from this container, or from one that saw the same folder.

    Raises EngineError, StartTimeout.
    """
    from ..backends import committing
    from ..backends.docker import Engine

    if not sandbox.container or not image.startswith(committing.NAMESPACE):
        return False
    with closing(Engine(os.environ, Deadline(CONNECT_SECONDS))) as engine:
        return committing.is_own(engine, image, sandbox.container)
