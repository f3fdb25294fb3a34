"""One Python session in a sandbox, opened when it is needed and again when it was lost."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

from docker_kernel_server import messages as wire

from .deadline import more_time
from .errors import ConnectionLost, RequestRefused, StartError, StartTimeout
from .replies import MAX_NOTES, session_info
from .sandbox import Sandbox
from .texts import plain

if TYPE_CHECKING:
    from .client import Client

CLOSE_SECONDS = 1.0
"""How long the end of a session may take; the server goes on with it alone after that."""


VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){2}[a-z0-9+]{0,8}")
"""A version of Python; a note may have been written by another's code."""


class Session:
    """A named session. ``fresh``: variables that another process left under this name are dropped.
    ``python`` is the version that it had there, "" for none.

    `info` is what the server said when it was opened: shell, python, ipython, pid, execution_count.
    """

    def __init__(self, sandbox: Sandbox, name: str, fresh: bool = False, python: str = "") -> None:
        self.sandbox = sandbox
        self.name = name
        self.info: dict[str, Any] = {}
        self._python = python if VERSION.fullmatch(python) else ""
        self._fresh = fresh
        self._opening = threading.Lock()
        self._open_on: Client | None = None
        self._notes: list[str] = []

    @property
    def ready(self) -> Client | None:
        """The client where the session is open on it, else None. Never waits."""
        client = self.sandbox.connected
        return client if client is not None and client is self._open_on else None

    @property
    def python(self) -> str:
        """The version of its Python, "" where that isn't known yet."""
        return str(self.info.get("python") or self._python)

    def client(self) -> Client:
        """The client, with the session open on it. Blocks; raises a DockerKernelError."""
        with self._opening:
            client = self.sandbox.client()
            if client is not self._open_on:
                self._open(client)
            return client

    def restart(self) -> None:
        """A fresh session in the same server: variables go, files and packages stay. Blocks; raises
        a DockerKernelError."""
        client = self.client()
        self.info = self._ask(client, wire.RestartSession(client.new_id(), self.name))

    def forget(self, note: str = "") -> None:
        """The session's process is gone: open it anew before the next request."""
        self._open_on = None
        if note and len(self._notes) < MAX_NOTES:
            self._notes.append(plain(note))

    def take_notes(self) -> list[str]:
        """What the person should be told since the last call, each once."""
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        """End the session where it is open."""
        client = self.ready
        self._open_on = None
        if client is not None:
            # It is gone already, or the end of the server takes it along.
            with contextlib.suppress(ConnectionLost, RequestRefused, TimeoutError):
                client.ask(wire.CloseSession(client.new_id(), self.name), CLOSE_SECONDS)

    def _open(self, client: Client) -> None:
        first = not self.info
        info = self._ask(client, wire.OpenSession(client.new_id(), self.name))
        if first and self._fresh and not info.get("new", True):
            info = self._ask(client, wire.RestartSession(client.new_id(), self.name))
        elif not first and info.get("new") and not self._notes:
            self._notes.append("The session is a new one: variables were reset.")
        self._notes += info["notes"]
        self.info = info
        self._open_on = client

    def _ask(self, client: Client, request: wire.Request) -> dict[str, Any]:
        seconds = self.sandbox.settings.start_timeout
        try:
            return session_info(client.ask(request, seconds))
        except RequestRefused as exc:
            raise StartError("the session did not open", exc.why, "run it again") from exc
        except TimeoutError as exc:
            raise StartTimeout(
                f"the session did not open in {seconds:g} s",
                "the server answers, but its Python doesn't start",
                more_time(seconds),
            ) from exc
