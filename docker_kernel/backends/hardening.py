"""What each container of ours is kept in by, whatever it is for: as arguments for the engine."""

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
    """For `create_host_config`. Raises SettingError where the seccomp profile is gone."""
    security = ["no-new-privileges"]
    if settings.seccomp:
        security.append(f"seccomp={read_profile('seccomp', settings.seccomp)}")
    # A crash writes no dump of its memory, which may be large, into the workspace.
    ulimits = [{"name": "core", "soft": 0, "hard": 0}]
    if settings.nofile:
        ulimits.append({"name": "nofile", "soft": settings.nofile, "hard": settings.nofile})
    return {
        "cap_drop": ["ALL"],
        "security_opt": security,
        "ulimits": ulimits,
        "log_config": {"type": "json-file", "config": {"max-size": LOG_SIZE, "max-file": "2"}},
        "runtime": settings.runtime or None,
        "userns_mode": settings.userns or None,
    }
