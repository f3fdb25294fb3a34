"""A note from one process of a kernel to the next: which container it had.

Jupyter restarts a kernel by a new process with the same connection file. The note lies beside that
file, readable by its owner alone, as it holds the container's secret.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir

SUFFIX = ".docker-kernel"
"""Not .json: Jupyter takes every kernel-*.json in this folder for a connection file."""

MAX_BYTES = 64 * 1024
"""A file that is longer wasn't written by us."""


class HandoverFile:
    """The note that belongs to a connection file."""

    def __init__(self, connection_file: str) -> None:
        path = Path(connection_file)
        folder = path.parent if path.parent != Path() else Path(jupyter_runtime_dir())
        if path.exists():
            folder = path.resolve().parent
        self.path = folder / f"{path.stem}{SUFFIX}"

    def read(self) -> dict[str, str] | None:
        """What the process before left, None for nothing of use."""
        try:
            with self.path.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_uid != os.getuid():
                    return None  # somebody else's idea of which server to trust
                note = json.loads(file.read(MAX_BYTES))
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict):
            return None
        return {str(key): value for key, value in note.items() if isinstance(value, str)}

    def write(self, note: dict[str, str]) -> None:
        """Leave a note, in one step: no other process sees half of it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(note, file)
        draft.replace(self.path)

    def remove(self) -> None:
        """Take the note away."""
        self.path.unlink(missing_ok=True)
