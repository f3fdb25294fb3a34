"""Containers that were started ahead, each for the next kernel that would make the very same.

A note tells where one is, as a kernel leaves it for the process that comes after it. Who takes the
note has the container; where nobody does, its server's lease ends it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import DockerKernelError, StartCancelled
from ..handover import KEPT, HandoverFile, is_over
from . import Progress
from .docker import Engine
from .sweeping import REST_SECONDS

LOOK_SECONDS = 10.0
"""How long it may take to see whether one is still there."""

_VARYING = "Labels"
"""What names the maker, and so differs between two containers that are made the same."""

log = logging.getLogger(__name__)


class Spare(Protocol):
    """The backend of a container that is started ahead."""

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """Start it. Raises a DockerKernelError."""

    def handover(self) -> dict[str, str] | None:
        """What another process needs to take it over."""

    def leave(self) -> None:
        """Let it run on."""

    def stop(self) -> None:
        """End it, also in the midst of its start."""


def notes(count: int, engine: str, image_id: str, made: Mapping[str, Any]) -> list[HandoverFile]:
    """The notes of ``count`` containers that are ``made`` so, of this image on this engine."""
    same = {key: value for key, value in made.items() if key != _VARYING}
    mounts = [_same(mount) for mount in made["HostConfig"]["Mounts"]]
    same["HostConfig"] = {**made["HostConfig"], "Mounts": mounts}
    text = json.dumps([engine, image_id, same], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return [HandoverFile(f"{KEPT}{digest}-{number}") for number in range(count)]


class Warmer:
    """Starts those that are missing, in a thread of its own and when the start that it follows has
    had the machine for itself for a moment."""

    def __init__(self, kept: Sequence[HandoverFile], make: Callable[[], Spare]) -> None:
        self._kept = kept
        self._make = make
        self._spare: Spare | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="docker-kernel warm", daemon=True).start()

    def stop(self) -> None:
        """Start no further one; the one that is being started ends."""
        self._stopped.set()
        if (spare := self._spare) is not None:
            spare.stop()

    def _run(self) -> None:
        try:
            for note in self._kept:
                if self._stopped.wait(REST_SECONDS):
                    return
                _drop_old(note.path.parent)
                if not _is_there(note):
                    self._start(note)
        except (DockerKernelError, OSError) as exc:
            # Nobody has asked for it just now; the next kernel starts as ever.
            log.info("no container was started ahead: %s", exc)

    def _start(self, note: HandoverFile) -> None:
        spare = self._spare = self._make()
        spare.start(Deadline(120), self._check_stopped)
        found = spare.handover()
        if found is None or self._stopped.is_set():
            spare.stop()
            return
        try:
            note.write(found, anew=True)
        except OSError:  # also where another kernel was quicker
            spare.stop()
            raise
        self._spare = None
        spare.leave()

    def _check_stopped(self, _progress: str) -> None:
        # A stop that comes just before a start is none to it.
        if self._stopped.is_set():
            raise StartCancelled


def _is_there(note: HandoverFile) -> bool:
    """Whether the note's container runs. Raises EngineError."""
    name = (note.read() or {}).get("container")
    if name:
        deadline = Deadline(LOOK_SECONDS)
        with closing(Engine(os.environ, deadline)) as engine, suppress(KeyError):
            with engine.calling("looking for containers", deadline) as api:
                found = api.containers(filters={"name": [f"^/{name}$"]})
            if found:
                return True
    note.remove()
    return False


def _drop_old(folder: Path) -> None:
    """Remove the notes of containers that have ended by now, whatever they were made for."""
    for path in folder.glob(f"{KEPT}*"):
        if is_over(path):
            with suppress(OSError):
                path.unlink()


def _same(mount: Mapping[str, Any]) -> dict[str, Any]:
    """A mount without its maker's labels, and with what tells a folder of this machine from another
    one that has its name by now: a container goes on to see the one that it was started with."""
    found = {key: value for key, value in mount.items() if key != "VolumeOptions"}
    if mount["Type"] == "bind":
        with suppress(OSError):
            status = Path(mount["Source"]).stat()
            found["place"] = [status.st_dev, status.st_ino]
    return found
