"""A container that runs already: the server, and what is lent, are brought into it.

It is somebody else's and stays as it was, but for a folder in its /tmp. Our server in there ends
with us: its stdin is a stream that we hold.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from contextlib import suppress
from typing import Any

from docker_kernel_server.handshake import make_secret

from .. import runtime
from ..config import Settings
from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import DockerKernelError, EngineRefused, ServerNotThere, StartError
from . import Progress
from .docker import Attachment, Engine
from .logtail import MAX_LINES, LogTail
from .probing import ImagePython, find_python
from .refusals import ended_early
from .trouble import trouble_of
from .tunnel import dialer

LOOK_SECONDS = 2.0
"""How long a look at the container may take when its server is gone."""

LOOPBACK = "127.0.0.1"

COMPLETE = ".complete"
"""The filling program's mark of a folder that is complete."""

_FILLED = (0, 3)
"""The filling program's exit statuses for: done, and complete already."""


class JoinedBackend:
    """Runs a server in the container that the settings name; see `Backend`."""

    def __init__(self, settings: Settings) -> None:
        self.notices: list[str] = []
        self._settings = settings
        self._name = settings.container
        self._engine: Engine | None = None
        self._attachment: Attachment | None = None
        self._tail: LogTail | None = None

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Bring the server in, start it, and wait until it listens.

        Raises EngineError, ImageError, StartError, ServerNotThere.
        """
        self.stop()
        try:
            engine = self._engine = Engine(os.environ, deadline)
            return self._start(engine, deadline, progress)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End our server. The container goes on. Never raises."""
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.close()  # the server's stdin, and it ends with that
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def leave(self) -> None:
        """As `stop`: nobody could take it over."""
        self.stop()

    def describe(self) -> str:
        """One line for the banner."""
        return f"in the container {self._name}, which runs by itself, with its own limits"

    def postmortem(self) -> str:
        """Why the server is gone, "" where it runs."""
        tail = self._tail
        if tail is None or not tail.wait_ended(0):
            return ""
        why = f"the server in the container {self._name} has ended"
        with suppress(DockerKernelError):
            if self._engine is not None:
                _inspect(self._engine, self._name, Deadline(LOOK_SECONDS))
        return tail.explain(why)

    def trouble(self) -> str:
        """Whether the container is paused, as `Backend` has it."""
        return trouble_of(self._engine, self._name)

    def log(self) -> str:
        """The last lines that the server has printed."""
        return self._tail.last(MAX_LINES) if self._tail is not None else ""

    def handover(self) -> dict[str, str] | None:
        """None: the server ends with us, and the next process brings its own."""
        return None

    def _start(self, engine: Engine, deadline: Deadline, progress: Progress) -> Endpoint:
        found = _inspect(engine, self._name, deadline)

        def run(program: str, arguments: list[str]) -> tuple[int, str]:
            return _run(engine, self._name, [program, *arguments], deadline)

        python = find_python(run, f"the container {self._name}")
        folder = self._bring(engine, str(found["Image"]), python, deadline, progress)
        progress(f"starting the server in the container {self._name}")
        secret = make_secret()
        command = [
            *(python.executable, "-I", "-S", f"{folder}/{runtime.ENTRY}"),
            *("--workplace", found["Config"]["WorkingDir"] or "/"),
            *("--host", LOOPBACK, "--port", "0"),
            *("--secret-from-stdin", "--end-with-stdin"),
            *("--lease", f"{self._settings.lease:g}"),
            *("--python", python.executable),
            *("--lent", f"{folder}/{runtime.PACKAGES_FOLDER}"),
        ]
        attachment = self._attachment = Attachment(engine.execute(self._name, command, deadline))
        tail = self._tail = LogTail(attachment.chunks())
        attachment.send_line(secret, last=False)
        with deadline.step("waiting for the server"):
            listening = tail.wait_listening(deadline)
        if listening is None:
            raise ended_early(self._name, tail.last())
        port = listening[1]
        # Its network is its own business, and often out of our reach: on a Mac, or on another
        # machine.
        relay = f"{folder}/docker_kernel_server/relay.py"
        dial = dialer(os.environ, engine.version, self._name, python.executable, relay, port)
        return Endpoint(self._name, port, secret, dial=dial, container=self._name)

    def _bring(
        self,
        engine: Engine,
        image_id: str,
        python: ImagePython,
        deadline: Deadline,
        progress: Progress,
    ) -> str:
        """The folder with the server and what is lent; made and compiled where it isn't there."""
        parts = runtime.parts()
        names = [part.volume_name(image_id, python.cache_tag, python.version) for part in parts]
        digest = hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]
        folder = f"/tmp/docker-kernel-{digest}"  # noqa: S108 - in the container
        targets = {part.name: part.target.replace(runtime.TARGET, folder, 1) for part in parts}

        def run(*arguments: str) -> tuple[int, str]:
            command = [python.executable, "-I", "-S", *arguments]
            return _run(engine, self._name, command, deadline)

        marks = [f"{target}/{COMPLETE}" for target in targets.values()]
        look = f"import os; print(all(map(os.path.exists, {marks})), os.getuid(), os.getgid())"
        complete, uid, gid = run("-c", look)[1].split()[-3:]
        if complete == "True":
            return folder
        progress(f"bringing the server and IPython into the container {self._name}")
        with engine.calling("copying into the container", deadline) as api:
            api.put_archive(self._name, "/tmp", _luggage(folder, parts, int(uid), int(gid)))  # noqa: S108
        for name, target in targets.items():
            status, words = run(f"{folder}.fill/fill.py", target, f"{folder}.fill/{name}.tar")
            if status not in _FILLED:
                raise StartError(
                    f"IPython could not be unpacked in the container {self._name}",
                    words[-300:],
                    "see that its /tmp has room and can be written to",
                )
        run("-c", f"import shutil; shutil.rmtree('{folder}.fill')")
        return folder


