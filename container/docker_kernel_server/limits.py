"""What this container may use and uses, and when memory ran out, from its cgroup (1 or 2)."""

from __future__ import annotations

import contextlib
import os
import time
from typing import BinaryIO, Dict, Optional, Tuple, Union

Figures = Dict[str, Union[int, float, None]]

ROOT = "/sys/fs/cgroup"

GIB = 1 << 30

MAX_FILE_BYTES = 64 * 1024
"""Those of a cgroup are far smaller."""

FRESH_SECONDS = 2.0
"""How soon the death of a process is heard of."""

UNLIMITED = 1 << 60
"""cgroup version 1 says "no limit" with a number of about this size."""

# For each figure, the file of version 2 and the one of version 1.
_FILES = {
    "memory": ("memory.current", "memory/memory.usage_in_bytes"),
    "memory_limit": ("memory.max", "memory/memory.limit_in_bytes"),
    "memory_peak": ("memory.peak", "memory/memory.max_usage_in_bytes"),
    "pids": ("pids.current", "pids/pids.current"),
    "pids_limit": ("pids.max", "pids/pids.max"),
}


_OOM_FILES = ("memory.events", "memory/memory.oom_control")
_PIDS_FILES = ("pids.events", "pids/pids.events")


def read_limits(root: str = ROOT) -> Figures:
    """See `status` in the protocol. None where there is no limit or no such file."""
    figures: Figures = {name: _number(root, *files) for name, files in _FILES.items()}
    stat = _table(root, "memory.stat", "memory/memory.stat")
    figures["memory_cache"] = stat.get("total_inactive_file", stat.get("inactive_file"))
    figures["cpu_seconds"] = _cpu_seconds(root)
    figures["cpus_limit"] = _cpus_limit(root)
    return figures


def _cpu_seconds(root: str) -> Optional[float]:
    micro = _table(root, "cpu.stat").get("usage_usec")
    if micro is not None:
        return micro / 1e6
    nano = _number(root, "cpuacct/cpuacct.usage")
    return None if nano is None else nano / 1e9


def _cpus_limit(root: str) -> Optional[float]:
    quota, period = _number(root, "cpu/cpu.cfs_quota_us"), _number(root, "cpu/cpu.cfs_period_us")
    words = _read(root, "cpu.max").split()  # "50000 100000", or "max 100000"
    if len(words) == 2 and words[0].isdigit():
        quota, period = int(words[0]), int(words[1])
    return quota / period if quota and period and quota > 0 else None


def _number(root: str, *names: str) -> Optional[int]:
    try:
        value = int(_read(root, *names))
    except ValueError:  # the word "max", or nothing
        return None
    return value if value < UNLIMITED else None


def _table(root: str, *names: str) -> Dict[str, int]:
    """A file with lines of a word and a number."""
    rows = [line.split() for line in _read(root, *names).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _read(root: str, *names: str) -> str:
    """The first of some files that can be read; "" for none."""
    for name in names:
        with contextlib.suppress(OSError), open(os.path.join(root, name), encoding="ascii") as file:
            return file.read(MAX_FILE_BYTES)
    return ""


class _Counter:
    """A number in a file. It is read before and after each cell, so the file stays open."""

    def __init__(self, root: str, names: Tuple[str, ...], word: str) -> None:
        self._paths = [os.path.join(root, name) for name in names]
        self._word = word.encode("ascii")
        self._file: Optional[BinaryIO] = None

    def read(self) -> int:
        """The number; 0 where there is no such file, or nothing of the kind in it."""
        with contextlib.suppress(OSError, ValueError):
            for line in os.pread(self._open(), MAX_FILE_BYTES, 0).splitlines():
                word, _, count = line.partition(b" ")
                if word == self._word:
                    return int(count)
        return 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> int:
        if self._file is None:
            path = next((path for path in self._paths if os.path.exists(path)), self._paths[0])
            self._file = open(path, "rb", 0)  # noqa: SIM115 - `close` closes it
        return self._file.fileno()


class MemoryWatch:
    """Notices processes that were killed for want of memory. The cgroup counts them.

    Owns an open file.
    """

    def __init__(self, root: str = ROOT) -> None:
        self._root = root
        self._counter = _Counter(root, _OOM_FILES, "oom_kill")
        self._seen = self._counter.read()
        self._noticed = -FRESH_SECONDS

    def kills(self) -> int:
        """How many there were."""
        count = self._counter.read()
        if count > self._seen:
            self._seen = count
            self._noticed = time.monotonic()
        return count

    def close(self) -> None:
        """Look no more."""
        self._counter.close()

    def just_now(self, before: int) -> bool:
        """Whether there were more than ``before``, and in the last moments: the process whose death
        is just heard of is one of them."""
        return self.kills() > before and time.monotonic() - self._noticed < FRESH_SECONDS

    def explain(self) -> str:
        """Why there were, and what to type against it: a clause for the middle of a sentence."""
        limit = _number(self._root, *_FILES["memory_limit"])
        if limit is None:
            return "because memory ran out"
        peak = _number(self._root, *_FILES["memory_peak"])
        most = f", the most that was in use {size_in_words(peak)}" if peak else ""
        enough = f"{max(4, -(-2 * limit // GIB))}g"
        return (
            f"because memory ran out: the container's limit is {size_in_words(limit)}{most}"
            f"{more('memory', enough)}"
        )


class PidsWatch:
    """Notices that there could be no further process or thread. The cgroup counts that, too.

    Owns an open file, once it was asked for `refusals`.
    """

    def __init__(self, root: str = ROOT) -> None:
        self._root = root
        self._counter = _Counter(root, _PIDS_FILES, "max")

    def refusals(self) -> int:
        """How often."""
        return self._counter.read()

    def close(self) -> None:
        """Look no more."""
        self._counter.close()

    def room(self) -> Optional[int]:
        """How many more there may be; None where that isn't bounded."""
        limit = _number(self._root, *_FILES["pids_limit"])
        used = _number(self._root, *_FILES["pids"])
        return None if limit is None or used is None else limit - used

    def explain(self) -> str:
        """Why, and what to type against it: a sentence."""
        limit = _number(self._root, *_FILES["pids_limit"])
        if limit is None:
            return "There could be no further process or thread."
        return (
            f"The container had as many processes and threads as it may have, {limit}"
            f"{more('pids', str(2 * limit))}."
        )


def more(setting: str, value: str) -> str:
    """What to type for more of something."""
    option = setting.replace("_", "-")
    return (
        f" (for more, set DOCKER_KERNEL_{setting.upper()}={value}, or start the kernel with "
        f"--{option}={value})"
    )


def size_in_words(count: int) -> str:
    """As people say it."""
    return f"{count / GIB:g} GiB" if count % GIB == 0 else f"{count >> 20} MiB"
