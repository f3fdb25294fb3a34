"""A sandbox: a backend's server and the client that talks to it. No Jupyter in here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .backends import Backend, Progress, describe, make_backend
from .config import Settings
from .deadline import Deadline
from .endpoint import Endpoint
from .errors import ConnectionLost, DockerKernelError, ServerNotThere, StartCancelled, StartError
from .gate import Gate

if TYPE_CHECKING:
    from docker_kernel_server.messages import Event

    from .client import Client

RETURN_SECONDS = 3.0
"""How long a new request waits for a connection that is away; those that were sent wait on."""

LAST_LINES = 3
"""How many of the server's last lines an error has, where the start was too slow."""


class Sandbox:
    """Starts the server when its client is first asked for, and again when it was lost.

    ``progress`` gets a line now and then while a start takes its time. ``on_event`` gets the events
    of sessions that belong to no request of this process, and ``on_notice`` what the person should
    know while the connection is away. ``gate`` is what requests pass; it makes its own where there
    is none.
    """

    def __init__(
        self,
        settings: Settings,
        progress: Progress = lambda _text: None,
        handover: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_notice: Callable[[str], None] = lambda _text: None,
        gate: Gate | None = None,
    ) -> None:
        self.settings = settings
        self.on_event = on_event
        self._on_notice = on_notice
        self.gate = gate or Gate(settings, on_notice)
        self._progress = progress
        self._stopped = False
        self._handover = handover
        self._made: Backend | None = None
        self._making = threading.Lock()
        if settings.resolved_mode() != "docker" or settings.mode == "auto":
            self._backend()  # quick; and what is wrong with an address shows here
        self._starting = threading.Lock()
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None

    def _backend(self) -> Backend:
        """Made when it is needed: what knows of engines is slow to import."""
        with self._making:
            if self._made is None:
                if self._stopped:
                    raise StartCancelled
                self._made = make_backend(self.settings, self._handover)
            return self._made

    @property
    def connected(self) -> Client | None:
        """The client where it can be used as it is, else None. Never waits."""
        client = self._client
        return client if client is not None and client.connected else None

    @property
    def away(self) -> Client | None:
        """The client where its connection is lost and may come back, else None."""
        client = self._client
        return client if client is not None and not (client.connected or client.lost) else None

    def client(self) -> Client:
        """The client, connected. Starts or reconnects where needed, one thread at a time.

        Raises a DockerKernelError.
        """
        ready = self.connected
        if ready is not None:
            return ready
        with self._starting:
            ready = self.connected
            if ready is None:
                if self._stopped:
                    raise StartCancelled
                if (away := self.away) is not None:
                    away.wait_until_back(RETURN_SECONDS)
                    if not away.lost:
                        return away
                deadline = Deadline(self.settings.start_timeout)
                ready = self._reconnect(deadline) or self._start(deadline)
                self._client = ready
        if self._stopped:
            self.stop()
            raise StartCancelled
        return ready

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the server listens; None before its start."""
        return self._endpoint

    def connection(self) -> Client:
        """A further connection to the server, for who must be slowed by nobody; the caller closes
        it. Starts or reconnects as `client` does."""
        while True:
            self.client()
            endpoint = self._endpoint
            if endpoint is not None:  # another thread may be starting it anew just now
                return self._connect(endpoint, Deadline(self.settings.start_timeout))

    def stop(self) -> None:
        """End the connection and the server, within 3 s. The sandbox can't be used after it."""
        with self._making:
            self._stopped, made = True, self._made
        client = self._client
        if client is not None:
            client.close()
        if made is not None:
            made.stop()

    def leave(self) -> None:
        """End the connection and let the server run, for who has the `handover`."""
        with self._making:
            self._stopped, made = True, self._made
        if self._client is not None:
            self._client.close()
        if made is not None:
            made.leave()

    @property
    def notices(self) -> list[str]:
        """What the person must be told; complete once there is a client."""
        return [*self.settings.notices, *(self._made.notices if self._made else [])]

    def describe(self) -> str:
        """One line on where the code runs."""
        return self._made.describe() if self._made else describe(self.settings)

    @property
    def container(self) -> str:
        """The name of the container that was started for this, "" where there is none."""
        return (self.handover() or {}).get("container", "")

    def log(self) -> str:
        """The last lines that the server has printed, as far as this process sees them."""
        return self._made.log() if self._made else ""

    def handover(self) -> dict[str, str] | None:
        """What another process needs to take the server over, a secret too; None: it can't."""
        return self._backend().handover() if self._client is not None else None

    def _start(self, deadline: Deadline) -> Client:
        backend = self._backend()
        try:
            self._endpoint = backend.start(deadline, self._progress)
            with deadline.step("connecting to the server"):
                return self._connect(self._endpoint, deadline)
        except BaseException as exc:
            self._endpoint = None
            last = backend.log().splitlines()[-LAST_LINES:]
            backend.stop()
            if isinstance(exc, ServerNotThere) and self.settings.resolved_mode() != "attached":
                # It is our own server that isn't there: not the address is wrong, but the start.
                if deadline.expired:
                    seen = f"{exc.why}; it had printed: {' '.join(last)}" if last else exc.why
                    raise deadline.timeout(seen) from exc
                raise StartError(
                    "the server started, and ended at once", exc.why, "run the cell again"
                ) from exc
            if isinstance(exc, DockerKernelError) and self.settings.resolved_mode() == "docker":
                from .doctor.explaining import explain  # slow

                explain(exc)
            raise

    def _reconnect(self, deadline: Deadline) -> Client | None:
        """A new connection to the server that was there before; None if it is gone."""
        if self._endpoint is None:
            return None
        if not self._backend().postmortem():
            try:
                return self._connect(self._endpoint, deadline)
            except (ServerNotThere, ConnectionLost) as exc:
                # It has all that the code had; so it is there still when that is mended.
                if trouble := self._backend().trouble():
                    raise ConnectionLost(
                        "the server doesn't answer", trouble, "run it again after that"
                    ) from exc
        self._endpoint = None
        self._backend().stop()
        return None

    def _connect(self, endpoint: Endpoint, deadline: Deadline) -> Client:
        from .client import Client  # slow, and of no use before there is a server

        return Client(
            endpoint,
            deadline,
            self._pass_on,
            self._backend().postmortem,
            self._on_notice,
            self.settings.lease,
            self._backend().trouble,
            self.gate,
        )

    def _pass_on(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)
