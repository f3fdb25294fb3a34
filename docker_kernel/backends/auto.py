"""A container where there is an engine, else this machine: for demonstrations, by choice."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..config import Settings
from ..deadline import Deadline
from ..endpoint import Endpoint
from ..errors import EngineError
from . import Backend, Progress, make_backend
from .stoppable import Stoppable

LOOK_SECONDS = 5.0
"""How long the engine may take to answer."""

_TAKEN = "Mode auto has taken {}. For containers alone, set DOCKER_KERNEL_MODE=docker."


class AutoBackend(Stoppable):
    """Takes one of two backends at its first start, and stays with it; see `Backend`.

    The settings say which from then on.
    """

    def __init__(self, settings: Settings, handover: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._handover = handover
        self.notices: list[str] = []
        self._taken: Backend | None = None
        self._notice = ""

    def describe(self) -> str:
        """One line on where the code runs."""
        if self._taken is None:
            return "in a container where there is an engine, else on this machine WITHOUT one"
        return self._taken.describe()

    def postmortem(self) -> str:
        """Why the server is gone, "" where it isn't."""
        return self._taken.postmortem() if self._taken is not None else ""

    def trouble(self) -> str:
        """Why a server that lives doesn't answer."""
        return self._taken.trouble() if self._taken is not None else ""

    def log(self) -> str:
        """The last lines that the server has printed."""
        return self._taken.log() if self._taken is not None else ""

    def handover(self) -> dict[str, str] | None:
        """What another process needs to take the server over."""
        return self._taken.handover() if self._taken is not None else None

    def leave(self) -> None:
        """Let go of the server."""
        if self._taken is not None:
            self._taken.leave()

    def _start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        if self._taken is None:
            self._taken = self._take(deadline, progress)
        self._check_stopping()
        endpoint = self._taken.start(deadline, progress)
        self.notices = [self._notice, *self._taken.notices]
        return endpoint

    def _take(self, deadline: Deadline, progress: Progress) -> Backend:
        from .docker import Engine

        progress("looking for a Docker engine")
        mode, what = "docker", "a container"
        try:
            Engine(os.environ, Deadline(min(LOOK_SECONDS, deadline.remaining()))).close()
        except EngineError as exc:
            # One that is slow to answer is there. And a kernel that had a container is given none
            # of this machine by its restart: its code may be why the engine has gone.
            if self._handover is not None or not self._settings.allow_local:
                raise
            mode, what = "local", f"this machine itself: {exc.what}, {exc.why}"
        self._notice = _TAKEN.format(what)
        self._settings.mode = mode
        return make_backend(self._settings, self._handover)

    def _end(self) -> None:
        if self._taken is not None:
            self._taken.stop()

    def _hurry(self) -> None:
        self._end()
