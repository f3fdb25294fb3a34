"""A server that runs already, by host and port: it is used, and never stopped."""

from __future__ import annotations

import socket
from pathlib import Path

from ..config import Settings
from ..deadline import Deadline
from ..errors import ServerNotThere, SettingError
from . import Endpoint, Progress

CONNECT_SECONDS = 10.0
MAX_SECRET_BYTES = 4096


class AttachedBackend:
    """The server at the settings' host and port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.notices: list[str] = []

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Read the secret and see that something listens. Raises SettingError, ServerNotThere."""
        host, port = self._settings.server_address()
        secret = read_secret(self._settings.secret_file)
        with deadline.step(f"reaching {host}:{port}"):
            knock(host, port, min(deadline.remaining(), CONNECT_SECONDS))
        return Endpoint(host, port, secret)

    def stop(self) -> None:
        """Nothing: whoever started the server ends it."""

    def describe(self) -> str:
        """One line for the banner."""
        host, port = self._settings.server_address()
        return f"attached to the server at {host}:{port}"

    def postmortem(self) -> str:
        """What can be known from here: whether something still listens."""
        host, port = self._settings.server_address()
        try:
            knock(host, port, 2.0)
        except ServerNotThere as exc:
            return exc.what + ": " + exc.why
        return ""

    def handover(self) -> dict[str, str] | None:
        """None: another process attaches as this one did."""
        return None


def knock(host: str, port: int, seconds: float) -> None:
    """Raise ServerNotThere unless something accepts a connection there within `seconds`."""
    try:
        socket.create_connection((host, port), timeout=max(seconds, 0.1)).close()
    except OSError as exc:
        reason = "it did not answer" if isinstance(exc, TimeoutError) else str(exc.strerror or exc)
        raise ServerNotThere(
            f"no server at {host}:{port}",
            reason,
            "start one there (docker compose -f container/compose.yaml up), or set "
            "DOCKER_KERNEL_HOST and DOCKER_KERNEL_PORT to where it is; "
            "with DOCKER_KERNEL_MODE=docker you get a new one",
        ) from exc


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
    secret = text.split(b"\n", 1)[0].strip()
    if not secret:
        raise SettingError(
            f"the secret file {path} has no secret", "its first line is empty", remedy
        )
    return secret
