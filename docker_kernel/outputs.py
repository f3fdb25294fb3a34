"""Wire events as Jupyter messages: pure functions, no I/O.

The contents are those of ipykernel, key for key, so that no frontend sees a difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from docker_kernel_server import messages as wire

from .errors import DockerKernelError
from .texts import plain

Content = dict[str, Any]

_FATES = {
    "timeout": ("TimeoutError", "The cell was ended because its time was over."),
    "died": ("SessionDied", "The session's process ended."),
    "closed": ("SandboxClosed", "The server was stopped while the cell ran."),
    "refused": ("RequestRefused", "The server refused the cell."),
}
"""For each reason of a final without a reply: the error's name, and what to say at least."""

_RESET = "Variables were reset; the next cell runs in a fresh session."


@dataclass(frozen=True)
class Output:
    """One message for the iopub channel."""

    msg_type: str
    content: Content
    metadata: Content = field(default_factory=dict)
    buffers: list[bytes] = field(default_factory=list)


def output_of(event: wire.Event) -> Output | None:
    """The Jupyter message of an event; None where it has none (a fault, a request for input)."""
    if isinstance(event, wire.Chunk):
        return stream(event.stream, event.data)
    if isinstance(event, wire.Result):
        return Output(
            "execute_result",
            {
                "data": event.data,
                "metadata": event.metadata,
                "execution_count": event.execution_count,
            },
        )
    if isinstance(event, (wire.Display, wire.UpdateDisplay)):
        kind = "display_data" if isinstance(event, wire.Display) else "update_display_data"
        content = {
            "data": event.data,
            "metadata": event.metadata,
            "transient": event.transient,
        }
        return Output(kind, content)
    if isinstance(event, wire.ClearOutput):
        return Output("clear_output", {"wait": event.wait})
    if isinstance(event, wire.Error):
        return error(event.ename, event.evalue, event.traceback)
    if isinstance(event, wire.Gap):
        return stream("stderr", words_of_gap(event))
    return _comm(event)


def words_of_gap(gap: wire.Gap) -> str:
    """What the person must know of output that is missing."""
    return (
        f"\n[some {_size(gap.bytes)} of output are missing here: the connection was away, and more "
        "was printed than is kept]\n"
    )


def _comm(event: wire.Event) -> Output | None:
    if not isinstance(event, (wire.CommOpen, wire.CommMsg, wire.CommClose)):
        return None
    content: Content = {"comm_id": event.comm_id, "data": event.data}
    if isinstance(event, wire.CommOpen):
        content["target_name"] = event.target_name
        content["target_module"] = event.target_module
    return Output(event.TYPE, content, event.metadata, wire.unpack_buffers(event.buffers))


def stream(name: str, text: str) -> Output:
    """Text on "stdout" or "stderr"."""
    return Output("stream", {"name": name, "text": text})


def error(ename: str, evalue: str, traceback: list[str]) -> Output:
    """An exception, or what stands for one."""
    return Output("error", {"ename": ename, "evalue": evalue, "traceback": traceback})


def reply_of_error(output: Output, execution_count: int) -> Content:
    """The execute_reply that goes with an `error` message."""
    return {
        "status": "error",
        **output.content,
        "execution_count": execution_count,
        "user_expressions": {},
        "payload": [],
    }


def error_of_exception(exc: Exception) -> Output:
    """What the person sees where the sandbox failed: the text with its remedy, no traceback."""
    name = type(exc).__name__
    if isinstance(exc, DockerKernelError):
        return error(name, plain(exc.what), [str(exc)])
    return error(name, plain(str(exc)), [plain(f"{name}: {exc}")])


MALFORMED = error(
    "MalformedReply",
    "the session has sent a reply that can't be read; restart the kernel",
    ["The session has sent a reply that can't be read. Restart the kernel."],
)


def error_of_final(final: wire.Final) -> Output | None:
    """The error of a request that ended without a reply of the session's; None where it has one."""
    if final.reason == "error" and isinstance(final.result, str):
        # The shell could not do what was asked: "ValueError: why".
        words = plain(final.result)
        ename, _, evalue = words.partition(": ")
        return error(ename, evalue, [words])
    if final.reason not in _FATES:
        # Code that isn't trusted runs where this comes from.
        return None if final.result is None or isinstance(final.result, dict) else MALFORMED
    ename, words = _FATES[final.reason]
    detail = _detail(final.result)
    if detail:
        words = detail
    elif final.code:
        words = f"{words} ({plain(final.code)})"
    lines = [words, _RESET] if final.reason == "died" and "ariables" not in words else [words]
    return error(ename, words, ["\n".join(lines)])


def _detail(result: Any) -> str:
    """What the server says of an end, be it text or an object with a text in it."""
    if isinstance(result, dict):
        for key in ("detail", "message", "evalue"):
            if isinstance(result.get(key), str):
                return plain(result[key].strip())
        return ""
    return plain(result.strip()) if isinstance(result, str) else ""


def sendable(value: Any) -> Any:
    """The value with U+FFFD for each lone surrogate in it, as UTF-8 can't write those."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value
    if isinstance(value, dict):
        return {sendable(key): sendable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [sendable(item) for item in value]
    return value


def reply_of_final(final: wire.Final) -> Content:
    """The content of a reply: what the session has made, or the error of its end."""
    lost = error_of_final(final)
    if lost is not None:
        return {"status": "error", **sendable(lost.content)}
    return dict(sendable(final.result)) if isinstance(final.result, dict) else {}


def plain_header(header: Content) -> Content:
    """A Jupyter header with its date as text, as it stood in the message."""
    date = header.get("date")
    return {**header, "date": date.isoformat() if isinstance(date, datetime) else date}


def describe_data(mime: str, data: Any) -> str:
    """A line for a terminal that can't show this: what it is and how big."""
    text = data if isinstance(data, str) else "".join(data) if isinstance(data, list) else str(data)
    binary = (
        mime.startswith(("image/", "audio/", "video/", "application/pdf")) and "xml" not in mime
    )
    # Three bytes to four characters, less the padding; newlines don't count.
    clean = re.sub(r"\s", "", text) if binary else text
    size = len(clean) * 3 // 4 - clean[-2:].count("=") if binary else len(text.encode())
    return f"[{mime}, {_size(size)}]"


def _size(count: int) -> str:
    if count < 10_000:
        return f"{count} bytes"
    if count < 10_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.0f} MB"
