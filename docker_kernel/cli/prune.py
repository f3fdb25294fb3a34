"""``docker-kernel prune``: remove what dead kernels have left on the engine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from ..deadline import Deadline
from .choosing import ENGINE_SECONDS, connect
from .items import Item, report

if TYPE_CHECKING:
    from ..backends.docker import Engine


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "prune",
        help="remove the containers of kernels that are dead, and volumes of no use",
        description="Remove the containers whose process is dead and that no other has taken over, "
        "and the volumes that were filled for images that are gone. What is in use is kept, and "
        "so is what belongs to other users or isn't ours.",
        epilog="Exit code 0: done, also where there was nothing to do. 1: the engine can't be "
        "reached, or something could not be removed.",
    )
    parser.add_argument("--dry-run", action="store_true", help="say it, and remove nothing.")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object.")
    parser.set_defaults(run=prune)


def prune(options: argparse.Namespace) -> int:
    """Remove, and say what was removed, what was kept, and why. Returns the exit code."""
    dry_run = options.dry_run
    with connect() as engine:
        items = chain(_containers(engine, dry_run), _volumes(engine, dry_run))
        return report(items, options.json, "There is nothing to remove.", dry_run=dry_run)


def _containers(engine: Engine, dry_run: bool) -> Iterator[Item]:
    from ..backends.sweeping import look
    from ..backends.throwaway import remove_container

    for found in look(engine, Deadline(ENGINE_SECONDS)):
        outcome, why = "kept", found.why
        if found.leftover and dry_run:
            outcome = "left over"
        elif found.leftover and remove_container(engine, found.id):
            outcome = "removed"
        elif found.leftover:
            outcome = "failed"
            why += f"; the engine doesn't remove it; see what it says: docker rm -f {found.name}"
        yield Item("container", found.name, outcome, why)


def _volumes(engine: Engine, dry_run: bool) -> Iterator[Item]:
    from ..backends.volumes import old_volumes, remove_volume

    why = "its image is gone"
    deadline = Deadline(ENGINE_SECONDS)
    for name in old_volumes(engine, deadline):
        if dry_run:
            yield Item("volume", name, "left over", why)
        elif remove_volume(engine, name, deadline):
            yield Item("volume", name, "removed", why)
        else:
            yield Item("volume", name, "kept", f"{why}, but a container uses it")
