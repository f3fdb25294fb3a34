"""``docker-kernel stop``: end containers of ours."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..deadline import Deadline
from .choosing import ENGINE_SECONDS, add_any_owner, choose, complete_containers, connect
from .items import Item, report

if TYPE_CHECKING:
    from ..backends.docker import Engine
    from ..backends.inventory import Container


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "stop",
        help="end containers of kernels, magics and tools",
        description="End containers, also those in use: what runs in them ends, and their "
        "variables and packages are gone. A kernel lives on, and its next cell starts a new "
        "container. `docker-kernel prune` ends only what nobody uses.",
    )
    names = parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a container's name, as ps has it."
    )
    names.completer = complete_containers  # type: ignore[attr-defined]
    parser.add_argument("--all", action="store_true", help="all of this user's on this machine.")
    add_any_owner(parser)
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object.")
    parser.set_defaults(run=stop)


def stop(options: argparse.Namespace) -> int:
    """Stop them, and say what became of each. Returns the exit code."""
    if bool(options.names) == options.all:
        options.parser.error("name containers, or say --all")
    with connect() as engine:
        if options.all:
            items = _all(engine, options.any_owner)
        else:
            # All are looked for first: a slip in one name must not cost the others.
            items = (_stop(engine, x) for x in choose(engine, options.names, options.any_owner))
        return report(items, options.json, "There is nothing to stop.")


def _all(engine: Engine, any_owner: bool) -> Iterator[Item]:
    from ..backends.inventory import containers
    from ..backends.labels import WARM

    for container in containers(engine, Deadline(ENGINE_SECONDS)):
        if container.kind not in ("kernel", WARM):
            continue  # somebody's start waits for it, and removes it
        if container.not_mine and not any_owner:
            yield Item("container", container.name, "kept", container.not_mine)
        else:
            yield _stop(engine, container)


def _stop(engine: Engine, container: Container) -> Item:
    from ..backends.owners import unmark_taken
    from ..backends.throwaway import stop_container

    if stop_container(engine, container.name):
        unmark_taken(container.name)
        return Item("container", container.name, "stopped", "")
    why = f"the engine doesn't remove it; see what it says: docker rm -f {container.name}"
    return Item("container", container.name, "failed", why)
