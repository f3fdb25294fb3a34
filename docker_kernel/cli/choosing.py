"""Containers that are named on the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from ..deadline import Deadline
from ..errors import DockerKernelError, SettingError

if TYPE_CHECKING:
    from ..backends.docker import Engine
    from ..backends.inventory import Container

ENGINE_SECONDS = 60.0
"""How long all questions to the engine may take."""

COMPLETE_SECONDS = 3.0
"""How long a shell may wait for the names that it offers."""

_PREFIX = "docker-kernel-"


def connect() -> closing[Engine]:
    """The engine, to be closed at the end of a with block. Raises EngineError."""
    from ..backends.docker import Engine  # slow

    return closing(Engine(os.environ, Deadline(ENGINE_SECONDS)))


def add_any_owner(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets a verb touch what belongs to others."""
    parser.add_argument(
        "--any-owner",
        action="store_true",
        help="containers of other users and machines, too, that use the same engine.",
    )


def choose(engine: Engine, names: Sequence[str], any_owner: bool) -> list[Container]:
    """The containers of these names, with or without "docker-kernel-" in front.

    Raises SettingError where one isn't there, or belongs to somebody else.
    """
    from ..backends.inventory import containers

    found = {item.name: item for item in containers(engine, Deadline(ENGINE_SECONDS))}
    chosen = {}
    for name in names:
        item = found.get(name) or found.get(f"{_PREFIX}{name}")
        if item is None:
            raise SettingError(
                f"there is no container {name!r} of docker-kernel's",
                f"there are: {', '.join(found)}" if found else "there are none",
                "see docker-kernel ps; for containers of others: docker ps",
            )
        if item.not_mine and not any_owner:
            raise SettingError(
                f"the container {item.name} is left alone",
                item.not_mine,
                "where that is right nevertheless, add --any-owner",
            )
        chosen[item.name] = item
    return list(chosen.values())


def complete_containers(**_: object) -> list[str]:
    """The containers that a shell offers; none where the engine doesn't answer in time."""
    from ..backends.inventory import containers

    return _offered(lambda engine, deadline: [item.name for item in containers(engine, deadline)])


def complete_images(**_: object) -> list[str]:
    """The images that a shell offers, as `complete_containers` does."""

    def names(engine: Engine, deadline: Deadline) -> list[str]:
        with engine.calling("looking for images", deadline) as api:
            return [tag for item in api.images() for tag in item["RepoTags"] or []]

    return _offered(names)


def _offered(look: Callable[[Engine, Deadline], list[str]]) -> list[str]:
    from ..backends.docker import Engine

    deadline = Deadline(COMPLETE_SECONDS)
    with suppress(DockerKernelError), closing(Engine(os.environ, deadline)) as engine:
        return look(engine, deadline)
    return []
