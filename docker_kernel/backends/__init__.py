"""Where a server comes from: a new container, this machine, or one that runs already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..config import Settings
from ..deadline import Deadline

if TYPE_CHECKING:
    from ..transport import SocketStream


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, and the secret that both sides know (None: it has none)."""

    host: str
    port: int
    secret: bytes | None = field(repr=False)
    ours: bool = True
    """Whether it was started for this kernel: then it will answer, if it doesn't yet."""
    tls: str = ""
    """Whom to trust, where the server speaks TLS; see the setting of this name."""

    dial: Callable[[float], SocketStream] | None = field(default=None, repr=False, compare=False)
    """Connects, within so many seconds, where there is no port to connect to; `host` and `port`
    are for people then. Raises ServerNotThere, OSError."""
    container: str = field(default="", compare=False)
    """The name of the container that it's in, where that is known."""

    def describe(self) -> dict[str, str]:
        """Where it is, for a log."""
        found = {"server": str(self)}
        return {**found, "container": self.container} if self.container else found

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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


def make_backend(settings: Settings, handover: Mapping[str, str] | None = None) -> Backend:
    """The backend for `settings`. With a `handover`, `start` takes that server over if it still
    runs."""
    mode = settings.resolved_mode()
    # Each module is imported where it is needed: the Docker SDK alone takes 0.2 s.
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
