"""The errors of a start that the settings can mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..config import Settings
from ..errors import EngineRefused, StartError


@contextmanager
def remedies(settings: Settings) -> Iterator[None]:
    """Give a remedy to what the engine refuses."""
    try:
        yield
    except EngineRefused as exc:
        raise _explained(exc, settings) from exc


def _explained(error: EngineRefused, settings: Settings) -> EngineRefused:
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
    return EngineRefused(error.what, error.why, remedy, status=error.status)


def ended_early(image: str, why: str) -> StartError:
    """The server's end before anybody could use it; `why` is what is known of it."""
    return StartError(
        f"the server in a container of {image} ended right after its start",
        why,
        "if memory is the cause, raise DOCKER_KERNEL_MEMORY; else try another image",
    )
