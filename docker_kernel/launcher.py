"""A kernel's start: its settings are read, and its container started, in a thread.

This module imports nothing slow, so that the container starts while ipykernel is imported: the
engine is at work then, and waits for nobody.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

from traitlets.config import Config

from .cancelling import Cancellation
from .config import Settings
from .errors import SettingError, StartCancelled
from .handover import HandoverFile, any_kept, kernel_name
from .reader import SettingsReader
from .sandbox import Sandbox
from .session import Session

if TYPE_CHECKING:
    from docker_kernel_server.messages import Event

    from .client import Client

T = TypeVar("T")

LOOK_SECONDS = 1.0
"""How long what is said of a kernel may wait for its settings to be read."""

AHEAD_SECONDS = 1.0
"""How long ipykernel's import waits for the engine to have its work, or a start that has no work
for an engine waits for that import; both take Python's lock."""

SETTLE_SECONDS = 1.0
"""How long an end waits for a container that was found to be taken over."""

_PYTHON = "python"
"""The key of a handover that is the session's version of Python."""

_ASKED = "asked."
"""How the keys of a handover begin that are settings."""

_ASKABLE = ("image",)
"""The settings that can be asked for while a kernel runs. A note has no other's say: code could
write one where the connection file lies in a folder that its container sees."""


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Run ``work`` in a thread that doesn't keep the process alive."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:  # noqa: BLE001  (whoever waits for the future gets it)
            future.set_exception(exc)

    threading.Thread(target=run, name=f"docker-kernel {name}", daemon=True).start()
    return future