def _inspect(engine: Engine, name: str, deadline: Deadline) -> dict[str, Any]:
    """What the engine knows of a running container. Raises ServerNotThere where there is none."""
    try:
        with engine.calling("looking at the container", deadline) as api:
            found: dict[str, Any] = api.inspect_container(name)
    except EngineRefused as exc:
        if exc.status != 404:
            raise
        raise ServerNotThere(
            f"there is no container {name}",
            "the setting container names it",
            "see which there are: docker ps --all",
        ) from exc
    state = found["State"]
    if not state["Running"] or state.get("Paused"):
        raise ServerNotThere(
            f"the container {name} doesn't run",
            f"it is {state['Status']}",
            f"docker {'unpause' if state.get('Paused') else 'start'} {name}",
        )
    return found


def _run(engine: Engine, name: str, command: list[str], deadline: Deadline) -> tuple[int, str]:
    """Run a program in the container: its exit status, and what it printed."""
    status, output = engine.run(name, command, deadline)
    words = output.decode("utf-8", "replace").strip()
    if status in (126, 127):  # the engine's word that there is no such program
        raise EngineRefused("the program could not be run", words)
    return status, words


def _luggage(folder: str, parts: list[runtime.Part], uid: int, gid: int) -> bytes:
    """A tar for the container's /tmp: what is lent, and the program that unpacks it."""
    buffer = io.BytesIO()
    base = folder.rpartition("/")[2]
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (base, f"{base}.fill"):
            made = tarfile.TarInfo(name)
            made.type, made.mode, made.uid, made.gid = tarfile.DIRTYPE, 0o755, uid, gid
            tar.addfile(made)
        runtime.add_to_tar(tar, f"{base}.fill/fill.py", runtime.fill_script())
        for part in parts:
            runtime.add_to_tar(tar, f"{base}.fill/{part.name}.tar", part.archive())
    return buffer.getvalue()
