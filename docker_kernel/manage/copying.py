"""Files into the container and out of it, where a cell asks for it, and may be anybody's.

What the container sees anyway it copies itself, with its own rights. Where it doesn't see the
workspace folder (on an engine of another machine, say), this process copies: in that folder alone,
through no link, and nothing that the container would not get if it were here.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePath

from .. import files
from ..backends.guarded import own_places
from ..backends.mounts import WORKPLACE, why_not_mounted
from ..backends.workspace import choose_user, may
from ..commands import Command, run
from ..config import Settings
from ..deadline import Deadline
from ..errors import TransferError, UsageError
from ..inside import COPY_FILE
from ..places import lies_in, same_place
from ..sandbox import Sandbox
from .keeping import CONNECT_SECONDS, Show
from .looking import ask_status

_OPEN_FOLDER = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
) | getattr(os, "O_CLOEXEC", 0)


_MENDED = {
    "FileNotFoundError": "see what there is: !ls",
    "IsADirectoryError": "name a file, not a folder",
    "PermissionError": "see who may: !id; !ls -la",
}
"""What to type, by the error of the code in the container."""


def put(sandbox: Sandbox, local: str, remote: str | None, show: Show) -> str:
    """Copy a file of the workspace folder into the container. Blocks.

    Raises UsageError, TransferError, ConnectionLost, RequestRefused, OSError.
    """
    folder = sandbox.settings.workspace_folder()
    inner = _inner(folder, local)
    target = remote or inner.name
    if _is_mounted(sandbox):
        _copy_inside(sandbox, _inside(inner), target)
    else:
        _check_allowed(sandbox.settings, folder)
        with (
            _open_folder(folder, inner.parent, sandbox.settings) as place,
            _open_source(place, inner.name, sandbox.settings, folder) as source,
            closing(sandbox.connection()) as client,
        ):
            files.put(client, source, target, _progress(show, local))
    return f"{local} is {target} in the container."


def get(sandbox: Sandbox, remote: str, local: str | None, show: Show) -> str:
    """Copy a file of the container into the workspace folder. Blocks.

    Raises what `put` raises.
    """
    folder = sandbox.settings.workspace_folder()
    inner = _inner(folder, local or PurePath(remote).name)
    if _is_mounted(sandbox):
        _copy_inside(sandbox, remote, _inside(inner))
    else:
        _check_allowed(sandbox.settings, folder)
        with (
            _open_folder(folder, inner.parent, sandbox.settings) as place,
            closing(sandbox.connection()) as client,
        ):
            _check_target(folder / inner, place, sandbox.settings, folder)
            files.get(client, remote, place / inner.name, _progress(show, remote))
    return f"{remote} of the container is {inner} in the workspace folder."


def _inner(folder: Path, text: str) -> PurePath:
    """The path below the workspace folder that is meant, by its name alone. Raises UsageError."""
    path = Path(os.path.normpath(folder / text))
    if path != folder and path.is_relative_to(folder):
        return path.relative_to(folder)
    raise UsageError(
        f"{text!r} was not copied",
        f"it isn't in the workspace folder {folder}, and cells have no other files of this machine",
        "name a file in that folder",
    )


def _inside(inner: PurePath) -> str:
    return f"{WORKPLACE}/{inner.as_posix()}"


# -- where the container sees the folder


def _is_mounted(sandbox: Sandbox) -> bool:
    """Whether the container sees the workspace folder. Raises EngineError, StartTimeout."""
    if not sandbox.container:
        return False
    from ..backends.docker import Engine  # slow

    with (
        closing(Engine(os.environ, Deadline(CONNECT_SECONDS))) as engine,
        engine.calling("looking at the container", Deadline(CONNECT_SECONDS)) as api,
    ):
        mounts = api.inspect_container(sandbox.container)["Mounts"]
    return any(item["Destination"] == WORKPLACE and item["Type"] == "bind" for item in mounts)


def _copy_inside(sandbox: Sandbox, source: str, target: str) -> None:
    with closing(sandbox.connection()) as client:
        python = str(ask_status(client)["executable"])
        words = [python, "-I", "-S", "-c", COPY_FILE, source, target]
        done = run(client, Command(shlex.join(words)))
    if not done.success:
        raise TransferError(f"{source!r} was not copied", *_why(done.error, done.stderr))


def _why(error: str, stderr: str) -> tuple[str, str]:
    """Why, and what to type, of what the code in the container has said."""
    last = "".join(stderr.strip().splitlines()[-1:])
    kind, _, words = last.partition(": ")
    if not error and kind in _MENDED:
        return words.partition("] ")[2] or words, _MENDED[kind]
    return error or last, "see what there is: !ls"


# -- where it doesn't


def _check_allowed(settings: Settings, folder: Path) -> None:
    """Raise UsageError where the container is not to see the folder at all."""
    why = "the setting mount_workspace says so" if not settings.mount_workspace else ""
    why = why or why_not_mounted(folder, settings, [])
    if why:
        raise UsageError(
            "nothing was copied",
            f"this notebook's code is not to see the folder {folder}: {why}",
            "copy it yourself, in a terminal",
        )


@contextmanager
def _open_folder(folder: Path, inner: PurePath, settings: Settings) -> Iterator[Path]:
    """A folder below `folder` that the container's user may enter, and that stays the same, whoever
    puts a link in its place meanwhile.

    Raises UsageError.
    """
    if sys.platform != "linux":
        path = (folder / inner).resolve()
        if not path.is_relative_to(folder) or not path.is_dir():
            raise _no_folder(folder / inner)
        yield path
        return
    place = os.open(folder, _OPEN_FOLDER)
    try:
        for part in inner.parts:
            try:
                inner_place = os.open(part, _OPEN_FOLDER, dir_fd=place)
            except OSError as exc:
                raise _no_folder(folder / inner) from exc
            os.close(place)
            place = inner_place
            if not may(choose_user(settings.user, folder), Path(f"/proc/self/fd/{place}"), os.X_OK):
                raise UsageError(
                    "nothing was copied", f"the container's user may not enter {part}", "see: ls -l"
                )
        yield Path(f"/proc/self/fd/{place}")
    finally:
        os.close(place)


def _no_folder(path: Path) -> UsageError:
    return UsageError(
        "nothing was copied", f"{path} is no folder, or is reached by a link", "name it as it is"
    )


@contextmanager
def _open_source(place: Path, name: str, settings: Settings, folder: Path) -> Iterator[Path]:
    """A file that may be read, and stays the same. Raises UsageError, OSError."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if (place / name).is_symlink():  # where the flag isn't known, or is an error of its own
        raise UsageError(f"{name!r} was not copied", "it is a link", "name the file itself")
    source = os.open(place / name, flags | getattr(os, "O_CLOEXEC", 0))
    try:
        path = Path(f"/proc/self/fd/{source}") if sys.platform == "linux" else place / name
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise UsageError(f"{name!r} was not copied", "it is no file", "name a file")
        if not may(choose_user(settings.user, folder), path, os.R_OK):
            raise UsageError(
                f"{name!r} was not copied", "the container's user may not read it", "see: ls -l"
            )
        yield path
    finally:
        os.close(source)


def _check_target(path: Path, place: Path, settings: Settings, folder: Path) -> None:
    """Raise UsageError where nothing may be written."""
    real = path.parent.resolve() / path.name
    if any(lies_in(real, own) for own in own_places()):
        why = "it is part of the Python that runs this kernel"
    elif settings.audit_log and same_place(real, Path(settings.audit_log).expanduser().resolve()):
        why = "it is the audit log"
    elif not may(choose_user(settings.user, folder), place, os.W_OK | os.X_OK):
        why = "the container's user may not write there"
    else:
        return
    raise UsageError(f"{path} was not written", why, "choose another place")


def _progress(show: Show, name: str) -> files.Progress:
    def tell(done: int, size: int) -> None:
        show(f"copying {name}: {done / 1e6:.1f} of {size / 1e6:.1f} MB")

    return tell
