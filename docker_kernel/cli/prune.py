"""``docker-kernel prune``: remove what dead kernels have left on the engine."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING

from ..deadline import Deadline

if TYPE_CHECKING:
    from ..backends.docker import Engine

ENGINE_SECONDS = 60.0
"""How long all questions to the engine may take."""


@dataclass(frozen=True)
class Item:
    """A container or a volume, and what became of it: removed, left over, kept, or failed."""

    kind: str
    name: str
    outcome: str
    why: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.kind} {self.name}: {self.why}"


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
    from ..backends.docker import Engine  # slow

    items = []
    with closing(Engine(os.environ, Deadline(ENGINE_SECONDS))) as engine:
        for item in chain(_containers(engine, options.dry_run), _volumes(engine, options.dry_run)):
            items.append(item)
            if not options.json:
                print(item, flush=True)
    if options.json:
        found = [asdict(item) for item in items]
        print(json.dumps({"dry_run": options.dry_run, "items": found}, indent=1))
    elif not any(item.outcome != "kept" for item in items):
        print("There is nothing to remove.")
    return 1 if any(item.outcome == "failed" for item in items) else 0


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
