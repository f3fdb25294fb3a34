"""What the machine has, and what processes and their descendants are and use, from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Set, Tuple

PR_SET_CHILD_SUBREAPER = 36

STOP_ROUNDS = 100
"""What is forked while others are stopped is found at the next look."""

MAX_OOM_SCORE = 1000
IDLE_OOM, BUSY_OOM = 300, 650
"""In thousandths of the memory that there is; our own processes are smaller than that."""


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
    for pid, fields in _rows(proc):
        children.setdefault(int(fields[_PARENT]), []).append(pid)
        ticks = sum(map(int, fields[11:15]))  # user and system; its own and its children's
        own[pid] = Usage(int(fields[21]) * _PAGE_BYTES, ticks / _TICKS)
    return {root: _sum(root, children, own) for root in roots}


def children_by_parent(proc: str = "/proc") -> Dict[int, List[int]]:
    """The children of each process that has any."""
    children: Dict[int, List[int]] = {}
    for pid, fields in _rows(proc):
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    return children


def descendants(root: int, proc: str = "/proc") -> List[int]:
    """The children of a process and theirs, as far as their parents live; parents come first."""
    children = children_by_parent(proc)
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found


class Tree:
    """A process that was just started, and all that it starts, also what goes its own way.

    They are found by their parents; where those have ended, by ``mark``, which stands in their
    environment; and where it doesn't, by having been found before.
    """

    def __init__(self, root: int, mark: bytes, proc: str = "/proc") -> None:
        self._mark = mark
        self._proc = proc
        # By when they were started: a number may be another process's later.
        self._known: Dict[int, bytes] = {}
        fields = _fields(str(root), proc)
        if fields:
            self._known[root] = fields[_START]

    def find(self) -> List[int]:
        """Those that there are now."""
        children: Dict[int, List[int]] = {}
        starts: Dict[int, bytes] = {}
        for pid, fields in _rows(self._proc):
            children.setdefault(int(fields[_PARENT]), []).append(pid)
            starts[pid] = fields[_START]
        found = [pid for pid in starts if starts[pid] == self._known.get(pid) or self._marks(pid)]
        seen = set(found)
        for pid in found:
            new = [child for child in children.get(pid, ()) if child not in seen]
            found += new
            seen.update(new)
        self._known = {pid: starts[pid] for pid in found}
        return found

    def _marks(self, pid: int) -> bool:
        path = os.path.join(self._proc, str(pid), "environ")
        with contextlib.suppress(OSError), open(path, "rb") as file:  # else it's another user's
            return self._mark in file.read().split(b"\0")
        return False


def signal_all(pids: Iterable[int], number: int) -> None:
    """Signal them. What is stopped goes on, to take it."""
    for pid in pids:
        for each in (number, signal.SIGCONT):
            with contextlib.suppress(OSError):
                os.kill(pid, each)


def kill_all(root: int, proc: str = "/proc") -> None:
    """Kill the descendants of a process. They are stopped first: of those that fork all the time,
    each one that ends makes room for another."""
    stopped: Set[int] = set()
    for _ in range(STOP_ROUNDS):
        new = [pid for pid in descendants(root, proc) if pid not in stopped]
        if not new:
            break
        stopped.update(new)
        for pid in new:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
    for pid in stopped:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def is_stopped(pid: int, proc: str = "/proc") -> bool:
    """Whether it waits for SIGCONT, or for a debugger."""
    fields = _fields(str(pid), proc)
    return bool(fields) and fields[_STATE] in (b"T", b"t")


def adopt_orphans() -> bool:
    """Be the parent of all descendants that lose theirs; False where the system can't do that."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def expose_to_oom(pid: int, score: int) -> None:
    """Where memory runs out, let it be this process and its children, and none of our own."""
    # Each cell does it twice, and a file object takes three times as long.
    with contextlib.suppress(OSError):
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % score)
        finally:
            os.close(fd)


def raised_oom_score(more: int = BUSY_OOM) -> int:
    """By so much more than this process's own."""
    own = 0
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj") as file:
        own = int(file.read())
    return min(own + more, MAX_OOM_SCORE)


class Victim:
    """A session's worker, where memory runs out: rather it than our own processes, and rather one
    that works, with what it forks, than one that only holds a person's variables."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._cells: Set[str] = set()
        self._lock = threading.Lock()
        self._idle, self._busy = raised_oom_score(IDLE_OOM), raised_oom_score(BUSY_OOM)
        expose_to_oom(self._pid, self._idle)

    def begin(self, cell: str) -> None:
        """A cell runs; there may be several at a time."""
        with self._lock:
            if not self._cells:
                expose_to_oom(self._pid, self._busy)
            self._cells.add(cell)

    def end(self, cell: str) -> None:
        """It has ended, or has never begun."""
        with self._lock:
            self._cells.discard(cell)
            if not self._cells:
                expose_to_oom(self._pid, self._idle)


def _rows(proc: str) -> Iterator[Tuple[int, List[bytes]]]:
    """Each process, and what its "stat" says."""
    for name in _numbers(proc):
        fields = _fields(name, proc)
        if fields:
            yield int(name), fields


def _fields(name: str, proc: str) -> List[bytes]:
    """What "stat" says of a process; nothing of one that has just ended."""
    with contextlib.suppress(OSError), open(os.path.join(proc, name, "stat"), "rb") as file:
        # Behind the program's name, which may have any character.
        return file.read().rpartition(b")")[2].split()
    return []


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


_STATE, _PARENT, _START = 0, 1, 19
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
