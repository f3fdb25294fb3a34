"""Which shell a session gets: IPython, or the plain one where that can't be had."""

from __future__ import annotations

from typing import List, Tuple

from .. import installed
from ..packages import Choice
from . import Console, Shell


def make_shell(console: Console, choice: Choice) -> Tuple[Shell, List[str]]:
    """The shell, and what the person should be told about it."""
    notes = [choice.note] if choice.note else []
    # Where there was none, the person may have installed one since.
    if not choice.ipython and not installed.is_new("IPython"):
        return _plain(console), notes
    try:
        from .ipython import IPythonShell

        return IPythonShell(console), notes if choice.ipython else []
    except Exception as exc:  # noqa: BLE001 - whatever is wrong with it, a session there must be
        note = (
            f"IPython could not start ({type(exc).__name__}: {exc}), so the plain shell serves. "
            "Type: %pip install --upgrade ipython, then restart the kernel."
        )
        return _plain(console), [*notes, note]


def _plain(console: Console) -> Shell:
    # Imported here: each of the two must load where the other can't.
    from .plain import PlainShell

    return PlainShell(console)
