"""Where a server comes from: a new container, this machine, or one that runs already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ..config import Settings
from ..deadline import Deadline
from ..endpoint import Endpoint

Progress = Callable[[str], None]
"""Takes one line on how the start goes, never an empty one."""


class Backend(Protocol):
    """Starts one server, and ends it.

    `notices` is what the person must be told, one sentence or two each: no folder is mounted and
    why, there is no container. It is complete once `start` has returned.
    """

    notices: list[str]

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Start a server and wait until it listens. Blocks; raises a DockerKernelError.

        Where it fails, nothing is left behind.
        """

    def stop(self) -> None:
        """End what `start` started, within 3 s. A second call does nothing; never raises."""

    def describe(self) -> str:
        """One line for the banner: the image, its limits, the workspace."""

    def postmortem(self) -> str:
        """Why the server is gone (exit status, out of memory, its last log lines), "" if it
        lives."""

    def trouble(self) -> str:
        """Why a server that lives doesn't answer, and what to type; "" where nothing is known."""

    def log(self) -> str:
        """The last lines that the server has printed, as far as we see them."""

    def handover(self) -> dict[str, str] | None:
        """What another process of the same kernel needs to take over the running server.

        It holds the secret. None where the server can't be taken over.
        """

    def leave(self) -> None:
        """Let go of the server, and let it run on for who has the `handover`; where there is none,
        as `stop`."""


def describe(settings: Settings) -> str:
    """What a container of these settings is like, in one line: image, limits, network."""
    limits = [f"{settings.memory} of memory", f"{settings.pids} processes"]
    if settings.cpus:
        limits.append(f"{settings.cpus:g} CPUs")
    if settings.gpus:
        limits.append(f"GPUs: {settings.gpus}")
    return ", ".join([settings.image_name(), *limits, f"network {settings.network}"])


def make_backend(settings: Settings, handover: Mapping[str, str] | None = None) -> Backend:
    """The backend for `settings`. With a `handover`, `start` takes that server over if it still
    runs."""
    mode = settings.resolved_mode()
    # Each is slow to import.
    if mode == "attached":
        if settings.container:
            from .joined import JoinedBackend

            return JoinedBackend(settings)
        from .attached import AttachedBackend

        return AttachedBackend(settings)
    if mode == "local":
        from .local import LocalBackend

        return LocalBackend(settings)
    if settings.mode == "auto":
        from .auto import AutoBackend

        return AutoBackend(settings, handover)
    from .container import DockerBackend

    return DockerBackend(settings, handover)
