"""A kernel's server in a container of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker_kernel_server.handshake import Secret, make_secret

from ..checks import read_certificates
from ..config import Settings
from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import (
    DockerKernelError,
    EngineRefused,
    StartTimeout,
)
from ..handover import KEPT_SECONDS, HandoverFile
from . import Progress, describe, workspace
from .creation import RELAY, SERVER_PORT, Plan, creation, own_workplace, published
from .docker import Engine
from .ends import EXIT_SECONDS, last_events
from .gpus import NO_GPUS_HERE, device_requests
from .hardening import about, check_quota, fence
from .images import ensure_image, image_environment
from .labels import has_own_name, unique_name
from .logtail import MAX_LINES, LogTail
from .mounts import WORKPLACE, further_mounts
from .owners import mark_taken, unmark_taken
from .probing import probe
from .refusals import ended_early, remedies
from .stoppable import STOP_SECONDS, Stoppable
from .sweeping import Sweeper
from .throwaway import remove_container, remove_left
from .trouble import trouble_of
from .tunnel import dialer
from .volumes import LIKE_LABEL, ensure_volumes
from .warm import Warmer, notes

DYING_SECONDS = 0.2
_EXIT_OOM = 137


@dataclass
class _Running:
    """The server's container, from the moment that its name is known."""

    name: str
    secret: bytes = field(repr=False)
    tail: LogTail | None = None
    close: Callable[[], None] | None = None
    """Lets go of the container's output, which ends the tail."""
    endpoint: Endpoint | None = None


