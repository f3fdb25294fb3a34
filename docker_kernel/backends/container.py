"""A kernel's server in a container of its own."""

from __future__ import annotations

import io
import os
import secrets
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import runtime
from ..config import Settings
from ..deadline import Deadline
from ..errors import (
    DockerKernelError,
    EngineError,
    EngineRefused,
    StartCancelled,
    StartError,
)
from . import Endpoint, Progress, hints, workspace
from .docker import Engine
from .images import ImagePython, ensure_image, image_name, probe, remove_container
from .labels import PREFIX, labels, owner_lives, unique_name
from .logtail import LogTail
from .volumes import ensure_volumes

SERVER_PORT = 8000
WORKPLACE = "/workspace"
HOME = "/tmp/home"  # noqa: S108 - in the container, which is ours alone
STOP_SECONDS = 3.0
EXIT_SECONDS = 2.0
"""How long to wait for the engine to tell why a container ended."""
_EXIT_OOM = 137


@dataclass(frozen=True)
class _Plan:
    """All that a start has found out before it makes the container."""

    image: str
    image_id: str
    python: ImagePython
    lent: list[dict[str, Any]]
    folder: Path | None
    user: workspace.User


@dataclass
class _Running:
    """The server's container, from the moment that its name is known."""

    name: str
    secret: bytes
    tail: LogTail | None = None
    close: Callable[[], None] | None = None
    """Lets go of the container's output, which ends the tail."""
    endpoint: Endpoint | None = None


