"""What the machine has, and what processes and their descendants use, from /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List


@dataclass
class Usage:
    """Memory that is in use now, in bytes, and CPU time since the start, in seconds."""

    memory: int = 0
    cpu_seconds: float = 0.0


def read_machine(proc: str = "/proc") -> Dict[str, Any]:
    """`memory` in bytes, None where it isn't known, and `cpus`, on which this process may run."""
    memory = None
    with contextlib.suppress(OSError), open(os.path.join(proc, "meminfo"), "rb") as file:
        found = [line.split() for line in file if line.startswith(b"MemTotal:")]
        memory = int(found[0][1]) * 1024 if found else None
    if hasattr(os, "sched_getaffinity"):
        return {"memory": memory, "cpus": len(os.sched_getaffinity(0))}
    return {"memory": memory, "cpus": os.cpu_count()}


def read_trees(roots: Iterable[int], proc: str = "/proc") -> Dict[int, Usage]:
    """For each process, what it and its descendants use.

    The CPU time of descendants that have ended is in it where their parent has waited for them.
    """
    children: Dict[int, List[int]] = {}
    own: Dict[int, Usage] = {}
    for name in _numbers(proc):
        try:
            with open(os.path.join(proc, name, "stat"), "rb") as file:
                # Behind the program's name, which may have any character.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(name)
        children.setdefault(int(fields[1]), []).append(pid)
        ticks = sum(map(int, fields[11:15]))  # user and system; its own and its children's
        own[pid] = Usage(int(fields[21]) * _PAGE_BYTES, ticks / _TICKS)
    return {root: _sum(root, children, own) for root in roots}


def _numbers(proc: str) -> List[str]:
    try:
        return [name for name in os.listdir(proc) if name.isdigit()]
    except OSError:  # a system without it
        return []


def _sum(root: int, children: Dict[int, List[int]], own: Dict[int, Usage]) -> Usage:
    total = Usage()
    pids = [root]
    while pids:
        pid = pids.pop()
        pids += children.get(pid, ())
        usage = own.get(pid, Usage())
        total.memory += usage.memory
        total.cpu_seconds += usage.cpu_seconds
    return total


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
