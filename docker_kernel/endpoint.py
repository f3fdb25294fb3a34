"""Where a server is, and how it is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .sockets import SocketStream


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
