"""%docker: what there is, and what can be done to it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from docker_kernel import files
from docker_kernel.errors import DockerKernelError
from docker_kernel.manage import keeping
from docker_kernel.manage.looking import (
    STATUS_HEADING,
    ask_status,
    limits_table,
    session_row,
    status_row,
)
from docker_kernel.manage.table import Table

from .sandboxes import MAIN, Place, Sandboxes
from .show import say


class Manager:
    """Does %docker's actions. Each takes the line's options, and gives what is to be shown."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes
        self._actions: dict[str, tuple[Callable[[Namespace], Any], int]] = {
            "status": (self._status, 0),
            "sessions": (self._sessions, 0),
            "limits": (self._limits, 0),
            "restart": (self._restart, 1),
            "reset": (self._reset, 0),
            "stop": (self._stop, 0),
            "logs": (self._logs, 0),
            "commit": (self._commit, 1),
            "freeze": (self._freeze, 0),
            "connect": (self._connect, 1),
            "put": (self._put, 2),
            "get": (self._get, 2),
        }

    def run(self, options: Namespace) -> Any:
        """Do what the line says. Raises UsageError and DockerKernelError."""
        if options.action not in self._actions:
            known = ", ".join(self._actions)
            raise UsageError(f"%docker knows no {options.action!r}; there are {known}")
        action, most = self._actions[options.action]
        if len(options.operands) > most:
            extra = " ".join(options.operands[most:])
            raise UsageError(f"%docker {options.action}: {extra!r} is too much; see %docker?")
        try:
            return action(options)
        except OSError as exc:
            if isinstance(exc, DockerKernelError):
                raise
            # A file of this machine that can't be read or written.
            raise UsageError(str(exc)) from exc

    # -- what there is

    def _status(self, options: Namespace) -> Table:
        rows = [status_row(place.sandbox) for place in self._sandboxes.places.values()]
        note = [] if rows else ["Nothing runs; the first %%docker cell starts a container."]
        return Table(STATUS_HEADING, rows, note)

    def _sessions(self, options: Namespace) -> Table:
        rows = []
        for image, place in self._sandboxes.places.items():
            client = place.sandbox.connected
            if client is None:
                continue
            ours = {s.session.name: name for name, s in place.sessions.items()}
            for session in ask_status(client)["sessions"]:
                name = ours.get(session["name"], session["name"])
                rows.append([name, image or "(default)", *session_row(session)])
        note = [] if rows else ["There is no session; a %%docker cell opens one."]
        return Table(["session", "image", "state", "pid"], rows, note)

    def _limits(self, options: Namespace) -> Table:
        place = self._sandboxes.place(options.image)
        client = place.sandbox.connected
        return limits_table(place.settings, ask_status(client) if client else None)

    def _logs(self, options: Namespace) -> None:
        place = self._running(options)
        lines = place.sandbox.log().splitlines()[-options.lines :]
        empty = "That server's log is not ours to see." if place.attached else "The log is empty."
        print("\n".join(lines) or empty)

    # -- sessions and containers

    def _restart(self, options: Namespace) -> None:
        name = options.operands[0] if options.operands else MAIN
        place = self._running(options)
        if name not in place.sessions:
            known = ", ".join(place.sessions) or "none"
            raise UsageError(f"there is no session {name!r}; there are: {known}")
        place.sessions[name].restart()
        say(f"Session {name} is a fresh one: its variables are gone, files and packages are kept.")

    def _reset(self, options: Namespace) -> None:
        attached = options.image in self._sandboxes.places and (
            self._sandboxes.places[options.image].attached
        )
        if attached:
            raise UsageError("that server isn't ours to remove; %docker restart drops variables")
        self._sandboxes.stop(options.image)
        self._sandboxes.place(options.image).client()
        say("A fresh container runs: variables, files outside the workspace, packages are gone.")

    def _stop(self, options: Namespace) -> None:
        stopped = self._sandboxes.stop(options.image)
        say("It is stopped; the next %%docker cell starts anew." if stopped else "Nothing runs.")

    def _connect(self, options: Namespace) -> None:
        if not options.operands:
            raise UsageError("say where: %docker connect HOST:PORT, or the name of a container")
        host, colon, port = options.operands[0].rpartition(":")
        given: dict[str, Any] = {"container": port}
        if colon:
            if not port.isdigit():
                raise UsageError(f"{port!r} is no port; write %docker connect HOST:PORT")
            given = {"host": host.strip("[]") or "localhost", "port": int(port)}
        place = self._sandboxes.connect({**given, "secret_file": options.secret_file})
        say(f"%%docker cells now run {place.sandbox.describe()}.")

    def _commit(self, options: Namespace) -> None:
        if not options.operands:
            raise UsageError("say under which name: %docker commit TAG")
        sandbox = self._running(options).sandbox
        print(keeping.commit(sandbox, options.operands[0], say, "%%docker --image"))

    def _freeze(self, options: Namespace) -> None:
        print(keeping.freeze(self._running(options).sandbox, say, options.force))

    # -- files

    def _put(self, options: Namespace) -> None:
        if not options.operands:
            raise UsageError("say what: %docker put LOCAL [REMOTE]")
        local = Path(options.operands[0]).expanduser()
        remote = options.operands[1] if len(options.operands) > 1 else local.name
        files.put(self._running(options).client(), local, remote)
        say(f"{local} is {remote} in the container.")

    def _get(self, options: Namespace) -> None:
        if not options.operands:
            raise UsageError("say what: %docker get REMOTE [LOCAL]")
        remote = options.operands[0]
        local = Path(options.operands[1] if len(options.operands) > 1 else Path(remote).name)
        files.get(self._running(options).client(), remote, local.expanduser())
        say(f"{remote} of the container is {local}.")

    def _running(self, options: Namespace) -> Place:
        place = self._sandboxes.place(options.image)
        place.client()
        return place
