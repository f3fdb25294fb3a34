"""Displays, values and errors of a cell, as events instead of text on a terminal."""

from __future__ import annotations

import threading
from typing import Any, Dict, List, Optional, Tuple

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher

from . import Console


class CellState(threading.local):
    """What is known of the cell that runs; a subshell's thread has its own."""

    formatting = False
    """Whether an error now is of the value's repr, and not of the cell's code."""
    display_failed = False
    traceback: List[str] = []  # noqa: RUF012 - replaced, never changed
    value: Dict[str, Any] = {}  # noqa: RUF012
    transformed: Optional[Tuple[str, str]] = None
    """A cell that was transformed already, and what came of it."""


class WireDisplayPublisher(DisplayPublisher):  # type: ignore[misc]
    """display() and its updates, as events."""

    console: Console

    def publish(
        self,
        data: Dict[str, Any],
        metadata: Optional[Dict[str, Any]] = None,
        *,
        transient: Optional[Dict[str, Any]] = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        """Send a MIME bundle."""
        self._validate_data(data, metadata)
        self.console.emit(
            "update_display" if update else "display",
            data=data,
            metadata=metadata or {},
            transient=transient or {},
        )

    def clear_output(self, wait: bool = False) -> None:
        """Clear the cell's output."""
        self.console.emit("clear_output", wait=wait)


class WireDisplayHook(DisplayHook):  # type: ignore[misc]
    """The value of a cell's last expression, as an event."""

    console: Console
    state: CellState

    def start_displayhook(self) -> None:
        """The value's repr comes next."""
        self.state.formatting = True
        self.state.value = {"data": {}, "metadata": {}}

    def write_output_prompt(self) -> None:
        """Note the number of the prompt, which moves on before the end."""
        self.state.value["execution_count"] = self.prompt_count

    def write_format_data(
        self, format_dict: Dict[str, Any], md_dict: Optional[Dict[str, Any]] = None
    ) -> None:
        """Note the MIME bundle."""
        self.state.value["data"] = format_dict
        self.state.value["metadata"] = md_dict or {}

    def finish_displayhook(self) -> None:
        """Send it."""
        if self.state.value["data"]:
            self.console.emit("result", **self.state.value)
        self.state.formatting = False