class DockerBackend(Stoppable):
    """Starts one container and removes it; see `Backend`."""

    def __init__(
        self,
        settings: Settings,
        handover: Mapping[str, str] | None = None,
        first_lease: float | None = None,
    ) -> None:
        """``handover`` is of the container of the process before; with ``first_lease`` it is one
        that is started ahead, and waits so many seconds for its kernel."""
        super().__init__()
        self.notices: list[str] = []
        self._settings = settings
        self._handover = handover
        self._engine: Engine | None = None
        self._running: _Running | None = None
        self._folder: Path | None = None
        self._first_lease = first_lease
        self._keepers: list[Sweeper | Warmer] = []

    def describe(self) -> str:
        """One line: image, limits, workspace."""
        said = describe(self._settings)
        if self._folder:
            return f"{said}, {self._folder} as {WORKPLACE}"
        # Before the start it isn't known whether that may be.
        return f"{said}, {WORKPLACE} of its own" if self._running is not None else said

    def postmortem(self) -> str:
        """Why the container ended, "" where it runs or where nothing can be found out."""
        engine, running = self._engine, self._running
        if engine is None or running is None:
            return ""
        try:
            with engine.calling("looking at the container", Deadline(EXIT_SECONDS)) as api:
                state = api.inspect_container(running.name)["State"]
            # One that dies is called running for a moment more; its output has ended by then.
            dying = running.tail is not None and running.tail.wait_ended(DYING_SECONDS)
            if state["Running"] and not (dying and self._dies(engine, running)):
                return ""
        except EngineRefused:
            pass  # it has removed itself
        except DockerKernelError as exc:
            # The network to another machine comes back, and the container is there still.
            return "" if engine.remote else f"the Docker engine is away: {exc.what}"
        return self._why_ended(engine, running)

    def trouble(self) -> str:
        """Whether the container is paused, as `Backend` has it."""
        running = self._running
        return trouble_of(self._engine, running.name) if running is not None else ""

    def log(self) -> str:
        """The last lines that the server has printed."""
        running = self._running
        return running.tail.last(MAX_LINES) if running is not None and running.tail else ""

    def handover(self) -> dict[str, str] | None:
        """The container's name, its address and the secret; None where none runs."""
        running = self._running
        if running is None or running.endpoint is None:
            return None
        endpoint = running.endpoint
        return {
            "container": running.name,
            "host": endpoint.host,
            "port": str(endpoint.port),
            "secret": running.secret.decode("ascii"),
        }

    def leave(self) -> None:
        """Let the container run on, for who has the handover."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None and running.close is not None:
                running.close()
            self._end()

    # -- the start, step by step

    def _start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """See `Stoppable`. Takes over the container of the handover where it runs.

        Raises EngineError, ImageError, StartError, SettingError.
        """
        self.notices.clear()

        def show(text: str) -> None:
            self._check_stopping()  # a pull is one step, and a long one
            progress(text)

        with remedies(self._settings, self._runtimes):
            return self._open(deadline, show)

    def _open(self, deadline: Deadline, progress: Progress) -> Endpoint:
        engine = self._engine = Engine(os.environ, deadline)
        remove_left(engine)
        if self._handover is not None:
            handover, self._handover = self._handover, None
            if (endpoint := self._take_over(engine, handover, deadline)) is not None:
                return endpoint
        plan = self._make_plan(engine, deadline, progress)
        kept = self._kept(engine, plan)
        endpoint = self._take_kept(engine, kept, deadline)
        if endpoint is None:
            progress(f"starting a container of {plan.image}")
            endpoint = self._launch(engine, plan, deadline)
        self._check_stopping()
        if endpoint is None:
            raise ended_early(plan.image, self._why_ended(engine, self._running))
        if self._first_lease is None:
            self._keepers.append(Sweeper(os.environ))
        if kept:
            self._keepers.append(Warmer(kept, self._spare))
        return endpoint

    def _kept(self, engine: Engine, plan: Plan) -> list[HandoverFile]:
        """The notes of the containers that are started ahead for such a plan."""
        if not self._settings.warm or self._first_lease is not None:
            return []
        made = creation(plan, self._settings, "")
        return notes(self._settings.warm, engine.url, plan.image_id, made)

    def _take_kept(
        self, engine: Engine, kept: list[HandoverFile], deadline: Deadline
    ) -> Endpoint | None:
        for found in filter(None, (note.take() for note in kept)):
            if (endpoint := self._take_over(engine, found, deadline)) is not None:
                return endpoint
        return None

    def _spare(self) -> DockerBackend:
        return DockerBackend(self._settings, first_lease=KEPT_SECONDS)

    def _runtimes(self) -> list[str]:
        """Those that the engine knows by name."""
        if self._engine is not None:
            with suppress(DockerKernelError):
                return sorted(about(self._engine, Deadline(EXIT_SECONDS)).get("Runtimes") or {})
        return []

    def _make_plan(self, engine: Engine, deadline: Deadline, progress: Progress) -> Plan:
        self._check_stopping()
        choice = workspace.choose(self._settings, engine.sockets, engine.address)
        if choice.notice:
            self.notices.append(choice.notice)
        if unsafe := engine.address.unsafe:
            self.notices.append(f"The connection to the Docker engine at {engine.url} {unsafe}.")
        if self._settings.disk_size:
            check_quota(about(engine, deadline), self._settings)
        gpus = self._gpus(engine, deadline)
        mounts = further_mounts(self._settings, engine.sockets, engine.address)
        image = self._settings.image_name()
        found = ensure_image(engine, image, self._settings.pull, deadline, progress)
        image_id = str(found["Id"])
        self._check_stopping()
        bounds = fence(self._settings)
        python = probe(engine, image, image_id, choice.user, bounds, deadline, progress)
        self._check_stopping()
        extra = self._settings.extra_ca
        certificates = read_certificates("extra_ca", extra) if extra else b""
        like = str(((found.get("Config") or {}).get("Labels") or {}).get(LIKE_LABEL, ""))
        lent = ensure_volumes(
            engine, image_id, python, bounds, deadline, progress, certificates, like
        )
        self._folder = choice.folder
        environment = image_environment(found)
        return Plan(
            image,
            image_id,
            environment,
            python,
            lent,
            mounts,
            gpus,
            choice.folder,
            choice.user,
            engine.remote,
            engine.proxies,
        )

    def _gpus(self, engine: Engine, deadline: Deadline) -> list[dict[str, Any]]:
        """What to ask of the engine; says so where that is nothing, though GPUs are welcome."""
        wanted = self._settings.gpus
        found = device_requests(wanted, about(engine, deadline)) if wanted else []
        if wanted and not found:
            self.notices.append(NO_GPUS_HERE)
        return found

    def _launch(self, engine: Engine, plan: Plan, deadline: Deadline) -> Endpoint | None:
        """Create and start a container; None where its server ended at once."""
        self._check_stopping()
        # The name is noted before the engine hears of it, so that nothing can be left behind.
        running = self._running = _Running(unique_name(), make_secret())
        with engine.calling("creating the container", deadline) as api:
            made = creation(plan, self._settings, running.name, self._first_lease)
            api.create_container(running.name, made)
            if plan.folder is None and not self._settings.read_only:
                api.put_archive(running.name, "/", own_workplace(plan.user))
        attachment = engine.attach(running.name, deadline)
        running.close = attachment.close
        running.tail = LogTail(attachment.chunks())
        self._check_stopping()
        with engine.calling("starting the container", deadline) as api:
            api.start(running.name)
        attachment.send_line(running.secret)
        with deadline.step("waiting for the server"):
            if running.tail.wait_listening(deadline) is None:
                return None
        try:
            with engine.calling("asking for the port", deadline) as api:
                found = api.inspect_container(running.name)
        except EngineRefused as exc:
            if exc.status == 404:
                return None
            raise
        if not found["State"]["Running"]:
            return None
        running.endpoint = _endpoint(engine, running.name, running.secret, found)
        self._check_stopping()
        return running.endpoint

    def _take_over(
        self, engine: Engine, handover: Mapping[str, str], deadline: Deadline
    ) -> Endpoint | None:
        """The endpoint of the container of the handover, None where it doesn't run any more."""
        name, secret = handover.get("container", ""), handover.get("secret", "")
        if not name or not secret:
            return None
        try:
            with engine.calling("looking for the kernel's container", deadline) as api:
                found = api.inspect_container(name)
        except EngineRefused as exc:
            if exc.status == 404:
                return None
            raise
        # One of ours, as it is removed in the end, whatever a note says.
        if not found["State"]["Running"] or not has_own_name(name, found["Config"]["Labels"] or {}):
            return None
        for mount in found["Mounts"]:
            if mount["Destination"] == WORKPLACE:
                self._folder = Path(mount["Source"])
        mark_taken(name)
        endpoint = _endpoint(engine, name, Secret(secret.encode()), found)
        self._running = _Running(
            name, Secret(secret.encode()), *_follow(engine, name, deadline), endpoint=endpoint
        )
        return endpoint

    def _dies(self, engine: Engine, running: _Running) -> bool:
        """Whether a container ends whose output has ended; else it was the way to its output that
        was lost, and is taken anew."""
        try:
            with engine.calling("waiting for its end", Deadline(EXIT_SECONDS)) as api:
                api.wait(running.name, timeout=DYING_SECONDS)
        except StartTimeout:
            if running.close is not None:
                running.close()
            running.tail, running.close = _follow(engine, running.name, Deadline(EXIT_SECONDS))
            return False
        return True

    # -- the end

    def _hurry(self) -> None:
        engine, running = self._engine, self._running
        if engine is not None and running is not None and running.tail is not None:
            remove_container(engine, running.name, STOP_SECONDS)

    def _end(self) -> None:
        for keeper in self._keepers:
            keeper.stop()
        self._keepers.clear()
        self._discard_container()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _discard_container(self) -> None:
        running, self._running = self._running, None
        if running is None or self._engine is None:
            return
        if running.close is not None:
            running.close()
        # Where the engine is away, the server's lease ends it, and its container with it.
        if remove_container(self._engine, running.name, STOP_SECONDS):
            unmark_taken(running.name)

    def _why_ended(self, engine: Engine, running: _Running | None) -> str:
        """Exit status and last lines of a container that has ended, and most likely removed
        itself."""
        if running is None:
            return ""
        code, oom = last_events(engine, running.name)
        if oom and code == _EXIT_OOM:
            why = (
                f"memory ran out in the container, and its server was killed: the limit is "
                f"{self._settings.memory} (for more, set DOCKER_KERNEL_MEMORY)"
            )
        elif code is None:
            why = "the container is gone"
        else:
            why = f"the container ended with status {code}"
        if running.tail is None:
            return why
        running.tail.wait_ended(EXIT_SECONDS)
        return running.tail.explain(why)


# -- parts


def _follow(engine: Engine, name: str, deadline: Deadline) -> tuple[LogTail, Callable[[], None]]:
    """What a running container prints from now on, with its last lines; and what lets go of it."""
    log = engine.follow_log(name, MAX_LINES, deadline)
    return LogTail(_quietly(log.chunks())), log.close


def _endpoint(engine: Engine, name: str, secret: bytes, found: Mapping[str, Any]) -> Endpoint:
    """How to reach the server in a container that the engine describes so. Raises StartError."""
    if not found["HostConfig"]["PortBindings"]:
        python, *_ = found["Config"]["Entrypoint"]
        dial = dialer(os.environ, engine.version, name, python, RELAY, SERVER_PORT)
        return Endpoint(name, SERVER_PORT, secret, dial=dial, container=name)
    from .shortcut import shortened  # slow, and of no use before the container runs

    port = published(found["NetworkSettings"]["Ports"])
    endpoint = Endpoint("127.0.0.1", port, secret, container=name)
    return shortened(endpoint, found["NetworkSettings"]["Networks"] or {}, SERVER_PORT)


def _quietly(chunks: Any) -> Iterator[bytes]:
    """The log of a container, whose end may come as an error when the engine goes."""
    with suppress(Exception):
        yield from chunks
