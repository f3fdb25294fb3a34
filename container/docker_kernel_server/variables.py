"""Variables of a session in and out, by way of a file: the worker's side of push and pull."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from typing import Any

from . import values
from .errors import RequestRefused
from .message import Json
from .messages import Pull, Push
from .shells import Shell


def push(request: Push, shell: Shell) -> None:
    """Set the variables that a file holds, and remove the file. `RequestRefused`."""
    try:
        with open(request.path, "rb") as file:
            blob = file.read()
        found = values.unpack(blob, _load)
    except (OSError, ValueError) as exc:
        raise RequestRefused(f"the variables were not set: {exc}") from exc
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(request.path)
    shell.set_variables(found)


def pull(request: Pull, shell: Shell) -> Json:
    """Write variables into a fresh file. `RequestRefused` names what can't be."""
    variables = shell.variables()
    missing = [name for name in request.names if name not in variables]
    if missing:
        raise RequestRefused(f"not defined: {', '.join(missing)}")
    try:
        pieces = values.pieces({name: variables[name] for name in request.names})
        return _write(pieces)
    except values.Unmovable as exc:
        raise RequestRefused(str(exc)) from exc
    except OSError as exc:
        raise RequestRefused(f"the variables can't be written to a file: {exc}") from exc


def _write(pieces: Any) -> Json:
    fd, path = tempfile.mkstemp(".values", "docker-kernel-")
    try:
        with open(fd, "wb") as file:
            file.writelines(pieces)
            return {"path": os.path.abspath(path), "size": file.tell()}
    except BaseException:
        os.unlink(path)
        raise


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise ValueError(
            f"the container's Python has no {name}; install it there: pip install {name}"
        ) from exc
