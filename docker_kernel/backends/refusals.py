"""The errors of a start that the settings can mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..config import Settings
from ..errors import EngineRefused, StartError
from . import gpus

NO_DISK_SIZE = (
    "unset DOCKER_KERNEL_DISK_SIZE, and bound what can be written in another way: "
    "DOCKER_KERNEL_READ_ONLY=true with DOCKER_KERNEL_TMP_SIZE=1g. With Docker's storage overlay2, "
    "a size needs an engine whose data folder is on xfs, mounted with the option pquota"
)

_ABOUT_GPUS = ("device driver", "gpu", "nvidia", "cdi")
_ABOUT_QUOTA = ("storage-opt", "storage opt", "quota")


@contextmanager
def remedies(settings: Settings, runtimes: Callable[[], list[str]]) -> Iterator[None]:
    """Give a remedy to what the engine refuses. `runtimes` asks it for those that it knows."""
    try:
        yield
    except EngineRefused as exc:
        raise _explained(exc, settings, runtimes) from exc


def _explained(
    error: EngineRefused, settings: Settings, runtimes: Callable[[], list[str]]
) -> EngineRefused:
    """The engine's refusal with a remedy, where the cause is a setting."""
    words = error.why.lower()
    remedy = "see the engine's own log, or try: docker run --rm hello-world"
    if "bind source path" in words or "mounts denied" in words or "not shared" in words:
        remedy = (
            "share the workspace folder with Docker (Docker Desktop: Settings > Resources > File "
            "sharing), or go without it: DOCKER_KERNEL_MOUNT_WORKSPACE=false"
        )
    elif "network" in words and settings.network != "bridge":
        remedy = "choose one of: docker network ls; or DOCKER_KERNEL_NETWORK=bridge"
    elif "cpus" in words:
        remedy = "set DOCKER_KERNEL_CPUS to what the machine has, or to 0 for no limit"
    elif "no such image" in words:
        remedy = "it was removed meanwhile; try again"
    elif "user" in words:
        remedy = "set DOCKER_KERNEL_USER to numbers, UID:GID"
    remedy = _of_the_fence(words, settings, runtimes) or remedy
    return EngineRefused(error.what, error.why, remedy, status=error.status)


def _of_the_fence(words: str, settings: Settings, runtimes: Callable[[], list[str]]) -> str:
    """The remedy where the cause is one of the settings of hardening.py, else ""."""
    if settings.runtime and ("runtime" in words or settings.runtime.lower() in words):
        known = ", ".join(runtimes()) or "none that it tells of"
        return (
            f"the engine knows these: {known}; choose one (DOCKER_KERNEL_RUNTIME), or install "
            f"{settings.runtime} and name it in the engine's daemon.json"
        )
    if settings.gpus and any(word in words for word in _ABOUT_GPUS):
        return gpus.REMEDY
    if settings.disk_size and "quota exceeded" in words:
        return "set DOCKER_KERNEL_DISK_SIZE to a larger size: here the image itself counts, too"
    if settings.disk_size and any(word in words for word in _ABOUT_QUOTA):
        return NO_DISK_SIZE
    if settings.seccomp and "seccomp" in words:
        return f"correct the profile {settings.seccomp}, or unset DOCKER_KERNEL_SECCOMP"
    if "rlimit" in words:
        return (
            "the engine itself may not have so many files open: set DOCKER_KERNEL_NOFILE lower, "
            "or to 0 for as many as it gives"
        )
    return ""


def ended_early(image: str, why: str) -> StartError:
    """The server's end before anybody could use it; `why` is what is known of it."""
    return StartError(
        f"the server in a container of {image} ended right after its start",
        why,
        "if memory is the cause, raise DOCKER_KERNEL_MEMORY; else try another image",
    )
