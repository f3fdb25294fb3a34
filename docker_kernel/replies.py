"""What a session answers, checked before a frontend or a program of this machine gets it.

Code that isn't trusted runs where the answers come from. One of another shape is refused, as a
frontend may fail on it; and a payload is something that a frontend does for a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from docker_kernel_server import messages as wire

from . import outputs
from .errors import RequestRefused
from .texts import plain

Content = dict[str, Any]
Check = Callable[[Any], bool]

MAX_COUNT = 2**53
"""The largest number that every frontend can read."""

MAX_NOTES = 20
"""Notes of a server that are kept for the next cell."""


def is_text(value: Any) -> bool:
    """Whether it is one."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """Whether it is a number of something."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def is_number(value: Any) -> bool:
    """Whether it is one, whole or not, that isn't negative."""
    return is_count(value) or (isinstance(value, float) and 0 <= value < MAX_COUNT)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def _are_objects(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_object, value.values()))


def _is_ok(value: Any) -> bool:
    return bool(value == "ok")


def _says_complete(value: Any) -> bool:
    return value in ("complete", "incomplete", "invalid", "unknown")


_SHAPES: dict[type[wire.Request], dict[str, Check]] = {
    wire.Execute: {
        "status": _is_ok,
        "execution_count": is_count,
        "user_expressions": _is_object,
        "payload": _is_list,
    },
    wire.Complete: {
        "status": _is_ok,
        "matches": _are_texts,
        "cursor_start": is_count,
        "cursor_end": is_count,
        "metadata": _is_object,
    },
    wire.Inspect: {
        "status": _is_ok,
        "found": lambda value: isinstance(value, bool),
        "data": _is_object,
        "metadata": _is_object,
    },
    wire.History: {"status": _is_ok, "history": _is_list},
    wire.IsComplete: {"status": _says_complete, "indent": is_text},
    wire.CommInfo: {"status": _is_ok, "comms": _are_objects},
}
"""For each request, the keys of its reply, as far as they are there."""

_ERROR: dict[str, Check] = {
    "status": is_text,
    "ename": is_text,
    "evalue": is_text,
    "traceback": _are_texts,
}

_NEEDED: dict[type[wire.Request], tuple[str, ...]] = {
    wire.Execute: ("status", "execution_count"),
    wire.Complete: ("matches", "cursor_start", "cursor_end"),
    wire.Inspect: ("found", "data"),
    wire.History: ("history",),
    wire.IsComplete: ("status",),
    wire.CommInfo: ("comms",),
}

_PAYLOADS: dict[str, dict[str, Check]] = {
    "page": {"data": _is_object, "start": is_count},
    "set_next_input": {"text": is_text},
    "ask_exit": {},
}
"""What a cell may have a frontend do: show a text, set the next input, ask whether to end.

Not `edit_magic`: some frontends start an editor of this machine with the name in it, by a shell.
"""


def reply_to(kind: type[wire.Request], final: wire.Final) -> Content:
    """The content of the reply to a request of this kind: what the session has made of it, or the
    error of its end."""
    content = outputs.reply_of_final(final)
    if not _fits(kind, content):
        return {"status": "error", **outputs.MALFORMED.content}
    if "payload" in content:
        content["payload"] = payloads(content)
    return content


def _fits(kind: type[wire.Request], content: Content) -> bool:
    shape, needed = _SHAPES.get(kind, {}), _NEEDED.get(kind, ())
    if content.get("status") == "error":
        shape, needed = {**shape, **_ERROR}, tuple(_ERROR)
    return all(key in content for key in needed) and all(
        check(content[key]) for key, check in shape.items() if key in content
    )


def payloads(result: Any) -> list[Content]:
    """The payloads of a cell's reply that a frontend of ours may follow."""
    found = result.get("payload") if isinstance(result, dict) else None
    return [item for item in found if _is_payload(item)] if isinstance(found, list) else []


def _is_payload(item: Any) -> bool:
    source = item.get("source") if isinstance(item, dict) else None
    shape = _PAYLOADS.get(source) if isinstance(source, str) else None
    return shape is not None and all(key in item and ok(item[key]) for key, ok in shape.items())


def session_info(answer: Any) -> Content:
    """What a server says of a session that it has opened, as far as it makes sense."""
    found: Content = answer if isinstance(answer, dict) else {}
    info: Content = {"new": found.get("new") is not False}
    for key in ("shell", "python", "ipython", "banner"):
        if is_text(found.get(key)):
            info[key] = plain(found[key])
    for key in ("pid", "execution_count"):
        if is_count(found.get(key)):
            info[key] = found[key]
    notes = found.get("notes") or []
    info["notes"] = [plain(text) for text in notes[:MAX_NOTES]] if _are_texts(notes) else []
    return info


_STATUS: dict[str, Check] = {
    "uptime": is_number,
    "python": is_text,
    "executable": is_text,
    "workplace": is_text,
    "hostname": is_text,
    "temp": is_text,
    "sessions": lambda value: isinstance(value, list) and all(map(_is_session, value)),
}


def _is_session(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_text(value.get("name"))
        and isinstance(value.get("busy"), bool)
        and "pid" in value
        and (value["pid"] is None or is_count(value["pid"]))
        and is_number(value.get("cpu_seconds") or 0)
        and is_count(value.get("memory") or 0)
    )


def server_status(answer: Any) -> Content:
    """What a server says of itself. RequestRefused where that can't be read."""
    found: Content = answer if isinstance(answer, dict) else {}
    for key, check in _STATUS.items():
        if not check(found.get(key)):
            raise RequestRefused(
                "the server's status can't be read",
                f"it says {key} {plain(repr(found.get(key)))[:200]}",
                "install the same version of docker-kernel on both ends",
            )
    limits, machine = found.get("limits"), found.get("machine")
    return {**found, "limits": _numbers(limits), "machine": _numbers(machine)}


def _numbers(value: Any) -> Content:
    found: Content = value if isinstance(value, dict) else {}
    return {key: item for key, item in found.items() if item is None or _measures(key)(item)}


def _measures(key: str) -> Check:
    """Seconds and CPUs come in parts, and nothing else does."""
    return is_number if key in ("cpu_seconds", "cpus_limit") else is_count
