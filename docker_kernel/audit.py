"""The audit log, where one is asked for: what was sent to run, and how it ended.

A request has two lines of JSON, one when it is sent and one when it has ended; so what runs when
this process is killed has a line as well. No code, no output and no secret is in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from docker_kernel_server import messages as wire

from .errors import AuditLogError

MODE = 0o600
"""A log that isn't there yet is made for its owner alone."""

SENT, ENDED, REFUSED = "sent", "ended", "refused"

_PIP = re.compile(r"\S+ -m pip\s")

Row = dict[str, Any]


class AuditLog:
    """Appends to a file, which several processes may share: each line is one write.

    It is opened for each line, so that it may be moved away at any time, as for a rotation.
    """

    def __init__(self, path: Path) -> None:
        from .backends.owners import user_name  # few keep such a log

        self._path = path
        self._torn = ""
        """The end of a line of ours that is there only in part."""
        self._user = user_name()

    def write(self, row: Row) -> None:
        """Add a line. Raises AuditLogError."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": now.replace("+00:00", "Z"), "user": self._user, **row}
        data = f"{self._torn}{json.dumps(line)}\n".encode("ascii")
        try:
            file = os.open(self._path, _flags(), MODE)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise OSError("it is not a file")
                written = os.write(file, data)
            finally:
                os.close(file)
            self._torn = "\n" if written < len(data) else ""
            if self._torn:
                raise OSError("the disk is full")  # noqa: TRY301
        except OSError as exc:
            raise AuditLogError(
                f"the audit log {self._path} can't be written",
                exc.strerror or str(exc),
                "mend that, or ask for no log: DOCKER_KERNEL_AUDIT_LOG, or c.Settings.audit_log",
            ) from exc


def _flags() -> int:
    # A link is not followed, and a pipe is not waited for: another may have laid it there.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return flags


def row_of(request: wire.Request) -> Row | None:
    """What the log has of a request; None for what runs nothing and moves nothing."""
    about = _ABOUT.get(type(request))
    if about is None:
        return None
    found = about(request)
    if found is None:
        return None
    session = {"session": request.session} if isinstance(request, wire.SessionRequest) else {}
    return {"id": request.id, **found, **session}


def _cell(request: wire.Execute) -> Row:
    row = {"kind": "cell", "sha256": sha256(request.code)}
    if not request.user_expressions:
        return row
    # They are code, too; a program that speaks to the kernel may have all of its own there.
    expressions = "\n".join(map(str, request.user_expressions.values()))
    return {**row, "expressions_sha256": sha256(expressions)}


def _command(request: wire.Run) -> Row:
    kind = "pip" if _PIP.match(request.command) else "command"
    row = {"kind": kind, "sha256": sha256(request.command)}
    # run_python_code has its code there.
    return {**row, "stdin_sha256": sha256(request.stdin)} if request.stdin else row


def _put(request: wire.PutFile) -> Row | None:
    if request.offset:  # the pieces after the first
        return None
    return {"kind": "put", "path": request.path, "bytes": request.size, "sha256": request.sha256}


def _get(request: wire.GetFile) -> Row | None:
    return None if request.offset else {"kind": "get", "path": request.path}


_ABOUT: dict[type[wire.Request], Callable[[Any], Row | None]] = {
    wire.Execute: _cell,
    wire.Run: _command,
    wire.PutFile: _put,
    wire.GetFile: _get,
    wire.RemoveFile: lambda request: {"kind": "remove", "path": request.path},
    wire.Push: lambda _: {"kind": "push"},
    wire.Pull: lambda request: {"kind": "pull", "names": request.names},
    wire.CommOpenRequest: lambda _: {"kind": "widget"},
    wire.CommMsgRequest: lambda _: {"kind": "widget"},
    wire.CommCloseRequest: lambda _: {"kind": "widget"},
    wire.OpenSession: lambda _: {"kind": "open"},
    wire.RestartSession: lambda _: {"kind": "restart"},
    wire.CloseSession: lambda _: {"kind": "close"},
    wire.Interrupt: lambda _: {"kind": "interrupt"},
    wire.Cancel: lambda _: {"kind": "interrupt"},
}
"""What stands in the log. An answer to input() doesn't: it may be a password, and a hash of one can
be guessed. Nor do questions (completion, history, status)."""


def sha256(text: str) -> str:
    """The hash of a text, as `sha256sum` has it for a file of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
