"""What of this machine gives all of it away, where a container sees it.

The whole disk, a home folder with its keys, the engine's socket, which is as good as root, and
/proc, by which the files of every process of the same user can be reached.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from ..places import lies_in, same_place

_SOCKETS = (
    "/run/docker.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
)
_OF_USERS = "/run/user"
"""The system keeps a folder for each user there."""

_OWN_SOCKETS = ("docker.sock", "docker/containerd/containerd.sock", "podman/podman.sock")
_HOME_SOCKETS = (
    ".docker/run/docker.sock",
    ".docker/desktop/docker.sock",
    ".colima/default/docker.sock",
    ".orbstack/run/docker.sock",
    ".rd/docker.sock",
)
_HOMES = ("/home", "/var/home", "/Users")
"""Where the homes of others are, which root may mount."""


def danger(path: Path, homes: list[Path], sockets: list[Path]) -> str:
    """Why `path` must not be mounted, "" where it may be. All paths are absolute and resolved.

    `homes` are the home folders of the caller and of the path's owner; `sockets` those of engines.
    """
    if same_place(Path(path.anchor), path):
        return "it is the whole file system"
    for home in homes:
        # A home that is / belongs to a system user without one.
        if home != Path(home.anchor) and same_place(home, path):
            return "it is a home folder"
        if home != Path(home.anchor) and lies_in(home, path):
            return f"it holds the home folder {home}"
    if any(lies_in(place, path) for place in map(Path, _HOMES) if _exists(place)):
        return "it holds home folders"
    for socket in sockets:
        if lies_in(socket, path):
            what = "it is" if same_place(socket, path) else "it holds"
            return f"{what} the socket of a container engine, which is as good as root"
    if path == Path("/proc") or Path("/proc") in path.parents:
        return "by way of it, all files of this machine can be reached"
    return ""


def homes_near(path: Path) -> list[Path]:
    """The home folders of the caller and of the owner of `path`, resolved."""
    homes = []
    with suppress(RuntimeError):  # no HOME, and no entry for the user
        homes.append(Path.home())
    if sys.platform != "win32":
        import pwd

        for uid in {os.getuid(), path.stat().st_uid}:
            try:
                homes.append(Path(pwd.getpwuid(uid).pw_dir))
            except KeyError:
                continue
    return [home.resolve() for home in homes]


def sockets_near(known: list[Path]) -> list[Path]:
    """The sockets of engines on this machine: those that are known, and where others have theirs;
    resolved."""
    found = [Path(name) for name in _SOCKETS]
    with suppress(OSError):  # there is none
        found += [Path(user, name) for user in os.scandir(_OF_USERS) for name in _OWN_SOCKETS]
    with suppress(RuntimeError):  # no HOME, and no entry for the user
        found += [Path.home() / name for name in _HOME_SOCKETS]
    return [*known, *(path.resolve() for path in found if _exists(path))]


def _exists(path: Path) -> bool:
    with suppress(OSError):  # a folder that we may not even look into
        return path.exists()
    return False
