"""``docker-kernel ps``: the containers of ours, whose they are, and what they use."""

from __future__ import annotations

import argparse
import json
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..deadline import Deadline
from .choosing import ENGINE_SECONDS, connect
from .table import lines

if TYPE_CHECKING:
    from ..backends.inventory import Container, Usage

HEAD = ["NAME", "IMAGE", "STATE", "AGE", "MEMORY", "CPU", "OWNER", "NOTEBOOK"]


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "ps",
        help="list the containers of kernels, magics and tools",
        description="List all containers of ours on the engine, those of other users, too: which "
        "process has each (its owner), whether that lives, for which notebook, and how much memory "
        "and CPU the container uses now.",
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object.")
    parser.set_defaults(run=ps)


def ps(options: argparse.Namespace) -> int:
    """Print them. Returns the exit code."""
    from ..backends.inventory import containers, usage

    with connect() as engine:
        found = containers(engine, Deadline(ENGINE_SECONDS))
        used = usage(engine, found, Deadline(ENGINE_SECONDS))
    if options.json:
        print(json.dumps({"containers": [_as_json(item, used) for item in found]}, indent=1))
    elif not found:
        print("There are none.")
    else:
        print("\n".join(lines(HEAD, [_row(item, used.get(item.name)) for item in found])))
    return 0


def _as_json(item: Container, used: dict[str, Usage]) -> dict[str, Any]:
    owner = item.owner
    now = used.get(item.name)
    created = datetime.fromtimestamp(item.created, timezone.utc)
    return {
        "name": item.name,
        "id": item.id,
        "kind": item.kind,
        "image": item.image,
        "state": item.state,
        "created": created.isoformat(),
        "workspace": item.workspace,
        "kernel": item.kernel,
        "notebook": item.notebook,
        "owner": owner and {"pid": int(owner.pid), "user": owner.user, "host": owner.host},
        "owner_is": item.owner_is,
        "mine": not item.not_mine,
        "memory_bytes": now and now.memory,
        "memory_limit_bytes": now and now.memory_limit,
        "cpu_percent": now and round(now.cpu, 1),
    }


def _row(item: Container, used: Usage | None) -> list[str]:
    owner = item.owner
    whose = f"{owner.user} {owner.pid} {item.owner_is}" if owner else "unknown"
    return [
        item.name,
        item.image,
        item.state,
        age(time.time() - item.created),
        f"{size(used.memory)} of {size(used.memory_limit)}" if used else "-",
        f"{used.cpu:.0f} %" if used else "-",
        whose,
        item.notebook or (f"kernel {item.kernel}" if item.kernel else "-"),
    ]


def age(seconds: float) -> str:
    """A time span in its two largest units."""
    minutes, second = divmod(int(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hour} h {minute} min"
    return f"{minute} min {second} s" if minutes else f"{second} s"


def size(count: float) -> str:
    """Bytes for people, in the units of the setting memory."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
