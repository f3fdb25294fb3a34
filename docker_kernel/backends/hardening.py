"""What each container of ours is kept in by, whatever it is for, as the engine's API has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks import read_profile
from ..config import Settings
from ..deadline import Deadline
from ..errors import SettingError
from .docker import Engine
from .refusals import NO_DISK_SIZE

LOG_SIZE = "8m"
"""What the engine keeps of the container's output, twice: the code can print there, too."""

_QUOTA_OR_REFUSAL = {"btrfs", "devicemapper", "overlay", "overlay2", "vfs", "windowsfilter", "zfs"}
"""The kinds of storage that bound a container's disk, or say that they can't."""


def about(engine: Engine, deadline: Deadline) -> dict[str, Any]:
    """What the engine says of itself. Raises EngineError, StartTimeout."""
    with engine.calling("asking the engine what it can do", deadline) as api:
        found: dict[str, Any] = api.info()
    return found


def check_quota(info: Mapping[str, Any], settings: Settings) -> None:
    """Raise SettingError where the engine would pass over the setting `disk_size` in silence."""
    driver = str(info.get("Driver"))
    if driver not in _QUOTA_OR_REFUSAL:
        raise SettingError(
            f"disk_size is {settings.disk_size}, which this engine can't hold",
            f"its storage ({driver}) has no bound for a container's disk",
            NO_DISK_SIZE,
        )


def fence(settings: Settings) -> dict[str, Any]:
    """A part of a HostConfig. Raises SettingError where the seccomp profile is gone."""
    security = ["no-new-privileges"]
    if settings.seccomp:
        security.append(f"seccomp={read_profile('seccomp', settings.seccomp)}")
    # A crash writes no dump of its memory, which may be large, into the workspace.
    ulimits = [{"Name": "core", "Soft": 0, "Hard": 0}]
    if settings.nofile:
        ulimits.append({"Name": "nofile", "Soft": settings.nofile, "Hard": settings.nofile})
    return {
        "CapDrop": ["ALL"],
        "SecurityOpt": security,
        "Ulimits": ulimits,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_SIZE, "max-file": "2"}},
        "Runtime": settings.runtime,
        "UsernsMode": settings.userns,
    }
