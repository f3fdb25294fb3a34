"""What stays of a container: an image of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing

from ..deadline import Deadline
from ..errors import UsageError
from ..sandbox import Sandbox

CONNECT_SECONDS = 10.0

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
    # These bring the Docker SDK.
    from ..backends import committing
    from ..backends.docker import Engine
    from ..backends.images import image_name

    container = container_of(sandbox, "commit")
    name = committing.full_name(tag)
    with closing(Engine(os.environ, Deadline(CONNECT_SECONDS))) as engine:
        size = committing.commit(engine, container, name, show)
    where = name.removeprefix(committing.NAMESPACE).partition(":")[0].replace("/", "-")
    return (
        f"The image {name} is there: {image_name(sandbox.settings)}, and {size / 1e6:.0f} MB that "
        "were written in this container.\n"
        f"A kernel of it:      jupyter docker-kernel install --image {name} --name {where}\n"
        f"This notebook in it: {use} {name}"
    )


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
