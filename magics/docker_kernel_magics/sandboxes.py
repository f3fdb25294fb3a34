"""The containers behind a shell's magics: one for each image that was asked for, or a server."""

from __future__ import annotations

import atexit
import os
import secrets
import threading

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.reader import SettingsReader
from docker_kernel.sandbox import Sandbox
from docker_kernel.session import Session
from docker_kernel_server import messages as wire

from .remote import RemoteSession
from .show import say

MAIN = "main"
"""The session of cells that name none."""


class Place:
    """A sandbox, and the sessions in it that this shell uses. Nothing is started before its use."""

    def __init__(self, shell: InteractiveShell, settings: Settings) -> None:
        self.settings = settings
        self.attached = settings.resolved_mode() == "attached"
        self.sessions: dict[str, RemoteSession] = {}
        self.sandbox = Sandbox(settings, say, on_event=self._on_event, on_notice=say)
        self._shell = shell
        # On a server that others use as well, the main session is still this shell's own.
        self._main = f"{MAIN}-{secrets.token_hex(4)}" if self.attached else MAIN

    def session(self, name: str) -> RemoteSession:
        """The session of this name; `MAIN` is the one of cells that name none."""
        if name not in self.sessions:
            real = self._main if name == MAIN else name
            self.sessions[name] = RemoteSession(self._shell, Session(self.sandbox, real))
        return self.sessions[name]

    def client(self) -> Client:
        """The client, connected. Starts a container where there is none, with a line or two of
        progress. Raises a DockerKernelError."""
        fresh = self.sandbox.connected is None
        client = self.sandbox.client()
        if fresh:
            for text in self.sandbox.notices:
                say(text)
        return client

    def close(self) -> None:
        """End the sessions, and the container where it is ours."""
        for session in self.sessions.values():
            session.close()
            if self.attached:
                session.session.close()
        self.sandbox.stop()

    def _on_event(self, event: wire.Event) -> None:
        # What belongs to no request that is known any more; only a death says whose it is.
        for session in self.sessions.values():
            if not isinstance(event, wire.SessionDied) or event.session == session.session.name:
                session.take(event)
                return


class Sandboxes:
    """Owns what a shell's magics start: it ends with `close`, or with the process.

    What the shell's config says of Settings counts as a config file's.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._places: dict[str, Place] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        atexit.register(self.close)

    def place(self, image: str = "") -> Place:
        """The place of cells that ask for this image; "" is the default one."""
        with self._lock:
            if image not in self._places:
                self._places[image] = self._make({"image": image} if image else {})
            return self._places[image]

    @property
    def places(self) -> dict[str, Place]:
        """What there is so far, by the image that was asked for."""
        return dict(self._places)

    def connect(self, given: dict[str, object]) -> Place:
        """Let cells that ask for no image use the running server, or the running container, that
        these settings name. Raises a DockerKernelError."""
        place = self._make({"mode": "attached", **given})
        place.client()
        self.stop("")
        with self._lock:
            self._places[""] = place
        return place

    def stop(self, image: str) -> bool:
        """End a place; the next cell that asks for it gets a fresh one. False: there is none."""
        with self._lock:
            place = self._places.pop(image, None)
        if place is not None:
            place.close()
        return place is not None

    def close(self) -> None:
        """End every place. In a fork of this process it does nothing: they are its parent's."""
        if os.getpid() != self._pid:
            return
        for image in self.places:
            self.stop(image)
        atexit.unregister(self.close)

    def _make(self, given: dict[str, object]) -> Place:
        config = SettingsReader().read([])
        config.merge(Config({"Settings": self._shell.config.get("Settings", {})}))
        return Place(self._shell, Settings.load(config, Config({"Settings": given})))
