"""Which files and folders of this machine a container may see, and how they are mounted."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from .. import runtime
from ..checks import parse_mount
from ..config import Settings
from ..errors import SettingError
from .address import Address
from .dangers import danger, homes_near, sockets_near
from .guarded import guards, own_places, why_not_guarded

WORKPLACE = "/workspace"
"""Where the container sees the workspace folder."""

ALL_THE_SAME = (
    "to have it mounted all the same: --allow-dangerous-mount, or "
    "DOCKER_KERNEL_ALLOW_DANGEROUS_MOUNT=true"
)

_TAKEN = (runtime.TARGET, "/proc", "/sys", "/dev")


def why_not_mounted(
    path: Path, settings: Settings, sockets: list[Path], read_only: bool = False
) -> str:
    """Why `path`, which is resolved, isn't mounted; "" where it is. `sockets` are engines'."""
    if settings.allow_dangerous_mount:
        return ""
    if why := danger(path, homes_near(path), sockets_near(sockets)):
        return why
    return "" if read_only else why_not_guarded(path, own_places())


def further_mounts(
    settings: Settings, sockets: list[Path], engine: Address
) -> list[dict[str, Any]]:
    """What the setting `mounts` names, as the engine takes it. Raises SettingError."""
    if settings.mounts and engine.remote:
        raise SettingError(
            f"{settings.mounts[0]} can't be mounted",
            f"the Docker engine at {engine.url} is on another machine, and sees no file of this",
            "unset mounts (DOCKER_KERNEL_MOUNTS); copy what you need with %docker put",
        )
    found = []
    for text in settings.mounts:
        name, target, read_only = parse_mount("mounts", text)
        inside = PurePosixPath(target)
        if target in ("/", WORKPLACE) or any(inside.is_relative_to(place) for place in _TAKEN):
            raise SettingError(
                f"{text} can't be mounted",
                f"{target} in the container is for what this kernel and the engine put there",
                "name another place there; for /workspace itself, set DOCKER_KERNEL_WORKSPACE",
            )
        try:
            path = Path(name).expanduser().resolve(strict=True)
            why = why_not_mounted(path, settings, sockets, read_only)
        except (OSError, RuntimeError) as exc:
            raise SettingError(
                f"{text} can't be mounted",
                getattr(exc, "strerror", None) or str(exc),
                "name a file or a folder of this machine first: DOCKER_KERNEL_MOUNTS=/data:/data",
            ) from exc
        if why:
            raise SettingError(
                f"{path} is not mounted", why, f"name a folder of its own; {ALL_THE_SAME}"
            )
        found += bind(path, target, read_only)
    return found


def bind(path: Path, target: str, read_only: bool = False) -> list[dict[str, Any]]:
    """The mount of `path`, and over it those that guard what this kernel imports."""
    mount = {"Type": "bind", "Source": str(path), "Target": target, "ReadOnly": read_only}
    return [mount, *([] if read_only else guards(path, target, own_places()))]