class Launcher:
    """Makes the kernel's sandbox and session, and keeps the note for the process that comes after.

    `progress` is the latest line on how a start goes; `on_event` gets the events that belong to no
    request, `on_notice` what the person should know. Where the settings are wrong, every `client`
    reads them again and raises SettingError, so that a kernel lives until they are mended.
    """

    def __init__(self, argv: list[str]) -> None:
        self.progress = ""
        self.on_event: Callable[[Event], None] | None = None
        self.on_notice: Callable[[str], None] | None = None
        self.session: Session | None = None
        self.configured_image = ""
        """What the settings say, whatever was asked for since."""
        self._argv = argv
        self._asked: dict[str, str] = {}
        """Settings that the person has changed while the kernel runs, by name."""
        self._ended = False
        self._lock = threading.Lock()
        self._looked = threading.Event()
        self._waiting = threading.Event()
        """Whether the start waits for others."""
        self._serving = threading.Event()
        self._finds = False
        """Whether there is a container already, most likely."""
        self._stopping = threading.Lock()
        self._renewing = threading.Lock()
        self._next: Session | None = None
        """What is to take the session's place when it has started."""
        self._handover: HandoverFile | None = None
        self.opening = in_thread(self.client, "start")

    def open(self) -> Future[Client]:
        """The client in a while: joins a start that goes on, or begins one."""
        self.serve()
        if self.opening.done():
            self.progress = ""  # the last start's
            self.opening = in_thread(self.client, "start")
        return self.opening

    def wait_until_waiting(self) -> None:
        """Return when the start has given the engine its work, or was refused, or takes long."""
        self.opening.add_done_callback(lambda _: self._waiting.set())
        self._waiting.wait(AHEAD_SECONDS)

    def serve(self) -> None:
        """The kernel has answered, or has nothing to answer before it has a client."""
        self._serving.set()

    def look(self) -> Session | None:
        """The session as soon as the settings are read, which takes a moment; None where they are
        wrong. It may not be open yet."""
        self._looked.wait(LOOK_SECONDS)
        return self.session

    def client(self) -> Client:
        """The client, with the kernel's session open on it. Blocks; raises a DockerKernelError."""
        with self._lock:
            self._check_ended()
            try:
                session = self.session = self.session or self._make()
            finally:
                self._looked.set()
        if self._finds:
            # No engine has to work for it. So the kernel's own imports come first, and its first
            # answer, which frontends wait for; the rest goes on while they get ready.
            self._waiting.set()
            self._serving.wait(AHEAD_SECONDS)
        session.sandbox.client()
        self._waiting.set()
        client = session.client()
        self._leave_note(session)
        return client

    def renew(self, cancellation: Cancellation, **asked: str) -> None:
        """Start another sandbox, with other settings where some are ``asked`` for, and let it take
        the place of the one that is there, which ends. Where it doesn't start, nothing changes.

        Blocks; raises a DockerKernelError, CalledOff.
        """
        with self._renewing:
            asked = {**self._asked, **asked}
            with self._lock:
                self._check_ended()
                session = self._next = self._make(asked)
            try:
                with cancellation.waking(_stopper(session.sandbox)):
                    session.client()
                if cancellation.called:  # just now: the stop is under way
                    session.sandbox.stop()
                    cancellation.check()
            except StartCancelled:
                cancellation.check()
                raise
            finally:
                with self._lock:
                    self._next = None
            with self._lock:
                ended, before = self._ended, self.session
                if not ended:
                    self.session, self._asked = session, asked
            if ended:
                session.sandbox.stop()
                self._check_ended()
            self._leave_note(session)
            if before is not None:
                before.close()
                before.sandbox.stop()

    def stop(self, restart: bool = False) -> None:
        """End the container; or, for a restart, leave it to the next process where that can be.

        Whoever asks a second time waits for the first: the process must not end before.
        """
        with self._stopping:
            if self._finds:
                # What was found, and isn't ours yet, could be neither ended nor left.
                self.serve()
                wait([self.opening], SETTLE_SECONDS)
            with self._lock:
                ended, self._ended = self._ended, True
                session, following = self.session, self._next
            if following is not None:
                following.sandbox.stop()
            if ended or session is None:
                return
            if restart and session.sandbox.handover():
                session.sandbox.leave()
                return
            session.close()
            session.sandbox.stop()
            if self._handover is not None:
                self._handover.remove()

    def _check_ended(self) -> None:
        if self._ended:
            raise StartCancelled(why="the kernel is shutting down", remedy="restart the kernel")

    def _leave_note(self, session: Session) -> None:
        """Note the session's container for the process that comes after, where it is still ours."""
        with self._lock:
            note = session.sandbox.handover()
            if note and self._handover is not None and session is self.session:
                # Where it can't be left, a restart takes a new container: no reason to fail.
                with contextlib.suppress(OSError):
                    python = str(session.info.get("python", ""))
                    self._handover.write({**note, _PYTHON: python, **_prefixed(self._asked)})

    def _make(self, asked: dict[str, str] | None = None) -> Session:
        """A session in a sandbox that isn't started yet. The first one takes over what the process
        before has left; the others are ``asked`` for."""
        reader = SettingsReader()
        config = reader.read(self._argv)
        settings = Settings.load(config, reader.cli_config)
        self.configured_image = settings.image
        connection_file = str(
            config.IPKernelApp.get("connection_file") or f"kernel-{os.getpid()}.json"
        )
        self._handover = HandoverFile(connection_file)
        note = None
        if asked is not None:
            # As if it stood on the command line: what is pinned stays so.
            settings = Settings.load(config, _over(reader.cli_config, asked))
        else:
            note = self._handover.read()
            warm = settings.warm > 0 and settings.resolved_mode() == "docker"
            self._finds = bool(note) or (warm and any_kept())
            # What has been pinned since doesn't keep the kernel from starting.
            with contextlib.suppress(SettingError):
                asked = _without_prefix(note or {})
                settings = Settings.load(config, _over(reader.cli_config, asked))
                self._asked = asked

        def pass_on(event: Event) -> None:
            # The sandbox is there before the kernel that listens; and one that is ending must not
            # speak in the name of the one that has taken its place.
            current = self.session is None or self.session.sandbox is sandbox
            if current and self.on_event is not None:
                self.on_event(event)

        sandbox = Sandbox(settings, self._show, note, pass_on, self._tell)
        # Named after the connection file: a restarted kernel finds its own session, and two kernels
        # that are attached to one server have two.
        python = (note or {}).get(_PYTHON, "")
        return Session(sandbox, kernel_name(connection_file), fresh=True, python=python)

    def _tell(self, text: str) -> None:
        if self.on_notice is not None:
            self.on_notice(text)

    def _show(self, text: str) -> None:
        self.progress = text
        self._waiting.set()


def _stopper(sandbox: Sandbox) -> Callable[[], None]:
    """Stops it in a thread: who interrupts a start doesn't wait for the end of what has begun."""

    def stop() -> None:
        in_thread(sandbox.stop, "call off")

    return stop


def _over(config: Config, asked: dict[str, str]) -> Config:
    merged = Config(config)
    merged.merge(Config({"Settings": {**config.get("Settings", {}), **asked}}))
    return merged


def _prefixed(asked: dict[str, str]) -> dict[str, str]:
    return {f"{_ASKED}{name}": value for name, value in asked.items()}


def _without_prefix(note: dict[str, str]) -> dict[str, str]:
    names = {name: f"{_ASKED}{name}" for name in _ASKABLE}
    return {bare: note[name] for bare, name in names.items() if name in note}
