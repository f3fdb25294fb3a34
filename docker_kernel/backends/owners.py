"""Processes that have containers, told so that another process can see whether they live."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..runtime import cache_folder, read_json, write_json

CLOCK_TOLERANCE_SECONDS = 2.0
"""Where a start time is reckoned from the time of the boot, which moves when the clock is set."""


@dataclass(frozen=True)
class Owner:
    """A process, known by more than its number, which is given again to another one."""

    host: str
    """The machine's name, for people."""
    space: str
    """Where the number counts. Machines and containers may have the same name, and share an
    engine; so this is the boot of the machine, and the namespace of process numbers in it."""
    user: str
    pid: str
    start: str

    @classmethod
    def me(cls) -> Owner:
        """The process that asks."""
        host, pid = socket.gethostname(), os.getpid()
        return cls(host, _space(host), user_name(), str(pid), _start(pid))

    @classmethod
    def read(cls, found: Mapping[str, object]) -> Owner | None:
        """What `words` gave, None where something is missing."""
        values = [str(found.get(name, "")) for name in cls.__dataclass_fields__]
        return cls(*values) if all(values) and values[3].isdigit() else None

    def words(self) -> dict[str, str]:
        """All of it by name."""
        return asdict(self)

    def hidden(self) -> str:
        """Why it can't be told from here whether it lives, "" where it can."""
        me = Owner.me()
        if self.space != me.space:
            return f"its process belongs to {self.host}, and can't be seen from here"
        if self.user != me.user:
            return f"it belongs to the user {self.user}"
        return ""

    def lives(self) -> bool:
        """Whether it still runs; only where it isn't `hidden`."""
        try:
            start = _start(int(self.pid))
        except ProcessLookupError:
            return False
        except OSError:
            return True  # there is one that we may not look at
        if sys.platform == "linux":
            return start == self.start
        return abs(float(start) - float(self.start)) < CLOCK_TOLERANCE_SECONDS


def _space(host: str) -> str:
    if sys.platform != "linux":
        return f"{host}/{_machine()}"
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot.read_text().strip()}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return host


def user_name() -> str:
    """The process's own user. Not getpass's: that believes the environment."""
    if sys.platform != "linux":
        return str(_psutil().Process().username())
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _psutil() -> Any:
    """It takes 10 ms, and on Linux all that it knows stands in few lines of /proc."""
    import psutil  # type: ignore[import-untyped,unused-ignore]

    return psutil


def _machine() -> str:
    """What tells this machine from another one of the same name, with the same engine."""
    path = cache_folder() / "machine.json"
    if not read_json(path):
        write_json(path, {"id": secrets.token_hex(8)})
    # Where nothing can be kept, none is the same, and nobody is called dead.
    return str(read_json(path).get("id") or secrets.token_hex(8))


def _start(pid: int) -> str:
    """When a process was started. Raises ProcessLookupError, also for one that has ended and that
    nobody has waited for; OSError where we may not look."""
    if sys.platform != "linux":
        return _start_elsewhere(pid)
    # In ticks since the boot: a time of day moves when the clock is set.
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except FileNotFoundError as exc:
        raise ProcessLookupError(pid) from exc
    state, *fields = text.rpartition(")")[2].split()  # before that is its name, with anything in it
    if state in ("Z", "X"):
        raise ProcessLookupError(pid)
    return fields[18]


def _start_elsewhere(pid: int) -> str:
    psutil = _psutil()
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise ProcessLookupError(pid)
        return f"{process.create_time():.2f}"
    except psutil.NoSuchProcess as exc:
        raise ProcessLookupError(pid) from exc
    except psutil.Error as exc:
        raise PermissionError(pid) from exc


# -- containers that were taken over: their labels, which nobody can change, name the one before


def mark_taken(name: str) -> None:
    """Note that this process has taken a container over."""
    write_json(_mark(name), Owner.me().words())


def unmark_taken(name: str) -> None:
    """Take the note away."""
    with suppress(OSError):
        _mark(name).unlink(missing_ok=True)


def taken_by(name: str) -> Owner | None:
    """The living process of this user that has taken a container over, None where there is none."""
    owner = Owner.read(read_json(_mark(name)))
    return owner if owner is not None and not owner.hidden() and owner.lives() else None


def drop_old_marks() -> None:
    """Remove the notes of processes that are dead."""
    for path in _mark("").parent.glob("*.json"):
        if taken_by(path.stem) is None:
            unmark_taken(path.stem)


def _mark(name: str) -> Path:
    return cache_folder() / "taken" / f"{Path(name).name}.json"
