"""A server that runs already, by host and port: it is used, and never stopped."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

from docker_kernel_server.handshake import Secret

from ..config import Settings
from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import SettingError
from . import Progress

MAX_SECRET_BYTES = 4096


class AttachedBackend:
    """The server at the settings' host and port."""

    def __init__(self, settings: Settings) -> None:
        self._secret_file = settings.secret_file
        host, port = settings.server_address()
        self._endpoint = Endpoint(host, port, secret=None, tls=settings.tls, ours=False)
        self.notices: list[str] = []
        if not settings.tls and not is_this_machine(host):
            self.notices.append(
                f"The connection to {host} is not encrypted: who is on the way can read and change "
                "what runs. Start the server with --tls-cert and --tls-key, and set "
                "DOCKER_KERNEL_TLS to the fingerprint that it prints."
            )

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Read the secret. Raises SettingError."""
        progress(f"connecting to the server at {self._endpoint}")
        return replace(self._endpoint, secret=read_secret(self._secret_file))

    def stop(self) -> None:
        """Nothing: whoever started the server ends it."""

    def leave(self) -> None:
        """Nothing."""

    def describe(self) -> str:
        """One line for the banner."""
        return f"attached to the server at {self._endpoint}"

    def postmortem(self) -> str:
        """Nothing: from here, a server that has ended looks as one that can't be reached now."""
        return ""

    def trouble(self) -> str:
        """Nothing is known."""
        return ""

    def log(self) -> str:
        """Nothing: somebody else has this server's log."""
        return ""

    def handover(self) -> dict[str, str] | None:
        """None: another process attaches as this one did."""
        return None


def is_this_machine(host: str) -> bool:
    """Whether what is sent to this host stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def read_secret(path: str) -> bytes | None:
    """The first line of the file, None where `path` is empty. Raises SettingError."""
    if not path:
        return None
    remedy = "set DOCKER_KERNEL_SECRET_FILE to the file with the server's secret"
    try:
        with Path(path).expanduser().open("rb") as file:
            text = file.read(MAX_SECRET_BYTES)
    except OSError as exc:
        raise SettingError(
            f"the secret file {path} can't be read", str(exc.strerror), remedy
        ) from exc
    secret = Secret(text.split(b"\n", 1)[0].strip())
    if not secret:
        raise SettingError(
            f"the secret file {path} has no secret", "its first line is empty", remedy
        )
    return secret
