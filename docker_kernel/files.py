"""Files into the container and out of it, in pieces, over a `Client`.

Paths in the container are relative to its working folder, or absolute. A file appears under its
name whole and checked, or not at all, on either side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .client import Client

Progress = Callable[[int, int], None]
"""Is told how many bytes have been moved, and how many there are."""


@dataclass(frozen=True)
class Entry:
    """One entry of a folder. `kind` is "file", "directory" or "other"; `mtime` in seconds."""

    name: str
    kind: str
    size: int
    mtime: float


def put(client: Client, local: Path | bytes, path: str, progress: Progress | None = None) -> None:
    """Write a file of this machine, or bytes, to ``path`` in the container; folders are made.

    A put that is cut off leaves what was there, and goes on where it was when it is called again.
    Raises OSError for the local file, TransferError, RequestRefused with the server's words,
    ConnectionLost.
    """
    raise NotImplementedError


def get(
    client: Client, path: str, local: Path | None = None, progress: Progress | None = None
) -> bytes | None:
    """Read the container's file ``path`` into ``local``, or return its bytes where that is None.

    After a lost connection, the same call goes on where it was. Raises what `put` raises.
    """
    raise NotImplementedError


def list(client: Client, path: str) -> tuple[Entry, ...]:  # noqa: A001 - files.list is the name
    """What is in a folder of the container, by name. Raises RequestRefused, ConnectionLost."""
    raise NotImplementedError


def remove(client: Client, path: str) -> None:
    """Remove a file of the container. Raises RequestRefused, ConnectionLost."""
    raise NotImplementedError
