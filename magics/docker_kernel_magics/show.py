"""What a container's cell makes, shown in the host's shell as if it had been made there."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from docker_kernel.outputs import plain_header, words_of_gap
from docker_kernel.texts import for_terminal
from docker_kernel_server import messages as wire

Json = dict[str, Any]


class Value:
    """The value of a cell's last expression: what the container made of it, to be shown here."""

    def __init__(self, data: Json, metadata: Json) -> None:
        self._data = shown(data)
        self._metadata = metadata

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[Json, Json]:
        return self._data, self._metadata

    def __repr__(self) -> str:
        return str(self._data.get("text/plain", "a value in the container"))


class RemoteError(Exception):
    """An error of the container's code. Its traceback is the container's, without frames of ours.

    Each is of a class made for it, with the name of the exception's class there: `type(e).__name__`
    is "ZeroDivisionError", say. The object itself stays in the container.
    """

    def __init__(self, evalue: str, traceback: list[str]) -> None:
        super().__init__(evalue)
        self.traceback = traceback

    def _render_traceback_(self) -> list[str]:
        return self.traceback


def remote_error(ename: str, evalue: str, traceback: list[str]) -> RemoteError:
    """The exception to raise for an error of the container's."""
    # The name comes from code that isn't trusted, and not every text can be a class's name.
    name = ename if ename.isidentifier() else RemoteError.__name__
    cls = type(name, (RemoteError,), {"__module__": "container"})
    error: RemoteError = cls(evalue, [for_terminal(line) for line in traceback])
    return error


def shown(data: Json) -> Json:
    """A MIME bundle; for a terminal, without what would play tricks on it."""
    text = data.get("text/plain")
    if not isinstance(text, str) or not sys.stdout.isatty():
        return data
    return {**data, "text/plain": for_terminal(text)}


def show(event: wire.Event, shell: InteractiveShell) -> None:
    """Show one event. What is not for the eye (an error, a question) is left alone."""
    if isinstance(event, wire.Chunk):
        stream = sys.stderr if event.stream == "stderr" else sys.stdout
        stream.write(for_terminal(event.data) if stream.isatty() else event.data)
        stream.flush()
    elif isinstance(event, (wire.Display, wire.UpdateDisplay)):
        shell.display_pub.publish(
            shown(event.data),
            event.metadata,
            transient=event.transient,
            update=isinstance(event, wire.UpdateDisplay),
        )
    elif isinstance(event, wire.ClearOutput):
        shell.display_pub.clear_output(wait=event.wait)
    elif isinstance(event, wire.Gap):
        say(words_of_gap(event))


def say(text: str) -> None:
    """Tell the person something that isn't the code's own output."""
    sys.stderr.write(text.rstrip("\n") + "\n")
    sys.stderr.flush()


def can_ask(shell: InteractiveShell) -> bool:
    """Whether there is somebody to answer input(): a frontend says so with each cell."""
    kernel = getattr(shell, "kernel", None)
    return kernel is None or bool(getattr(kernel, "_allow_stdin", True))


def parent_header(shell: InteractiveShell) -> Json:
    """The Jupyter header of the cell that runs; {} in a terminal."""
    kernel = getattr(shell, "kernel", None)
    return plain_header(kernel.get_parent().get("header", {})) if kernel is not None else {}
