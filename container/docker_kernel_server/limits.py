"""What this container may use and uses, from its cgroup (version 1 or 2)."""

from __future__ import annotations

from typing import Dict, Optional, Tuple

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


def read_limits(root: str = "/sys/fs/cgroup") -> Dict[str, Optional[int]]:
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