class DockerBackend:
    """Starts one container and removes it; see `Backend`."""

    def __init__(self, settings: Settings, handover: Mapping[str, str] | None = None) -> None:
        self.notices: list[str] = []
        self._settings = settings
        self._handover = handover
        self._engine: Engine | None = None
        self._running: _Running | None = None
        self._folder: Path | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Start a container, or take over the one of the handover, and wait until its server
        listens.

        Raises EngineError, ImageError, StartError, SettingError, and leaves no container then.
        """
        with self._lock:
            self._discard()
            self.notices.clear()

            def show(text: str) -> None:
                self._check_stopping()  # a pull is one step, and a long one
                progress(text)

            try:
                return self._start(deadline, show)
            except BaseException:
                self._discard()
                self._stopping.clear()
                raise

    def stop(self) -> None:
        """Remove the container within 3 s, also in the middle of a start. Never raises."""
        self._stopping.set()
        if not self._lock.acquire(blocking=False):
            # A start goes on. It looks at the event between its steps, and removes what it has
            # made; where it waits for the server, this ends its wait.
            engine, running = self._engine, self._running
            if engine is not None and running is not None and running.tail is not None:
                remove_container(engine, running.name, STOP_SECONDS)
            if not self._lock.acquire(timeout=STOP_SECONDS):
                return
        try:
            self._discard()
            self._stopping.clear()
        finally:
            self._lock.release()

    def describe(self) -> str:
        """One line: image, limits, workspace."""
        settings = self._settings
        limits = [f"{settings.memory} of memory", f"{settings.pids} processes"]
        if settings.cpus:
            limits.append(f"{settings.cpus:g} CPUs")
        where = f"{self._folder} as {WORKPLACE}" if self._folder else f"{WORKPLACE} of its own"
        return f"{image_name(settings)}, {', '.join(limits)}, network {settings.network}, {where}"

    def postmortem(self) -> str:
        """Why the container ended, "" where it runs or where nothing can be found out."""
        engine, running = self._engine, self._running
        if engine is None or running is None:
            return ""
        try:
            with engine.calling("looking at the container", Deadline(EXIT_SECONDS)) as api:
                if api.inspect_container(running.name)["State"]["Running"]:
                    return ""
        except EngineRefused:
            pass  # it has removed itself
        except DockerKernelError as exc:
            return f"the Docker engine is away: {exc.what}"
        return self._why_ended(engine, running)

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

    # -- the start, step by step

    def _start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        if self._settings.network == "none":
            raise _no_network_yet()
        engine = self._engine = Engine(os.environ, deadline)
        if hints.is_remote(engine.url):
            raise _remote(engine.url)
        if self._handover is not None:
            handover, self._handover = self._handover, None
            if (endpoint := self._take_over(engine, handover, deadline)) is not None:
                return endpoint
        plan = self._make_plan(engine, deadline, progress)
        progress(f"starting a container of {plan.image}")
        endpoint = self._launch(engine, plan, deadline)
        self._check_stopping()
        if endpoint is None:
            raise _ended_early(plan, self._why_ended(engine, self._running))
        self._sweep(engine)
        return endpoint

    def _make_plan(self, engine: Engine, deadline: Deadline, progress: Progress) -> _Plan:
        self._check_stopping()
        folder, user = self._choose_workspace(engine)
        image = image_name(self._settings)
        found = ensure_image(engine, image, self._settings.pull, deadline, progress)
        image_id = str(found["Id"])
        self._check_stopping()
        python = probe(engine, image, image_id, user, deadline, progress)
        self._check_stopping()
        lent = ensure_volumes(engine, image_id, python, deadline, progress)
        self._folder = folder
        return _Plan(image, image_id, python, lent, folder, user)

    def _choose_workspace(self, engine: Engine) -> tuple[Path | None, workspace.User]:
        """The folder to mount, None for none, and the user; says in the notices what isn't as
        usual."""
        settings = self._settings
        if not settings.mount_workspace:
            return None, workspace.choose_user(settings.user, None)
        folder = settings.workspace_folder()
        homes = workspace.homes_near(folder)
        if why := workspace.why_not_mounted(folder, homes, engine.sockets):
            self.notices.append(
                f"The folder {folder} is not mounted: {why}. {WORKPLACE} is the container's own "
                "and ends with it. To mend it: put the notebook into a folder of its own, or set "
                "DOCKER_KERNEL_WORKSPACE=/path/to/a/folder"
            )
            return None, workspace.choose_user(settings.user, None)
        user = workspace.choose_user(settings.user, folder)
        if not workspace.may(user, folder, os.R_OK | os.X_OK):
            self.notices.append(
                f"The folder {folder} is not mounted: the container's user {user} may not read it. "
                f"{WORKPLACE} is the container's own and ends with it. To mend it: chmod o+rx "
                f"{folder}, or choose another user with DOCKER_KERNEL_USER=UID:GID"
            )
            return None, user
        if not workspace.may(user, folder, os.W_OK):
            self.notices.append(
                f"The container's user {user} can't write the folder {folder}. To mend it: "
                f"sudo chown {user} {folder}, or choose another user: DOCKER_KERNEL_USER=UID:GID"
            )
        return folder, user

    def _launch(self, engine: Engine, plan: _Plan, deadline: Deadline) -> Endpoint | None:
        """Create and start a container; None where its server ended before it listened."""
        self._check_stopping()
        # The name is noted before the engine hears of it, so that nothing can be left behind.
        running = self._running = _Running(unique_name(), secrets.token_hex(32).encode("ascii"))
        try:
            with engine.calling("creating the container", deadline) as api:
                api.create_container(plan.image_id, **self._creation(api, plan), name=running.name)
                if plan.folder is None:
                    api.put_archive(running.name, "/", _own_workplace(plan.user))
            attachment = engine.attach(running.name, deadline)
            running.close = attachment.close
            running.tail = LogTail(attachment.chunks())
            self._check_stopping()
            with engine.calling("starting the container", deadline) as api:
                api.start(running.name)
        except EngineRefused as exc:
            raise _explained(exc, self._settings, plan) from exc
        attachment.send_line(running.secret)
        with deadline.step("waiting for the server"):
            if running.tail.wait_listening(deadline) is None:
                return None
        with engine.calling("asking for the port", deadline) as api:
            found = api.inspect_container(running.name)["NetworkSettings"]["Ports"]
        running.endpoint = Endpoint("127.0.0.1", _published(found), running.secret)
        self._check_stopping()
        return running.endpoint

    def _creation(self, api: Any, plan: _Plan) -> dict[str, Any]:
        """What the container is made with, the safe defaults among it."""
        settings = self._settings
        memory = settings.memory_bytes()
        mounts = list(plan.lent)
        marks = labels("kernel")
        if plan.folder is not None:
            mounts.append({"Type": "bind", "Source": str(plan.folder), "Target": WORKPLACE})
            marks[f"{PREFIX}workspace"] = str(plan.folder)
        return {
            "command": _server_arguments(plan.python, settings.lease),
            "entrypoint": [plan.python.executable],
            "user": str(plan.user),
            "working_dir": WORKPLACE,
            "environment": {**_environment(plan.python), **settings.env},
            "labels": marks,
            "ports": [SERVER_PORT],
            "stdin_open": True,
            "host_config": {
                **api.create_host_config(
                    network_mode=settings.network,
                    # Loopback alone; the engine picks a free port.
                    port_bindings={SERVER_PORT: ("127.0.0.1",)},
                    mounts=mounts,
                    auto_remove=True,
                    init=True,
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                    pids_limit=settings.pids,
                    mem_limit=memory,
                    memswap_limit=memory,
                    nano_cpus=int(settings.cpus * 1e9) or None,
                ),
            },
        }

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise StartCancelled("the start was called off", "the kernel was stopped meanwhile")

    def _take_over(
        self, engine: Engine, handover: Mapping[str, str], deadline: Deadline
    ) -> Endpoint | None:
        """The endpoint of the container of the handover, None where it doesn't run any more."""
        name, port = handover["container"], int(handover["port"])
        try:
            with engine.calling("looking for the kernel's container", deadline) as api:
                found = api.inspect_container(name)
                if not found["State"]["Running"]:
                    return None
                logs = api.logs(name, stream=True, follow=True, tail=20)
        except EngineRefused as exc:
            if exc.status == 404:
                return None
            raise
        for mount in found["Mounts"]:
            if mount["Destination"] == WORKPLACE:
                self._folder = Path(mount["Source"])
        secret = handover["secret"].encode("ascii")
        endpoint = Endpoint(handover["host"], port, secret)
        self._running = _Running(name, secret, LogTail(_quietly(logs)), logs.close, endpoint)
        return endpoint

    # -- the end

    def _discard(self) -> None:
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
        remove_container(self._engine, running.name, STOP_SECONDS)

    def _why_ended(self, engine: Engine, running: _Running | None) -> str:
        """Exit status and last lines of a container that has ended, and most likely removed
        itself."""
        if running is None:
            return ""
        code, oom = _last_events(engine, running.name)
        if oom and code == _EXIT_OOM:
            why = f"the container ran out of memory (its limit is {self._settings.memory})"
        elif code is None:
            why = "the container is gone"
        else:
            why = f"the container ended with status {code}"
        if running.tail is None:
            return why
        running.tail.wait_ended(EXIT_SECONDS)
        last = running.tail.last()
        return f"{why}; its last lines were: {last}" if last else why

    def _sweep(self, engine: Engine) -> None:
        """Remove what starts of dead processes left on this machine.

        Running containers are not touched: another process may have taken them over, and where
        nobody has, their lease ends them.
        """
        mine = [f"{PREFIX}owner.host={socket.gethostname()}"]
        filters = {"label": mine, "status": ["created", "exited", "dead"]}
        with suppress(DockerKernelError):
            with engine.calling("looking for leftovers", Deadline(STOP_SECONDS)) as api:
                found = api.containers(all=True, filters=filters)
            for item in found:
                if not owner_lives(item["Labels"]):
                    remove_container(engine, item["Id"])


