"""What this container may use and uses, and when memory ran out, from its cgroup (1 or 2)."""

from __future__ import annotations

import contextlib
from typing import Dict, Optional, Tuple

ROOT = "/sys/fs/cgroup"

GIB = 1 << 30

UNLIMITED = 1 << 60
"""cgroup version 1 says "no limit" with a number of about this size."""

# For each figure, the file of version 2 and the one of version 1.
_FILES: Dict[str, Tuple[str, str]] = {
    "memory": ("memory.current", "memory/memory.usage_in_bytes"),
    "memory_limit": ("memory.max", "memory/memory.limit_in_bytes"),
    "memory_peak": ("memory.peak", "memory/memory.max_usage_in_bytes"),
    "pids": ("pids.current", "pids/pids.current"),
    "pids_limit": ("pids.max", "pids/pids.max"),
}


_OOM_FILES = ("memory.events", "memory/memory.oom_control")


def read_limits(root: str = ROOT) -> Dict[str, Optional[int]]:
    """Memory in bytes and numbers of processes; None where there is no limit or no such file."""
    return {name: _read(root, files) for name, files in _FILES.items()}


def _read(root: str, files: Tuple[str, str]) -> Optional[int]:
    for name in files:
        try:
            with open(f"{root}/{name}", encoding="ascii") as file:
                value = int(file.read())
        except (OSError, ValueError):  # ValueError: the word "max"
            continue
        return value if value < UNLIMITED else None
    return None


class MemoryWatch:
    """Notices processes that were killed for want of memory. The cgroup counts them."""

    def __init__(self, root: str = ROOT) -> None:
        self._root = root
        self._seen = self._count()

    def look(self) -> bool:
        """Whether there were any since the last look."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def explain(self) -> str:
        """Why there were, and what to type against it: a clause for the middle of a sentence."""
        limit = read_limits(self._root)["memory_limit"]
        if limit is None:
            return "because memory ran out"
        more = max(4, -(-2 * limit // GIB))
        return (
            f"because memory ran out: the container's limit is {_size(limit)} (for more, set "
            f"DOCKER_KERNEL_MEMORY={more}g, or start the kernel with --memory={more}g)"
        )

    def _count(self) -> int:
        for name in _OOM_FILES:
            with contextlib.suppress(OSError), open(
                f"{self._root}/{name}", encoding="ascii"
            ) as file:
                for line in file:
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        return int(value)
        return 0


def _size(count: int) -> str:
    return f"{count / GIB:g} GiB" if count % GIB == 0 else f"{count >> 20} MiB"
