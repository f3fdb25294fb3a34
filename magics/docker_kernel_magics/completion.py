"""Completion in %%docker cells, by the session that the cell would run in."""

from __future__ import annotations

import contextlib
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.interactiveshell import InteractiveShell

from docker_kernel.errors import DockerKernelError
from docker_kernel_server import messages as wire

from .options import cell_options, option_names
from .sandboxes import Sandboxes

PATIENCE_SECONDS = 5.0
"""How long a key press may wait for the container."""

SUBSHELL = "completion"
"""Completions are answered while a cell of the session runs in the background."""

NOTHING: dict[str, Any] = {"completions": []}


class CellCompleter:
    """Asks the session; a container that isn't there is not started for it."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

        @context_matcher(identifier="docker_kernel_magics")
        def matcher(context: CompletionContext) -> dict[str, Any]:
            return self.complete(context)

        self._matcher = matcher

    def add_to(self, shell: InteractiveShell) -> None:
        """Let the shell ask here."""
        shell.Completer.custom_matchers.append(self._matcher)

    def remove_from(self, shell: InteractiveShell) -> None:
        """Undo `add_to`."""
        shell.Completer.custom_matchers.remove(self._matcher)

    def complete(self, context: CompletionContext) -> dict[str, Any]:
        """IPython's matcher: what stands in the cell, and where the cursor is."""
        text = context.full_text
        if not text.startswith("%%docker"):
            return NOTHING
        first, _, code = text.partition("\n")
        lines = text.split("\n")
        before = "\n".join([*lines[: context.cursor_line], ""])
        cursor = len(before) + context.cursor_position - len(first) - 1
        if cursor < 0:
            return _options(context.token)
        with contextlib.suppress(DockerKernelError, TimeoutError, ValueError):
            return self._ask(first, code, cursor)
        return NOTHING

    def _ask(self, first: str, code: str, cursor: int) -> dict[str, Any]:
        options = cell_options(first.partition(" ")[2])
        place = self._sandboxes.places.get(options.image)
        session = place.sessions.get(options.session) if place and not options.shell else None
        client = session.session.ready if session else None
        if session is None or client is None:
            return NOTHING
        request = wire.Complete(
            client.new_id(), session.session.name, code, cursor, subshell=SUBSHELL
        )
        reply = client.ask(request, PATIENCE_SECONDS)
        types = reply.get("metadata", {}).get("_jupyter_types_experimental", [])
        kinds = {item["text"]: item.get("type") for item in types}
        return {
            "completions": [
                SimpleCompletion(text=name, type=kinds.get(name)) for name in reply["matches"]
            ],
            "matched_fragment": code[reply["cursor_start"] : cursor],
            "suppress": True,
            "ordered": True,
        }


def _options(token: str) -> dict[str, Any]:
    found = [SimpleCompletion(text=name, type="option") for name in option_names()]
    return {
        "completions": [item for item in found if item.text.startswith(token)],
        "matched_fragment": token,
        "suppress": token.startswith("-"),
    }
