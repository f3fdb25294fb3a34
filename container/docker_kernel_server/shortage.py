"""What has run out while a session was at something, in words: which limit, and what to type.

Memory and processes are counted by the container's cgroup (limits.py). That there were too many
files, or no room, is told by the error that the person's code has got.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
from typing import Any, List, Optional

from .limits import ROOT, MemoryWatch, PidsWatch, more, read_limits, size_in_words

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_FULL_BYTES = 64 * 1024
"""Where no more is free than this, there is no room."""

BOUNDED_DISK = (
    "No more can be written to this disk: it is bounded. For the container's own, raise "
    "DOCKER_KERNEL_DISK_SIZE."
)

SHM = "/dev/shm"  # noqa: S108
TEMP = "/tmp"  # noqa: S108
MOUNTS = "/proc/self/mounts"


class Watches:
    """The counters of the container, which all sessions share."""

    def __init__(self, root: str = ROOT) -> None:
        self.memory = MemoryWatch(root)
        self.pids = PidsWatch(root)

    def close(self) -> None:
        """Look no more."""
        self.memory.close()
        self.pids.close()


class Shortages:
    """Those of one session: each is told once, to what ran then."""

    def __init__(self, watches: Watches) -> None:
        self._memory = watches.memory
        self._pids = watches.pids
        self._kills = 0
        self._refusals = 0
        self._full: List[str] = []
        self.begin()

    def begin(self) -> None:
        """Something begins: what has been before is none of its business."""
        self._kills = self._memory.kills()
        self._refusals = self._pids.refusals()

    def killed_now(self) -> bool:
        """Whether a process whose death was just heard of was killed for want of memory."""
        return self._memory.just_now(self._kills)

    def why_killed(self) -> str:
        """A clause for such a death."""
        return self._memory.explain()

    def of_processes(self) -> str:
        """That there were too many processes since `begin`: a sentence, or ""."""
        return self._pids.explain() if self._pids.refusals() > self._refusals else ""

    def take(self, result: Any) -> List[str]:
        """What ran out since `begin`, or since the last call; ``result`` is that of a cell."""
        found = []
        kills, refusals = self._kills, self._refusals
        self.begin()
        if self._kills > kills:
            found.append(f"A process of this container was killed {self._memory.explain()}.")
        if self._refusals > refusals:
            found.append(self._pids.explain())
        error = of_error(str(result.get("evalue"))) if isinstance(result, dict) else []
        # A program that has no room says so in its own way, so a look at the places it is.
        full = full_places()
        found += error or [text for text in full if text not in self._full]
        self._full = full
        return found


def of_error(words: str) -> List[str]:
    """What an error says has run out: that there is no room, or that too many files are open."""
    match = _ERRNO.search(words)
    number = int(match[1]) if match else 0
    if number == errno.EDQUOT:
        return [BOUNDED_DISK]
    if number == errno.ENOSPC:
        return full_places() or ["There is no room left on a disk, or in a folder of its own size."]
    if number == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        remedy = _remedy("nofile", str(2 * limit))
        return [f"A process may have {limit} files and connections open at a time{remedy}."]
    return []


def of_refusal(exc: Exception) -> List[str]:
    """What has run out where a process could not be made."""
    if isinstance(exc, BlockingIOError):
        return [PidsWatch().explain()]
    return of_error(str(exc))


def full_places(temp: str = TEMP, shm: str = SHM, mounts: str = MOUNTS) -> List[str]:
    """A sentence for each place that is full."""
    found = []
    for place in (temp, shm):
        with contextlib.suppress(OSError):
            about = os.statvfs(place)
            if about.f_bavail * about.f_frsize > _FULL_BYTES:
                continue
            size = about.f_blocks * about.f_frsize
            if place == shm or _is_in_memory(place, mounts):
                twice = f"{max(64, 2 * size >> 20)}m"
                setting = "shm_size" if place == shm else "tmp_size"
                found.append(
                    f"There is no room left in {place}, which has {size_in_words(size)}"
                    f"{_remedy(setting, twice)}."
                )
            else:
                found.append(
                    f"There is no room left on the container's disk, which has "
                    f"{size_in_words(size)}: remove something, raise DOCKER_KERNEL_DISK_SIZE where "
                    "it is set, or make room on the engine's disk (docker system prune)."
                )
    return found


def of_bus_error() -> str:
    """A clause for a process that has ended so: shared memory is mapped, and has no room."""
    size: Optional[int] = None
    with contextlib.suppress(OSError):
        about = os.statvfs(SHM)
        size = about.f_blocks * about.f_frsize
    if size is None:
        return ""
    return (
        f", as when {SHM} has no room: it has {size_in_words(size)}"
        f"{_remedy('shm_size', f'{max(64, 2 * size >> 20)}m')}"
    )


def _remedy(setting: str, value: str) -> str:
    """What to type for more, in a container that the kernel has bounded; "" elsewhere."""
    return more(setting, value) if read_limits()["memory_limit"] is not None else ""


def _is_in_memory(place: str, mounts: str) -> bool:
    with contextlib.suppress(OSError), open(mounts, encoding="utf-8", errors="replace") as file:
        return any(line.split()[1:3] == [place, "tmpfs"] for line in file)
    return False
