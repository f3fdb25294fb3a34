"""What each request passes before it is sent: verification of code, and the audit log.

Both are off unless a setting asks for them. All requests of all ways in (kernel, magics, tools,
older servers) come by here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from docker_kernel_server import messages as wire

from .audit import ENDED, REFUSED, SENT, AuditLog, Row, row_of, sha256
from .checks import parse_mount
from .config import Settings
from .errors import AuditLogError, CodeRefused, SettingError
from .places import lies_in

if TYPE_CHECKING:
    from .verification import Names, Rules

_STOPS = (wire.Interrupt, wire.Cancel, wire.CloseSession)
"""What ends something goes out also where the log can't be written."""

OnEnd = Callable[["wire.Final | BaseException"], None]
"""Is told the end of a request, or why it has none. Never raises."""


class Gate:
    """The gate of one sandbox; ``on_notice`` gets what the person should know."""

    def __init__(
        self, settings: Settings, on_notice: Callable[[str], None] = lambda _text: None
    ) -> None:
        """Raises SettingError for a log that the code could change."""
        self._on_notice = on_notice
        self._rules = _rules(settings)
        self._known: dict[str, Names] = {}
        self._log = AuditLog(_log_path(settings)) if settings.audit_log else None
        self._told = ""

    def admit(self, request: wire.Request, server: Row) -> OnEnd:
        """Check a request and note it; ``server`` is where it goes.

        Raises CodeRefused, and AuditLogError where a log is wanted and can't be written.
        """
        row = row_of(request) if self._log is not None else None
        if row is not None:
            row.update(server)
        with self._noting(row):
            self._check(request)
        if row is None:
            return _nothing
        if isinstance(request, _STOPS):
            self._try_to_write({"event": SENT, **row})
        else:
            self._write({"event": SENT, **row})
        began = time.monotonic()
        return lambda end: self._ended(row, end, time.monotonic() - began)

    def check_command(self, text: str) -> None:
        """Check what a person has a shell run. Raises CodeRefused."""
        if self._rules:
            from .verification import check_command

            with self._noting({"id": "", "kind": "command", "sha256": sha256(text)}):
                check_command(text)

    def check_python(self, read: Callable[[], str | None]) -> None:
        """Check Python that runs by itself; ``read`` is asked for it where that is of use. Raises
        CodeRefused."""
        if self._rules and (code := read()) is not None:
            from .verification import check_python

            with self._noting({"id": "", "kind": "code", "sha256": sha256(code)}):
                check_python(code, self._rules)

    @contextmanager
    def _noting(self, row: Row | None) -> Iterator[None]:
        """Note what is refused."""
        try:
            yield
        except CodeRefused:
            if row is not None:
                self._write({"event": REFUSED, **row})
            raise

    def _check(self, request: wire.Request) -> None:
        if not self._rules:
            return
        if isinstance(request, wire.Execute):
            from .verification import check_cell

            known = self._known.get(request.session, {})
            for expression in request.user_expressions.values():
                check_cell(str(expression), self._rules, known)
            self._known[request.session] = check_cell(request.code, self._rules, known)
        elif isinstance(request, (wire.RestartSession, wire.CloseSession)):
            self._known.pop(request.session, None)

    def _ended(self, row: Row, end: wire.Final | BaseException, seconds: float) -> None:
        if isinstance(end, wire.Final):
            status = end.reason
            seconds = seconds if end.seconds is None else end.seconds
        else:
            status = f"no end: {type(end).__name__}"
        self._try_to_write({"event": ENDED, **row, "status": status, "seconds": round(seconds, 3)})

    def _try_to_write(self, row: Row) -> None:
        """Tell the person, once, where it can't be written."""
        try:
            self._write(row)
        except AuditLogError as exc:
            if str(exc) != self._told:
                self._told = str(exc)
                self._on_notice(str(exc))

    def _write(self, row: Row) -> None:
        if self._log is not None:
            self._log.write(row)


def _nothing(_: wire.Final | BaseException) -> None:
    pass


def _rules(settings: Settings) -> Rules | None:
    if not (settings.allowed_modules or settings.blocked_functions):
        return None
    # It brings IPython's reader of cells along, which takes a while.
    from .verification import Rules

    return Rules(tuple(settings.allowed_modules), tuple(settings.blocked_functions))


def _log_path(settings: Settings) -> Path:
    """Where the log is. Raises SettingError where the container could write there."""
    path = Path(settings.audit_log).expanduser()
    if settings.resolved_mode() == "docker":
        # By its own name, and by all links on the way to it, which are such code's to change, too.
        full = path.absolute()
        ways = [part.parent.resolve() / part.name for part in (full, *full.parents)]
        ways.append(full.resolve())
        shared = [settings.workspace_folder()] if settings.mount_workspace else []
        for text in settings.mounts:
            place, _, read_only = parse_mount("mounts", text)
            if not read_only:
                shared.append(Path(place).expanduser().resolve())
        for folder in shared:
            if any(lies_in(way, folder) for way in ways):
                raise SettingError(
                    f"audit_log is {path}",
                    f"the container sees {folder}, and its code could change the log",
                    "name a file elsewhere",
                )
    return path
