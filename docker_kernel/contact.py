"""The client that the tools use: it names a server, and reaches it when it is first needed."""

from __future__ import annotations

import atexit
import contextlib
import logging
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from traitlets.config import Config

from docker_kernel_server.messages import Status

from . import commands
from .client import Client
from .commands import Command, Done, OnText
from .config import Settings
from .errors import DockerKernelError, OlderServer, ServerNotThere, SettingError, StartCancelled
from .gate import Gate
from .raw import RawClient
from .reader import SettingsReader
from .replies import server_status
from .sandbox import Sandbox

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("docker_kernel.tools")


class NotConnected(Exception):
    """No container could be reached at `host` and `port`; the cause says why."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"no container at {host}:{port}")
        self.host = host
        self.port = port


class Place(NamedTuple):
    """Where commands run: the sessions' Python as a word of the shell, and the work folder."""

    python: str
    folder: str


class ContainerClient:
    """Where the tools run: a server that runs already, or a container of its own.

    Nothing happens before the first use. A container of its own is removed by `close`, at the end
    of a ``with`` block, and at the end of the program. Any number of threads may use one client.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.closed = False
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None
        self._older: RawClient | None = None
        self._told: list[str] = []
        self._gate = Gate(settings, log.warning)

    @property
    def host(self) -> str:
        """The server's host; what the settings say where none was reached yet."""
        return self._address()[0]

    @property
    def port(self) -> int:
        """The server's port; what the settings say where none was reached yet."""
        return self._address()[1]

    def run(self, command: Command, on_text: OnText | None = None) -> Done:
        """Run a shell command and wait for its end. Raises NotConnected.

        Each command has a connection of its own: one whose callback is slow slows no other.
        """
        with self._reaching():
            server = self._reach()
            link = server if isinstance(server, RawClient) else server.connection()
        if isinstance(link, Client):
            with closing(link):
                return commands.run(link, command, on_text)
        try:
            return link.run(command, on_text)
        except ServerNotThere as exc:
            raise NotConnected(self.host, self.port) from exc

    def check_command(self, text: str) -> None:
        """Verify a person's command, where settings ask for it. Raises CodeRefused."""
        self._gate.check_command(text)

    def check_python(self, read: Callable[[], str | None]) -> None:
        """As `check_command`, for code, which ``read`` gives. Raises CodeRefused."""
        self._gate.check_python(read)

    def place(self) -> Place:
        """Where commands run. Raises NotConnected."""
        with self._reaching():
            server = self._reach()
            if isinstance(server, RawClient):
                return Place(server.python, server.workplace)
            client = server.client()
            answer = client.ask(Status(client.new_id()), self.settings.start_timeout)
            about = server_status(answer)
            return Place(shlex.quote(about["executable"]), about["workplace"])

    def close(self) -> None:
        """End the connections, and remove the container where it is our own. Within 3 s."""
        with self._lock:
            self.closed = True
            sandbox, self._sandbox = self._sandbox, None
        atexit.unregister(self.close)
        if sandbox is not None:
            sandbox.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _address(self) -> tuple[str, int]:
        endpoint = self._sandbox.endpoint if self._sandbox is not None else None
        return (endpoint.host, endpoint.port) if endpoint else self.settings.server_address()

    def _reach(self) -> Sandbox | RawClient:
        """The server, started and reached where it wasn't yet. Raises a DockerKernelError."""
        with self._lock:
            if self.closed:
                raise StartCancelled(
                    "the client was closed", "", "make another one: create_docker_client()"
                )
            if self._older is not None:
                return self._older
            if self._sandbox is None:
                self._sandbox = Sandbox(
                    self.settings, log.info, on_notice=log.warning, gate=self._gate
                )
                atexit.register(self.close)
            sandbox = self._sandbox
        try:
            sandbox.client()
        except OlderServer as exc:
            if self.settings.tls:  # it is asked for, and raw commands go without
                raise
            log.info("%s", exc)
            host, port = self.settings.server_address()
            self._older = RawClient(host, port, self.settings.start_timeout, self._gate)
            return self._older
        self._tell(sandbox.notices)
        return sandbox

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (DockerKernelError, TimeoutError) as exc:
            raise NotConnected(self.host, self.port) from exc

    def _tell(self, notices: list[str]) -> None:
        """What the person must know (no folder is mounted, there is no container), once."""
        with self._lock:
            new = [notice for notice in notices if notice not in self._told]
            self._told += new
        for notice in new:
            log.warning("%s", notice)


_client: ContainerClient | None = None
_choosing = threading.Lock()


def create_docker_client(
    host: str | None = None, port: int | None = None, timeout: float | None = None, **settings: Any
) -> ContainerClient:
    """A client for a server, or for a container of its own. Connects when it is first used.

    ``host`` and ``port`` name a server that runs already; so do DOCKER_HOST (a bare name) and
    DOCKER_PORT in the environment. Where nobody names one, a container is started.

    Args:
        host: The server's host.
        port: The server's port; 8000 where only the host is given.
        timeout: Seconds that the start and the connecting may take.
        settings: Any other setting by its name: image, memory, network, workspace, secret_file …

    Raises:
        SettingError: A setting has a value that can't work.
    """
    given = {"host": host, "port": port, "start_timeout": timeout}
    chosen = {name: value for name, value in given.items() if value is not None}
    if "host" in chosen or "port" in chosen:
        chosen["mode"] = "attached"
    chosen.update(settings)
    known = Settings.class_trait_names(config=True)
    for name in chosen:
        if name not in known:
            near = get_close_matches(name, known, 1) or [", ".join(known)]
            raise SettingError(f"there is no setting {name!r}", "", f"did you mean {near[0]}?")
    reader = SettingsReader()
    return ContainerClient(Settings.load(reader.read([]), Config({"Settings": chosen})))


def set_docker_client(client: ContainerClient | None) -> None:
    """Let all functions use this client from now on; None for one with default settings.

    Whoever made a client closes it; see `ContainerClient.close`.
    """
    global _client
    with _choosing:
        _client = client


def get_docker_client() -> ContainerClient:
    """The client that all functions use: the one that was set, else one with default settings.

    A client that was closed doesn't count. Raises SettingError.
    """
    global _client
    with _choosing:
        if _client is None or _client.closed:
            _client = create_docker_client()
        return _client
