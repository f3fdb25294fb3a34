"""The actions of %docker in the docker kernel, on the host's side.

A cell's text isn't trusted. So nothing in here lets a cell do more than the code in the container
may do anyway, but with the person's yes.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from ..backends.mounts import WORKPLACE
from ..cancelling import current
from ..config import Settings
from ..errors import DockerKernelError, UsageError
from ..launcher import Launcher
from ..session import Session
from . import copying, keeping
from .looking import STATUS_HEADING, ask_status, limits_table, session_row, status_row
from .table import Table
from .work import Work

Answer = Table | str
"""What is shown."""

_OUTSIDE = f"outside {WORKPLACE}"


class Manager:
    """Does the actions, for the kernel of a launcher. Each blocks."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._actions: dict[str, Callable[[Namespace, Work], Answer]] = {
            "status": self._status,
            "sessions": self._sessions,
            "limits": self._limits,
            "restart": self._restart,
            "reset": self._reset,
            "image": self._image,
            "logs": self._logs,
            "commit": self._commit,
            "freeze": self._freeze,
            "put": self._put,
            "get": self._get,
        }

    def do(self, line: Namespace, work: Work) -> Answer:
        """Do what a line asks for. Raises a DockerKernelError, CalledOff."""
        current.set(work.cancellation)
        try:
            return self._actions[line.action](line, work)
        except DockerKernelError:
            raise
        except TimeoutError as exc:
            why, what = "the server doesn't answer in time", f"%docker {line.action} was not done"
            raise UsageError(what, why, "try again, or in the end: %docker reset") from exc
        except OSError as exc:
            # A file of this machine that can't be read or written.
            why = exc.strerror or str(exc)
            raise UsageError(f"%docker {line.action} was not done", why, "name another") from exc

    # -- what there is

    def _status(self, line: Namespace, work: Work) -> Answer:
        session = self._launcher.session
        if session is None:
            return f"Nothing runs: {self._state()}."
        return Table(STATUS_HEADING, [status_row(session.sandbox, self._state())])

    def _state(self) -> str:
        """How a start goes, where there is no connection."""
        opening = self._launcher.opening
        if not opening.done():
            return self._launcher.progress or "it is being started"
        failed = opening.exception()
        return str(failed).splitlines()[0] if failed else "not connected"

    def _sessions(self, line: Namespace, work: Work) -> Answer:
        session = self._launcher.session
        client = session.ready if session else None
        if session is None or client is None:
            return f"There is no session: {self._state()}."
        rows = [
            [name, "this notebook" if name == session.name else "", *session_row(found)]
            for found in ask_status(client)["sessions"]
            for name in [found["name"]]
        ]
        return Table(["session", "of", "state", "pid"], rows)

    def _limits(self, line: Namespace, work: Work) -> Answer:
        sandbox = self._session.sandbox
        client = sandbox.connected
        return limits_table(sandbox.settings, ask_status(client) if client else None)

    def _logs(self, line: Namespace, work: Work) -> Answer:
        sandbox = self._session.sandbox
        kept = sandbox.log().splitlines()
        lines = kept[-line.lines :] if line.lines > 0 else []
        if not kept and sandbox.settings.resolved_mode() == "attached":
            return "That server's log is not ours to see."
        return "\n".join(lines) or "The log is empty."

    # -- the session

    def _restart(self, line: Namespace, work: Work) -> Answer:
        self._session.restart()
        return "The session is a fresh one: its variables are gone, files and packages are kept."

    # -- the container

    def _reset(self, line: Namespace, work: Work) -> Answer:
        mode = self._session.sandbox.settings.resolved_mode()
        if mode == "attached":
            raise UsageError(
                "%docker reset was not done",
                "that server isn't ours to end",
                "to drop the variables: %docker restart",
            )
        self._renew(work)
        if mode == "local":
            return "A fresh server runs on this machine: the variables are gone."
        return f"A fresh container runs: variables, packages and files {_OUTSIDE} are gone."

    def _image(self, line: Namespace, work: Work) -> Answer:
        settings = self._session.sandbox.settings
        mode = settings.resolved_mode()
        if mode != "docker":
            raise UsageError(
                "%docker image was not done",
                f"this kernel has no container of its own: its mode is {mode}",
                "make a kernel for the image: jupyter docker-kernel install --name NAME --image "
                f"{line.name}",
            )

        # The person's images hold what the person has put there, their registries take the
        # person's password, and a registry's name is a message to whom it belongs to.
        configured = Settings(image=self._launcher.configured_image).image_name()
        free = line.name in (settings.image_name(), configured)
        if not (free or keeping.is_own(self._session.sandbox, line.name)) and not work.agreed(
            f"May this notebook's cells run in the image {line.name}, and read all that is in it?"
        ):
            raise UsageError(f"%docker image {line.name} was not done", "you didn't say yes")
        self._renew(work, image=line.name, mode="docker")
        sandbox = self._session.sandbox
        return f"A fresh container runs: {sandbox.describe()}. Variables and packages are gone."

    def _commit(self, line: Namespace, work: Work) -> Answer:
        return keeping.commit(self._session.sandbox, line.tag, work.show, "%docker image")

    def _freeze(self, line: Namespace, work: Work) -> Answer:
        return keeping.freeze(self._session.sandbox, work.show, line.force)

    # -- files

    def _put(self, line: Namespace, work: Work) -> Answer:
        return copying.put(self._session.sandbox, line.local, line.remote, work.show)

    def _get(self, line: Namespace, work: Work) -> Answer:
        return copying.get(self._session.sandbox, line.remote, line.local, work.show)

    def _renew(self, work: Work, mode: str = "", **asked: str) -> None:
        # Where the settings leave the choice, it is made: no code goes from a container to this
        # machine by this.
        if chosen := str(self._session.sandbox.settings.mode):
            asked["mode"] = mode or chosen
        work.now = lambda: self._launcher.progress
        self._launcher.renew(work.cancellation, **asked)

    @property
    def _session(self) -> Session:
        """The kernel's. Raises the DockerKernelError of a start that could not even begin."""
        if self._launcher.session is None:
            self._launcher.opening.result()
        assert self._launcher.session is not None  # noqa: S101 - else the start has raised
        return self._launcher.session
