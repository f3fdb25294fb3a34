"""How our containers are named and labelled, and who they belong to."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping

import psutil  # type: ignore[import-untyped,unused-ignore]

from docker_kernel_server import __version__

PREFIX = "docker-kernel."
CLOCK_TOLERANCE_SECONDS = 2.0
"""A process start time is reckoned from the boot time, which moves a little when the clock is
set."""


def unique_name(kind: str = "kernel") -> str:
    """A new name: docker-kernel-1a2b3c4d, or with its kind in it for what isn't a kernel."""
    middle = "" if kind == "kernel" else f"{kind}-"
    return f"docker-kernel-{middle}{secrets.token_hex(4)}"


def labels(kind: str) -> dict[str, str]:
    """The labels of a container that this process makes."""
    process = psutil.Process()
    return {
        f"{PREFIX}kind": kind,
        f"{PREFIX}version": __version__,
        f"{PREFIX}owner.host": socket.gethostname(),
        f"{PREFIX}owner.pid": str(process.pid),
        f"{PREFIX}owner.start": f"{process.create_time():.2f}",
    }


def owner_lives(found: Mapping[str, str]) -> bool:
    """Whether the process that made a container of this machine still runs. True where it can't
    tell."""
    try:
        pid, start = int(found[f"{PREFIX}owner.pid"]), float(found[f"{PREFIX}owner.start"])
    except (KeyError, ValueError):
        return True
    try:
        # A number is given again to another process; the start time tells them apart.
        return bool(abs(psutil.Process(pid).create_time() - start) < CLOCK_TOLERANCE_SECONDS)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
