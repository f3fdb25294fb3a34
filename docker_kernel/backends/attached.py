"""A server that runs already, by host and port: it is used, and never stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..config import Settings
from ..deadline import Deadline
from ..errors import SettingError
from . import Endpoint, Progress

MAX_SECRET_BYTES = 4096


class AttachedBackend:
    """The server at the settings' host and port."""

    def __init__(self, settings: Settings) -> None:
        self._secret_file = settings.secret_file
        self._endpoint = Endpoint(*settings.server_address(), secret=None, ours=False)
        self.notices: list[str] = []

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Read the secret. Raises SettingError."""
        progress(f"connecting to the server at {self._endpoint}")
        return replace(self._endpoint, secret=read_secret(self._secret_file))

    def stop(self) -> None:
        """Nothing: whoever started the server ends it."""

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
