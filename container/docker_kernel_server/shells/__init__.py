"""What runs a session's cells: all of IPython, or a plain shell that needs nothing installed."""

from __future__ import annotations

import os
import types
from typing import Any, Dict, List, Optional, Type

from ..messages import CommInfo, Complete, Execute, History, Inspect, IsComplete, Request

Reply = Dict[str, Any]

SUBSHELL_THREAD = "subshell "
"""What the name of a subshell's thread begins with; the subshell's own name follows."""


def trim(tb: Optional[types.TracebackType]) -> Optional[types.TracebackType]:
    """The traceback without our own frames below the person's: an interrupt is raised in them."""
    step = tb
    while step is not None and step.tb_next is not None:
        if step.tb_next.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            step.tb_next = None
        else:
            step = step.tb_next
    return tb


_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


class NoStdinError(NotImplementedError):
    """input() was called, and nobody is there to answer."""


class Console:
    """What a shell may ask of the worker that it runs in."""

    def emit(self, kind: str, **content: Any) -> None:
        """Send an event of the cell that the caller belongs to; prints before it leave first."""
        raise NotImplementedError

    def ask(self, prompt: str, password: bool) -> str:
        """Ask the person for a line; EOFError at the end of input."""
        raise NotImplementedError

    def parent(self) -> Dict[str, Any]:
        """The Jupyter message that the caller belongs to; without one its header is empty."""
        raise NotImplementedError


class Shell:
    """The contract. Replies are the contents of Jupyter's reply messages."""

    name = ""
    exit_requested = False
    """Whether a cell asked for the session's end."""
    no_stdin_error: Type[Exception] = NoStdinError

    def info(self) -> Dict[str, Any]:
        """What open_session tells: versions, and the count of the next cell."""
        raise NotImplementedError

    def variables(self) -> Dict[str, Any]:
        """The person's variables, and what else is in their namespace."""
        raise NotImplementedError

    def set_variables(self, values: Dict[str, Any]) -> None:
        """Set variables, as a cell would."""
        raise NotImplementedError

    async def execute(self, request: Execute) -> Reply:
        """Run a cell in the main thread; KeyboardInterrupt may come at any moment."""
        raise NotImplementedError

    def abandoned(self, exc: BaseException) -> Reply:
        """The reply for a cell that was ended outside of the person's code; shows the error."""
        raise NotImplementedError

    def complete(self, request: Complete) -> Reply:
        """Completions at the cursor."""
        raise NotImplementedError

    def inspect(self, request: Inspect) -> Reply:
        """The object at the cursor."""
        raise NotImplementedError

    def is_complete(self, request: IsComplete) -> Reply:
        """Whether the code can be run."""
        raise NotImplementedError

    def history(self, request: History) -> Reply:
        """Earlier cells."""
        raise NotImplementedError

    def comm_info(self, request: CommInfo) -> Reply:
        """The open comms."""
        raise NotImplementedError

    def comm(self, request: Request, buffers: Optional[List[bytes]]) -> None:
        """A message of a frontend on a comm."""
        raise NotImplementedError
