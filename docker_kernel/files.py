"""Files into the container and out of it, in pieces, over a `Client`.

Paths in the container are relative to its working folder, or absolute. A file appears under its
name whole and checked, or not at all, on either side.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from docker_kernel_server import messages as wire
from docker_kernel_server.errors import BadMessage

from .client import Client
from .errors import ConnectionLost, TransferError

MAX_TRIES = 3
"""How often a transfer is begun again: by an upload that is gone, or a file that changes."""

MAX_ENTRIES = 1_000_000
"""The most entries of a folder that `list` gives."""

MAX_NAMES_CHARS = 256 * MAX_ENTRIES

SIZELESS_BYTES = 64 * 1024 * 1024
"""The most that is taken of a file that says it has no size, such as those in /proc."""

Progress = Callable[[int, int], None]
"""Is told how many bytes have been moved, and how many there are."""


@dataclass(frozen=True)
class Entry:
    """One entry of a folder. `kind` is "file", "directory" or "other"; `mtime` in seconds."""

    name: str
    kind: str
    size: int
    mtime: float


class _Changed(Exception):
    """The file is another than the one whose first pieces were read."""


def put(client: Client, local: Path | bytes, path: str, progress: Progress | None = None) -> None:
    """Write a file of this machine, or bytes, to ``path`` in the container; folders are made.

    A put that is cut off leaves what was there, and goes on where it was when it is called again
    within five minutes. Raises OSError for the local file, TransferError, RequestRefused with the
    server's words, ConnectionLost.
    """
    source: BinaryIO = io.BytesIO(local) if isinstance(local, bytes) else local.open("rb")
    with source:
        size, digest = _measure(source)
        written, tries, done = 0, 0, False
        while not done:
            source.seek(written)
            piece = source.read(min(wire.MAX_PIECE_BYTES, size - written))
            (data,) = wire.pack_buffers([piece])
            request = wire.PutFile(client.new_id(), path, data, written, size, digest)
            answer = _ask(client, request)
            now, done = _whole(answer, "written"), bool(answer.get("done"))
            if now <= written and not done:
                tries += 1
            if tries > MAX_TRIES or now > size:
                raise TransferError(
                    f"{path!r} was not written",
                    f"the server has {now} bytes of it, and goes no further",
                    "try again",
                )
            written = now
            if progress is not None:
                progress(written, size)


def get(
    client: Client, path: str, local: Path | None = None, progress: Progress | None = None
) -> bytes | None:
    """Read the container's file ``path`` into ``local``, or return its bytes where that is None.

    After a lost connection, the same call goes on where it was: what had come is kept beside
    ``local``. Raises what `put` raises.
    """
    for _ in range(MAX_TRIES):
        try:
            if local is None:
                memory = io.BytesIO()
                _fetch(client, path, memory, progress)
                return memory.getvalue()
            _fetch_file(client, path, local, progress)
        except _Changed:
            continue
        return None
    raise TransferError(
        f"{path!r} could not be read",
        "it changed while it was being read",
        "wait until nothing writes to it, or copy it in the container and get the copy",
    )


def list(client: Client, path: str) -> tuple[Entry, ...]:  # noqa: A001 - files.list is the name
    """What is in a folder of the container, by name. Raises RequestRefused, ConnectionLost."""
    found: dict[str, Entry] = {}
    chars = 0
    last, more = "", True
    while more:
        answer = _ask(client, wire.ListFiles(client.new_id(), path, last))
        try:
            entries = [_entry(item) for item in answer["entries"]]
        except (LookupError, TypeError, ValueError) as exc:
            raise _damaged(path, f"the server's list can't be read: {exc!r}") from exc
        found.update((entry.name, entry) for entry in entries)
        chars += sum(len(entry.name) for entry in entries)
        if len(found) > MAX_ENTRIES or chars > MAX_NAMES_CHARS:
            raise TransferError(
                f"{path!r} can't be listed",
                f"it has more than {MAX_ENTRIES} entries",
                "list it in the container",
            )
        # A server that gives no further name ends it, whatever it says.
        more = bool(answer.get("more")) and bool(entries) and entries[-1].name > last
        last = entries[-1].name if entries else last
    return tuple(found.values())


def remove(client: Client, path: str) -> None:
    """Remove a file of the container. Raises RequestRefused, ConnectionLost."""
    client.ask(wire.RemoveFile(client.new_id(), path))


# ---- one piece after another -------------------------------------------------------------------


def _fetch(
    client: Client,
    path: str,
    sink: BinaryIO,
    progress: Progress | None,
    folder: Path | None = None,
) -> None:
    """Read a file to the end of ``sink``, which may have the beginning. _Changed, TransferError."""
    digest = hashlib.sha256()
    offset = _digest_into(sink, digest)
    before, eof = None, False
    while not eof:
        answer = _ask(client, wire.GetFile(client.new_id(), path, offset, wire.MAX_PIECE_BYTES))
        state = (_whole(answer, "size"), answer.get("mtime"))
        try:
            (data,) = wire.unpack_buffers([answer.get("data", "")])
        except BadMessage as exc:
            raise _damaged(path, str(exc)) from exc
        eof = bool(answer.get("eof"))
        if before not in (None, state):
            raise _Changed
        if not data and not eof:
            raise _damaged(path, "the server gives nothing more, and doesn't say that it is all")
        if before is None:
            _check_room(path, folder, state[0] - offset)
        if offset + len(data) > (state[0] or SIZELESS_BYTES):
            if state[0]:
                raise _Changed
            raise _damaged(path, "it says that it is empty, and there is no end to it")
        before = state
        sink.write(data)
        digest.update(data)
        offset += len(data)
        if progress is not None:
            progress(offset, max(offset, state[0]))
    if answer.get("sha256") != digest.hexdigest():
        raise _Changed


def _check_room(path: str, folder: Path | None, size: int) -> None:
    """TransferError where there is no room for so much: a disk that is full harms others."""
    if folder is None:
        import psutil  # type: ignore[import-untyped,unused-ignore]  # slow

        room, where = psutil.virtual_memory().available, "this machine's free memory"
    else:
        room, where = shutil.disk_usage(folder).free, f"the free room in {folder}"
    if size > room:
        raise TransferError(
            f"{path!r} was not fetched",
            f"it has {size} bytes more, and {where} is {room} bytes",
            "make room, or fetch less",
        )


def _fetch_file(client: Client, path: str, local: Path, progress: Progress | None) -> None:
    if local.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(local))
    name = hashlib.sha256(f"{local.name}\n{path}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = local.with_name(f".docker-kernel-{name}.part")
    part = local.with_name(f".docker-kernel-{secrets.token_hex(8)}.part")
    try:
        with _open_part(part, kept) as sink:
            _fetch(client, path, sink, progress, local.absolute().parent)
            with contextlib.suppress(FileNotFoundError):
                state = local.lstat()
                if stat.S_ISREG(state.st_mode):
                    _chmod(sink, part, stat.S_IMODE(state.st_mode))
            ours = os.fstat(sink.fileno())
        # A link that stands there is replaced, not followed: in a folder that the container shares,
        # its code could have laid it, in the place of the part, too.
        part.replace(local)
    except ConnectionLost:
        part.replace(kept)
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if not os.path.samestat(ours, local.lstat()):
        raise _damaged(path, f"something else was put into the place of {local} meanwhile")


def _chmod(file: BinaryIO, path: Path, mode: int) -> None:
    """Change the mode of an open file, and of no other that has taken its name."""
    if sys.platform == "win32":
        path.chmod(mode)
    else:
        os.fchmod(file.fileno(), mode)


def _open_part(part: Path, kept: Path) -> BinaryIO:
    """The beginning of the file that an earlier call has ``kept``, else an empty file."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with contextlib.suppress(OSError):
        # Taken away first: nobody else goes on with it as well.
        kept.replace(part)
        sink = os.fdopen(os.open(part, flags), "r+b")
        state = os.fstat(sink.fileno())
        # Not what the container's code may have laid there, which leads to another file.
        if stat.S_ISREG(state.st_mode) and state.st_nlink == 1:
            return sink
        sink.close()
    part.unlink(missing_ok=True)
    return os.fdopen(os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o666), "r+b")


