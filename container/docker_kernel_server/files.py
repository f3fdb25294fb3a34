"""Files into the container and out of it, in pieces, so that no size needs memory.

A file that comes is written beside its place, and takes it when it is complete and its digest fits.
What is slow runs in threads; what is known of the uploads changes on the server's event loop alone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import hashlib
import heapq
import os
import re
import secrets
import stat
import threading
from typing import Any, Callable, Dict, Optional, Tuple, TypeVar, cast

from .errors import BadMessage, RequestRefused
from .message import Json
from .messages import MAX_PIECE_BYTES, FileRequest, GetFile, ListFiles, PutFile, RemoveFile

MAX_UPLOADS = 100
"""Files that are on their way in."""

UPLOAD_IDLE_SECONDS = 300.0
"""An upload of which nothing more comes for so long is dropped."""

MAX_ENTRIES = 10_000
"""The most entries of a folder in one answer."""

MAX_FILE_BYTES = 2**63 - 1
"""What an offset in a file can be."""

CLOSE_SECONDS = 2.0
"""How long the end of the server waits for a piece that is being written."""

DIGEST_BYTES = 1024 * 1024

_SHA256 = re.compile(r"[0-9a-f]{64}")

_HINTS = {
    errno.EACCES: "choose a folder that the container's user may use, such as /tmp",
    errno.EPERM: "choose a folder that the container's user may use, such as /tmp",
    errno.EROFS: "choose a folder that can be written, such as /tmp",
    errno.EISDIR: "name a file in it",
    errno.ENOENT: "list the folder to see what is there",
    errno.ENOSPC: "remove what isn't needed, or choose another folder",
}

T = TypeVar("T")


class Files:
    """Serves the requests for files, and owns the uploads that are not complete."""

    def __init__(self, workplace: str) -> None:
        self._workplace = workplace
        self._uploads: Dict[Tuple[str, int, str], Upload] = {}

    async def serve(self, request: FileRequest) -> Json:
        """The result of a request. `RequestRefused` or `BadMessage` where it can't be done."""
        try:
            path = os.path.join(self._workplace, request.path)
            if isinstance(request, PutFile):
                return await self._put(request, path)
            if isinstance(request, GetFile):
                _check_range("length", request.length, 1, MAX_PIECE_BYTES)
                _check_range("offset", request.offset, 0, MAX_FILE_BYTES)
                return await _in_thread(_read, path, request.offset, request.length)
            if isinstance(request, ListFiles):
                return await _in_thread(_list, path, request.after)
            if isinstance(request, RemoveFile):
                await _in_thread(_remove, path)
                return {}
            raise RequestRefused(f"{request.TYPE!r} can't be asked here")
        except OSError as exc:
            raise RequestRefused(_words(request, exc)) from exc
        except ValueError as exc:  # a NUL in it, or half of a surrogate pair
            raise RequestRefused(f"{request.path!r} is no path: {exc}") from exc

    async def close(self) -> None:
        """Remove what is not complete."""
        for key, upload in list(self._uploads.items()):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(upload.lock.acquire(), CLOSE_SECONDS)
            self._drop(key)

    async def _put(self, request: PutFile, path: str) -> Json:
        _check_range("size", request.size, 0, MAX_FILE_BYTES)
        _check_range("offset", request.offset, 0, request.size)
        if not _SHA256.fullmatch(request.sha256):
            raise BadMessage("put_file: 'sha256' must be 64 hex digits, in lower case")
        if path.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        key = (await _in_thread(os.path.realpath, path), request.size, request.sha256)
        upload = self._uploads.get(key)
        if upload is None:
            if request.offset:
                return {"written": 0, "done": False}
            if len(self._uploads) >= MAX_UPLOADS:
                raise RequestRefused(f"{MAX_UPLOADS} files are on their way already; wait for one")
            upload = self._uploads[key] = Upload(*key)
        # Another connection may send the same file to the same place.
        async with upload.lock:
            if self._uploads.get(key) is not upload:
                return {"written": 0, "done": False}
            return await self._take(key, upload, request)

    async def _take(self, key: Tuple[str, int, str], upload: Upload, request: PutFile) -> Json:
        upload.expire_at(None)
        try:
            done = await _in_thread(upload.take, request.offset, request.data)
        except BaseException:
            self._drop(key)
            raise
        if done:
            self._drop(key)
        else:
            loop = asyncio.get_running_loop()
            upload.expire_at(loop.call_later(UPLOAD_IDLE_SECONDS, self._drop, key))
        return {"written": upload.written, "done": done}

    def _drop(self, key: Tuple[str, int, str]) -> None:
        upload = self._uploads.pop(key, None)
        if upload is not None:
            upload.close()