# -- parts


def _server_arguments(python: ImagePython, lease: float) -> list[str]:
    """The server's command line after the name of the Python; -I -S: nothing of the image's."""
    return [
        *("-I", "-S", f"{runtime.TARGET}/{runtime.ENTRY}"),
        *("--workplace", WORKPLACE),
        *("--host", "0.0.0.0", "--port", str(SERVER_PORT)),  # noqa: S104 - the container's own
        "--secret-from-stdin",
        *("--lease", f"{lease:g}"),
        *("--python", python.executable),
        *("--lent", f"{runtime.TARGET}/{runtime.PACKAGES_FOLDER}"),
    ]


def _environment(python: ImagePython) -> dict[str, str]:
    """What the code finds in its environment: a home, and a pip that works without root."""
    environment = {
        "HOME": HOME,
        # Python looks for a name where the uid has none: getpass.getuser().
        "USER": "kernel",
        "LOGNAME": "kernel",
        # The container is thrown away: pip can't break a system here (PEP 668).
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    if not python.writable and not python.venv:
        environment["PIP_USER"] = "1"
    elif not python.writable:
        # A virtual environment has no user site.
        environment["PIP_TARGET"] = environment["PYTHONPATH"] = f"{HOME}/site-packages"
    return environment


def _own_workplace(user: workspace.User) -> bytes:
    """A tar with an empty /workspace that belongs to the user: the engine would make it root's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(WORKPLACE.lstrip("/"))
        info.type = tarfile.DIRTYPE
        info.mtime = int(time.time())
        info.uid, info.gid = user.numbers or (0, 0)
        # The image knows the names of its users, the tar doesn't.
        info.mode = 0o755 if user.numbers else 0o1777
        tar.addfile(info)
    return buffer.getvalue()


def _published(ports: Mapping[str, Any]) -> int:
    for binding in ports.get(f"{SERVER_PORT}/tcp") or []:
        return int(binding["HostPort"])
    raise StartError(
        "the engine published no port for the server",
        "its network may be one that can't publish any",
        "use DOCKER_KERNEL_NETWORK=bridge",
    )


def _last_events(engine: Engine, name: str) -> tuple[int | None, bool]:
    """The exit status of a container, as the engine remembers it, and whether memory ran out in
    it."""
    oom = False
    until = int(time.time() + EXIT_SECONDS)
    deadline = Deadline(EXIT_SECONDS * 2)
    with suppress(DockerKernelError), engine.calling("asking why it ended", deadline) as api:
        # The news of the end may come a moment after the end: this waits for it, up to `until`.
        filters = {"container": [name]}
        with closing(api.events(since=1, until=until, filters=filters, decode=True)) as events:
            for event in events:
                oom = oom or event.get("Action") == "oom"
                if event.get("Action") == "die":
                    return int(event["Actor"]["Attributes"]["exitCode"]), oom
    return None, oom


def _quietly(chunks: Any) -> Iterator[bytes]:
    """The log of a container, whose end may come as an error when the engine goes."""
    with suppress(Exception):
        yield from chunks


def _explained(error: EngineRefused, settings: Settings, plan: _Plan) -> DockerKernelError:
    """The engine's refusal with a remedy, where the cause is a setting."""
    words = error.why.lower()
    remedy = "see the engine's own log, or try: docker run --rm hello-world"
    if "bind source path" in words or "mounts denied" in words or "not shared" in words:
        remedy = (
            f"share {plan.folder} with Docker (Docker Desktop: Settings > Resources > File "
            "sharing), or go without it: DOCKER_KERNEL_MOUNT_WORKSPACE=false"
        )
    elif "network" in words and settings.network != "bridge":
        remedy = "choose one of: docker network ls; or DOCKER_KERNEL_NETWORK=bridge"
    elif "cpus" in words:
        remedy = "set DOCKER_KERNEL_CPUS to what the machine has, or to 0 for no limit"
    elif "no such image" in words:
        remedy = "it was removed meanwhile; try again"
    elif "user" in words:
        remedy = "set DOCKER_KERNEL_USER to numbers, UID:GID"
    return EngineRefused(error.what, error.why, remedy, status=error.status)


def _ended_early(plan: _Plan, why: str) -> StartError:
    return StartError(
        f"the server in a container of {plan.image} ended before it listened",
        why,
        "if memory is the cause, raise DOCKER_KERNEL_MEMORY; else try another image",
    )


def _remote(url: str) -> EngineError:
    return EngineError(
        f"the Docker engine at {url} is on another machine",
        "its published ports and its folders are not at hand here",
        "start container/compose.yaml there, and set DOCKER_KERNEL_HOST and DOCKER_KERNEL_PORT",
    )


def _no_network_yet() -> EngineError:
    return EngineError(
        "a container without any network can't be reached yet",
        "the kernel talks to it through a published port",
        "make a network without a way out, and use it: docker network create --internal quiet",
    )
