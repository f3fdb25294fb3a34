"""Variables into a session and out of it, by value.

Nothing that comes from the container is run, imported or called here: see `values`.
"""

from __future__ import annotations

import importlib.util
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from docker_kernel_server import messages as wire
from docker_kernel_server import values as codec

from . import files
from .client import Call, Client
from .errors import ConnectionLost, RequestRefused, TransferError
from .replies import server_status

MAX_NAMES_CHARS = 200
"""The most of a container's own names that an error shows."""

NOT_SENT = "the variables were not sent"
NOT_FETCHED = "the variables were not fetched"


def push(client: Client, session: str, values: Mapping[str, Any]) -> None:
    """Set variables in an open session.

    Raises TransferError, which names the variable that can't be moved and why; RequestRefused with
    the server's words; ConnectionLost.
    """
    try:
        blob = codec.pack(values)
    except codec.Unmovable as exc:
        raise TransferError(
            NOT_SENT, str(exc), "send the data in it, or put a file (docker_kernel.files.put)"
        ) from exc
    status = server_status(client.ask(wire.Status(client.new_id())))
    path = f"{status['temp']}/docker-kernel-{secrets.token_hex(8)}.values"
    try:
        files.put(client, blob, path)
        # It removes the file as well.
        _finish(client.request(wire.Push(client.new_id(), session, path)), NOT_SENT)
    except BaseException:
        _drop(client, path)
        raise


def pull(client: Client, session: str, names: Sequence[str]) -> dict[str, Any]:
    """The values of a session's variables, in the order of ``names``. Raises what `push` raises.

    Values of numpy and pandas need the package imported here already: what an import runs is
    nothing that the container may decide.
    """
    wanted = list(dict.fromkeys(names))
    call = client.request(wire.Pull(client.new_id(), session, wanted))
    try:
        path = _finish(call, NOT_FETCHED).get("path")
    except KeyboardInterrupt:
        # The file is on its way.
        call.future.add_done_callback(lambda _: _drop_result(client, call))
        raise
    if not isinstance(path, str):
        raise TransferError(NOT_FETCHED, f"the server names no file: {path!r}", "try again")
    try:
        blob = files.get(client, path) or b""
    finally:
        _drop(client, path)
    try:
        found = codec.unpack(blob, _imported)
    except ValueError as exc:
        raise TransferError(NOT_FETCHED, str(exc)) from exc
    if found.keys() != set(wanted):
        # Only what was asked for, as it becomes the caller's variables.
        sent = ", ".join(found)[:MAX_NAMES_CHARS] or "none"
        raise TransferError(NOT_FETCHED, f"the container sent {sent}", "try again")
    return {name: found[name] for name in wanted}


def _finish(call: Call, what: str) -> dict[str, Any]:
    final = call.result()
    if final.reason == "refused":
        raise RequestRefused(what, str(final.result))
    if final.reason != "ok":
        raise TransferError(what, f"{final.reason}: {final.result}", "try again")
    return final.result if isinstance(final.result, dict) else {}


def _drop(client: Client, path: str) -> None:
    """Remove a file, without waiting for it."""
    try:
        client.request(wire.RemoveFile(client.new_id(), path))
    except ConnectionLost:
        return  # in the container's own folder for what nobody keeps


def _drop_result(client: Client, call: Call) -> None:
    if call.future.exception() is None and isinstance(call.future.result().result, dict):
        _drop(client, str(call.future.result().result.get("path")))


def _imported(name: str) -> Any:
    """A package that is imported already.

    An import would look into the working folder first, which the container can write.
    """
    if name in sys.modules:
        return sys.modules[name]
    if importlib.util.find_spec(name) is None:
        raise ValueError(f"they need {name}; type: pip install {name}, and import {name}")
    raise ValueError(f"they need {name}; type: import {name}, and fetch them again")
