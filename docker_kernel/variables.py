"""Variables into a session and out of it, by value.

Nothing that comes from the container is run, imported or called here: see `values`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .client import Client


def push(client: Client, session: str, values: Mapping[str, Any]) -> None:
    """Set variables in an open session.

    Raises TransferError, which names the variable that can't be moved and why; RequestRefused with
    the server's words; ConnectionLost.
    """
    raise NotImplementedError


def pull(client: Client, session: str, names: Sequence[str]) -> dict[str, Any]:
    """The values of a session's variables, in the order of ``names``. Raises what `push` raises.

    Values of numpy and pandas need the package imported here already: what an import runs is
    nothing that the container may decide.
    """
    raise NotImplementedError
