"""Which folder is the container's workplace, and as which user it runs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..config import Settings
from .address import Address
from .mounts import ALL_THE_SAME, WORKPLACE, why_not_mounted

FALLBACK_ID = 1000
"""The container's uid and gid where the caller is root and so is the folder's owner."""


_FAR = (
    "The Docker engine at {} is on another machine: no folder of this one is mounted, and "
    f"{WORKPLACE} is the container's own and ends with it. Copy what you need with %docker put and "
    "%docker get, or with docker_kernel.files. DOCKER_KERNEL_MOUNT_WORKSPACE=false says that cells "
    "are to have nothing of that folder, and ends this notice"
)


@dataclass(frozen=True)
class User:
    """A user as Docker takes it: numbers, or the names that the image knows."""

    uid: str
    gid: str = ""

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}" if self.gid else self.uid

    @property
    def numbers(self) -> tuple[int, int] | None:
        """Uid and gid, None where only the image knows them."""
        gid = self.gid or "0"
        return (int(self.uid), int(gid)) if self.uid.isdigit() and gid.isdigit() else None


@dataclass(frozen=True)
class Choice:
    """What the container sees, as whom, and what the person must be told ("" for nothing)."""

    folder: Path | None
    user: User
    notice: str = ""


def choose(settings: Settings, sockets: list[Path], engine: Address) -> Choice:
    """Apply the rules for a container of `engine`. `sockets` are those of engines here.

    Raises SettingError.
    """
    if engine.remote:
        # Nothing of this machine means anything over there: neither its folders nor its users.
        notice = _FAR.format(engine.url) if settings.mount_workspace else ""
        return Choice(
            None, choose_user(settings.user or f"{FALLBACK_ID}:{FALLBACK_ID}", None), notice
        )
    if not settings.mount_workspace:
        return Choice(None, choose_user(settings.user, None))
    folder = settings.workspace_folder()
    if why := why_not_mounted(folder, settings, sockets):
        notice = (
            f"The folder {folder} is not mounted: {why}. {WORKPLACE} is the container's own "
            "and ends with it. To mend it: put the notebook into a folder of its own, or set "
            f"DOCKER_KERNEL_WORKSPACE=/path/to/a/folder; {ALL_THE_SAME}"
        )
        return Choice(None, choose_user(settings.user, None), notice)
    user = choose_user(settings.user, folder)
    if not may(user, folder, os.R_OK | os.X_OK):
        notice = (
            f"The folder {folder} is not mounted: the container's user {user} may not read it. "
            f"{WORKPLACE} is the container's own and ends with it. To mend it: chmod o+rx "
            f"{folder}, or choose another user with DOCKER_KERNEL_USER=UID:GID"
        )
        return Choice(None, user, notice)
    if not may(user, folder, os.W_OK):
        # A folder that isn't the project's own keeps its owner.
        chown = "" if settings.allow_dangerous_mount else f"sudo chown {user} {folder}, or "
        notice = (
            f"The container's user {user} can't write the folder {folder}. To mend it: "
            f"{chown}choose another user: DOCKER_KERNEL_USER=UID:GID"
        )
        return Choice(folder, user, notice)
    return Choice(folder, user)


def choose_user(setting: str, folder: Path | None) -> User:
    """The container's user: the setting, else the caller, else (for root) the owner of `folder`."""
    if setting:
        uid, _, gid = setting.partition(":")
        return User(uid, gid)
    if sys.platform == "win32":
        # Docker Desktop maps every user to the caller.
        return User(str(FALLBACK_ID), str(FALLBACK_ID))
    if os.getuid() != 0:
        return User(str(os.getuid()), str(os.getgid()))
    status = folder.stat() if folder else None
    if status is None or status.st_uid == 0:
        return User(str(FALLBACK_ID), str(FALLBACK_ID))
    return User(str(status.st_uid), str(status.st_gid))


def may(user: User, folder: Path, access: int) -> bool:
    """Whether `user` has `access` (os.R_OK | os.W_OK | os.X_OK) to `folder`, going by its mode.

    True where that can't tell. Root counts as any other user: its container has no capability to
    overrule a mode.
    """
    # Docker Desktop's file sharing works as the caller, whoever the container's user is.
    if sys.platform != "linux" or user.numbers is None:
        return True
    uid, gid = user.numbers
    status = folder.stat()
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return (status.st_mode >> shift) & access == access
