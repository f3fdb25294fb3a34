"""What two kernels sent in the same exchange, compared message by message."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from jupyter_kernel_test.msgspec_v5 import validate_message

from frontend import FENCE, Exchange, Message

Differences = dict[str, tuple[Any, Any]]
"""Place -> (theirs, ours)."""

REPLACED = [
    (re.compile(r"\b[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"(^|\bdisplay_id=)([0-9a-f]{32}|[0-9a-f]{16})\b"), "HEX"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "ADDRESS"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "DATE"),
    (re.compile(r"\bThread-\d+"), "Thread-N"),
    # The name of a cell's code.
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py|(/[\w.+-]+)*<ipython-input-\d+-[0-9a-f]+>"), "CELL"),
    (re.compile(r"\b\d+\.py(?=, line \d+\)$)"), "CELL"),
    (re.compile(r"(CPU times|Wall time): .*"), r"\1"),
    # Where each has IPython, and Python its own library, of which the two have two versions.
    (re.compile(r"~?(/[\w.+-]+)+/site-packages(?=/)|/opt/docker-kernel/lib(?=/)"), "PACKAGES"),
    (re.compile(r"~?(/[\w.+-]+)+/lib/python3\.\d+(?=/)"), "PYTHON"),
    (re.compile(r'(PYTHON/[\w/]+\.py", line )\d+'), r"\1N"),
    (re.compile(r"(/[\w.+-]+)+/workspace(?=/)"), "/workspace"),
]
"""What can't be the same in two kernels, and what it is replaced by."""

IGNORED = {
    # For ipyparallel before its version 5; nothing else reads it.
    "engine_info",
}
"""Keys that ipykernel sends and we don't."""

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_OF_PYTHON = re.compile(r"^File PYTHON/")
_OF_KERNEL = re.compile(r"^File PACKAGES/ipykernel/")

_ALSO = {
    "input_request": {"prompt", "password"},
    "comm_open": {"comm_id", "target_name", "data"},
    "comm_msg": {"comm_id", "data"},
    "comm_close": {"comm_id", "data"},
    "usage_reply": {"hostname", "pid"},
    "debug_reply": set(),
    "list_subshell_reply": {"status", "subshell_id"},
    "iopub_welcome": {"subscription"},
}
"""What must be in messages that jupyter_kernel_test has no schema for, or one that is wrong."""


def check(message: Message) -> None:
    """Hold a message against the message specification."""
    kind = message["msg_type"]
    assert tuple(map(int, message["header"]["version"].split("."))) >= (5, 4)
    if kind in _ALSO:
        assert _ALSO[kind] <= message["content"].keys(), message
    elif message["content"].get("status") == "aborted":
        assert message["content"] == {"status": "aborted"}
    else:
        validate_message(message, kind)


def differences(theirs: Exchange, ours: Exchange) -> Differences:
    """Where two exchanges differ, as deep inside of the messages as can be said."""
    found: Differences = {}
    first, second = _by_channel(theirs), _by_channel(ours)
    for channel in sorted(first.keys() | second.keys()):
        a, b = first.get(channel, []), second.get(channel, [])
        kinds = [[f"{_parent(*item)}: {item[1]['msg_type']}" for item in items] for items in (a, b)]
        if kinds[0] != kinds[1]:
            found[channel] = (kinds[0], kinds[1])
            continue
        for number, ((_, x), (_, y)) in enumerate(zip(a, b, strict=True), 1):
            for part in ("metadata", "content", "buffers"):
                place = f"{channel} {number} {x['msg_type']}: {part}"
                _compare(place, comparable(x[part]), comparable(y[part]), found)
    return found


def _by_channel(exchange: Exchange) -> dict[str, list[tuple[Exchange, Message]]]:
    """The messages, without those of the fences.

    What control requests cause on iopub is apart from the rest: it comes from another thread.
    """
    found: dict[str, list[Message]] = {}
    for channel, message in exchange.came:
        check(message)
        sent = exchange.asked_by(message)
        if sent is not None and sent.name == FENCE:
            continue
        if message["msg_type"] == "iopub_welcome":  # it greets whoever else has come just now
            continue
        of_control = sent is not None and sent.channel == "control" and channel == "iopub"
        found.setdefault("iopub of control" if of_control else channel, []).append(message)
    return {where: [(exchange, m) for m in join_streams(all_)] for where, all_ in found.items()}


def join_streams(messages: list[Message]) -> list[Message]:
    """The messages with each run of pieces of a text as one: where it is cut is by chance."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if (
            last is not None
            and message["msg_type"] == last["msg_type"] == "stream"
            and message["content"]["name"] == last["content"]["name"]
            and message["parent_header"] == last["parent_header"]
        ):
            text = last["content"]["text"] + message["content"]["text"]
            joined[-1] = {**last, "content": {**last["content"], "text": text}}
        else:
            joined.append(message)
    return joined


def _parent(exchange: Exchange, message: Message) -> str:
    """The request that a message belongs to; its header must be as we sent it."""
    header = message["parent_header"]
    if not header:
        return "nobody"
    sent = exchange.asked_by(message)
    if sent is None:
        return "an earlier request"
    return sent.name if header == sent.header else f"{sent.name}, changed to {header}"


def comparable(value: Any) -> Any:
    """A copy without what can't be the same in two kernels."""
    if isinstance(value, str):
        for pattern, word in REPLACED:
            value = pattern.sub(word, value)
        return value
    if isinstance(value, datetime):
        return "DATE"
    if isinstance(value, dict):
        return {
            comparable(key): _of_key(key, item) for key, item in value.items() if key not in IGNORED
        }
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    return bytes(value) if isinstance(value, memoryview) else value


def _of_key(key: str, item: Any) -> Any:
    if key == "traceback":
        return _traceback(item)
    if key.endswith("_port"):
        return "PORT"
    if key == "version" and isinstance(item, str):
        return re.sub(r"\d+", "N", item)
    return comparable(item)


def _traceback(frames: list[str]) -> list[str]:
    """A traceback without the frames of ipykernel; of Python's library the first line is enough."""
    kept = []
    for frame in map(comparable, frames):
        plain = _COLOUR.sub("", frame)
        if _OF_PYTHON.match(plain):
            kept.append(re.sub(r":\d+", "", plain.split("\n")[0]))
        elif not _OF_KERNEL.match(plain):
            kept.append(frame)
    return kept


def _compare(place: str, a: Any, b: Any, found: Differences) -> None:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            if key in a and key in b:
                _compare(f"{place}.{key}", a[key], b[key], found)
            else:
                found[f"{place}.{key}"] = (a.get(key, "absent"), b.get(key, "absent"))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare(f"{place}.{index}", x, y, found)
    elif a != b or type(a) is not type(b):
        found[place] = (a, b)