def _measure(source: BinaryIO) -> tuple[int, str]:
    digest = hashlib.sha256()
    return _digest_into(source, digest), digest.hexdigest()


def _digest_into(source: BinaryIO, digest: Any) -> int:
    """Add all of a file to a digest; how many bytes it has."""
    source.seek(0)
    size = 0
    while data := source.read(wire.MAX_PIECE_BYTES):
        digest.update(data)
        size += len(data)
    return size


def _ask(client: Client, request: wire.FileRequest) -> dict[str, Any]:
    answer = client.ask(request)
    if not isinstance(answer, dict):
        raise _damaged(request.path, f"the server answers {answer!r}")
    return answer


def _whole(answer: dict[str, Any], key: str) -> int:
    value = answer.get(key)
    if not isinstance(value, int) or value < 0:
        raise _damaged("the file", f"the server answers with {key} {value!r}")
    return value


def _entry(item: dict[str, Any]) -> Entry:
    name = str(item["name"])
    # Somebody may make a path of this machine with it.
    if name in ("", "..") or "\0" in name or PurePath(name).name != name:
        raise ValueError(f"{name!r} is no name of a file")
    return Entry(name, str(item["kind"]), int(item["size"]), float(item["mtime"]))


def _damaged(path: str, why: str) -> TransferError:
    return TransferError(f"{path!r} could not be moved", why, "try again")