class Upload:
    """A file that is not complete: a hidden one beside the place that it will take."""

    def __init__(self, path: str, size: int, sha256: str) -> None:
        self.lock = asyncio.Lock()
        self.written = 0
        self._path = path
        self._size = size
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._part = os.path.join(
            os.path.dirname(path), f".docker-kernel-{secrets.token_hex(8)}.part"
        )
        self._timer: Optional[asyncio.TimerHandle] = None
        self._begun = False

    def take(self, offset: int, text: str) -> bool:
        """Write a piece, as far as it isn't there yet; say whether the file is complete.

        A piece from behind what is there is left: ``written`` tells where to go on.
        """
        data = _decode(text)
        if offset + len(data) > self._size:
            raise BadMessage("put_file: a piece goes past the 'size' of its file")
        if not self._begun:
            self._begin()
        fresh = data[self.written - offset :] if offset <= self.written else b""
        with open(self._part, "r+b") as file:
            file.seek(self.written)
            file.write(fresh)
        self._digest.update(fresh)
        self.written += len(fresh)
        if self.written < self._size:
            return False
        if self._digest.hexdigest() != self._sha256:
            raise RequestRefused(
                f"{self._path!r} was not written: what came is not what was announced (its SHA-256 "
                "is another); send it again"
            )
        self._finish()
        return True

    def expire_at(self, timer: Optional[asyncio.TimerHandle]) -> None:
        """Let this timer, and not the one before, end the wait for the next piece."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def close(self) -> None:
        """Remove the part, where it isn't the file by now."""
        self.expire_at(None)
        with contextlib.suppress(OSError):
            os.unlink(self._part)

    def _begin(self) -> None:
        self._old()
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(self._part, flags, 0o666))
        self._begun = True

    def _finish(self) -> None:
        old = self._old()
        if old is not None:
            # As if it had been written in its place.
            os.chmod(self._part, stat.S_IMODE(old.st_mode))
            with contextlib.suppress(PermissionError):
                os.chown(self._part, old.st_uid, old.st_gid)
        os.replace(self._part, self._path)

    def _old(self) -> Optional[os.stat_result]:
        """The file that is there; OSError where it is something that may not be replaced."""
        try:
            old = os.stat(self._path)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        if not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        effective = os.access in os.supports_effective_ids
        if not os.access(self._path, os.W_OK, effective_ids=effective):
            raise PermissionError(errno.EACCES, "Permission denied")
        return old


def _read(path: str, offset: int, length: int) -> Json:
    # Without waiting, for the other end of a pipe may never come.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        state = os.fstat(file.fileno())
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        file.seek(offset)
        # One more byte, and not the size, tells the end: files in /proc say that they have none.
        data = file.read(length + 1)
        result: Json = {
            "data": base64.b64encode(data[:length]).decode("ascii"),
            "size": state.st_size,
            "mtime": state.st_mtime,
            "eof": len(data) <= length,
        }
        if result["eof"]:
            result["sha256"] = _digest_of(file)
        return result


def _digest_of(file: Any) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    for data in iter(lambda: file.read(DIGEST_BYTES), b""):
        digest.update(data)
    return digest.hexdigest()


def _list(path: str, after: str) -> Json:
    with os.scandir(path) as found:
        rest = (entry for entry in found if entry.name > after)
        # No more of them at a time than an answer takes, however many there are.
        entries = heapq.nsmallest(MAX_ENTRIES + 1, rest, key=lambda entry: entry.name)
    return {
        "entries": [_describe(entry) for entry in entries[:MAX_ENTRIES]],
        "more": len(entries) > MAX_ENTRIES,
    }


def _describe(entry: "os.DirEntry[str]") -> Json:
    try:
        state = entry.stat()
    except OSError:  # a link to nowhere, or gone since
        return {"name": entry.name, "kind": "other", "size": 0, "mtime": 0}
    kind = "other"
    if stat.S_ISDIR(state.st_mode):
        kind = "directory"
    elif stat.S_ISREG(state.st_mode):
        kind = "file"
    return {"name": entry.name, "kind": kind, "size": state.st_size, "mtime": state.st_mtime}


def _remove(path: str) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    os.unlink(path)


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadMessage(f"put_file: 'data' is not base64: {exc}") from exc
    if len(data) > MAX_PIECE_BYTES:
        raise BadMessage(f"put_file: 'data' has more than {MAX_PIECE_BYTES} bytes")
    return data


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadMessage(f"{name!r} must be {least} to {most}")


def _words(request: FileRequest, exc: OSError) -> str:
    verb = {"put_file": "written", "get_file": "read", "list_files": "listed"}
    why = (exc.strerror or str(exc)).lower()
    hint = _HINTS.get(exc.errno or 0)
    text = f"{request.path!r} can't be {verb.get(request.TYPE, 'removed')}: {why}"
    return f"{text}; {hint}" if hint else text


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    """Do it in a thread of its own. `RequestRefused` where there can be no further one."""
    loop = asyncio.get_running_loop()
    done: "asyncio.Future[T]" = loop.create_future()

    def tell(result: Optional[T], error: Optional[BaseException]) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(T, result))

    def run() -> None:
        result, error = None, None
        try:
            result = work(*args)
        except BaseException as exc:  # noqa: BLE001 - whoever awaits it deals with it
            error = exc
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(tell, result, error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError as exc:
        raise RequestRefused(f"{exc}; end what has many threads or processes") from exc
    return await done
