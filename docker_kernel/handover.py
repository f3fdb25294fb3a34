"""A note from one process of a kernel to the next: which container it had.

Jupyter restarts a kernel by a new process with the same connection file. The note lies beside that
file, readable by its owner alone, as it holds the container's secret.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir

from docker_kernel_server.message import MAX_ID_CHARS

SUFFIX = ".docker-kernel"
"""Not .json: Jupyter takes every kernel-*.json in this folder for a connection file."""

KEPT = "docker-kernel-warm-"
"""How the notes begin of containers that were started ahead (backends/warm.py)."""

KEPT_SECONDS = 1800.0
"""How long such a container waits for its kernel."""

MAX_BYTES = 64 * 1024
"""A file that is longer wasn't written by us."""


def kernel_name(connection_file: str) -> str:
    """What we call the kernel with this connection file: the file's name, shortened if it's long.

    On the wire a name may have 200 characters, and a file's has something behind it.
    """
    name = os.fsencode(Path(connection_file).stem)
    if len(name) > MAX_ID_CHARS:
        digest = hashlib.sha256(name).hexdigest()
        # Not in the midst of a character.
        begin = name[: MAX_ID_CHARS - len(digest) - 1].decode("utf-8", "ignore")
        return f"{begin}-{digest}"
    return Path(connection_file).stem


def any_kept() -> bool:
    """Whether a container was started ahead for some kernel, most likely."""
    return not all(map(is_over, Path(jupyter_runtime_dir()).glob(f"{KEPT}*")))


def is_over(note: Path) -> bool:
    """Whether the container of such a note has ended by now."""
    try:
        return time.time() - note.stat().st_mtime > KEPT_SECONDS
    except OSError:  # another kernel has taken it
        return True


class HandoverFile:
    """The note that belongs to a connection file."""

    def __init__(self, connection_file: str) -> None:
        path = Path(connection_file)
        folder = path.parent if path.parent != Path() else Path(jupyter_runtime_dir())
        if path.exists():
            folder = path.resolve().parent
        self.path = folder / f"{kernel_name(connection_file)}{SUFFIX}"

    def read(self) -> dict[str, str] | None:
        """What the process before left, None for nothing of use."""
        return _read(self.path)

    def write(self, note: dict[str, str], anew: bool = False) -> None:
        """Leave a note, in one step: no other process sees half of it. ``anew``: FileExistsError
        where there is one."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(note, file)
        if not anew:
            draft.replace(self.path)
            return
        try:
            os.link(draft, self.path)
        finally:
            draft.unlink()

    def take(self) -> dict[str, str] | None:
        """Read it and take it away, in one step: of several processes one gets it."""
        mine = self.path.with_name(f"{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self.path.rename(mine)
        except OSError:
            return None
        try:
            return _read(mine)
        finally:
            mine.unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the note away."""
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, str] | None:
    try:
        with path.open("rb") as file:
            if not _is_ours(file.fileno()):
                return None  # somebody else's idea of which server to trust
            note = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict):
        return None
    return {str(key): value for key, value in note.items() if isinstance(value, str)}


def _is_ours(file: int) -> bool:
    """Whether an open file belongs to us. On Windows the folder's own rights must do."""
    return sys.platform == "win32" or os.fstat(file).st_uid == os.getuid()
