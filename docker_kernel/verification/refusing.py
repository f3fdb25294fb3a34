"""A refusal: where, what, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CodeRefused
from .rules import FUNCTIONS, MODULES

Reason = tuple[str, str, str]
"""What is refused, why, and what to do."""

MAX_SHOWN_CHARS = 120
"""The most of a line that is shown; more is cut, with the spot in it."""


@dataclass(frozen=True, order=True)
class Place:
    """A spot in a cell: a line from 1, and columns from 0. ``end`` 0: the whole line."""

    line: int
    start: int = 0
    end: int = 0


def refuse(place: Place, lines: Sequence[str], what: str, why: str, remedy: str) -> CodeRefused:
    """The error for a spot in a text of these lines."""
    text = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
    return CodeRefused(what, why, remedy, place.line, excerpt(text, place))


def excerpt(text: str, place: Place) -> tuple[str, str]:
    """The line, and carets that go below the spot."""
    whole = place.end <= place.start or place.start >= len(text)
    start = len(text) - len(text.lstrip()) if whole else place.start
    end = len(text.rstrip()) if whole else min(place.end, len(text))
    first = max(0, start - MAX_SHOWN_CHARS // 2) if len(text) > MAX_SHOWN_CHARS else 0
    shown = text[first : first + MAX_SHOWN_CHARS]
    # The text goes to a terminal, perhaps: nothing in it may be a command for that.
    clean = "".join(char if char.isprintable() else " " for char in shown)
    count = max(1, min(end, first + len(shown)) - start)
    return clean, " " * (start - first) + "^" * count


def not_allowed(module: str) -> Reason:
    """What, why and what to do, for a module."""
    top = module.partition(".")[0]
    return (
        f"import of {module}",
        f"the setting {MODULES} doesn't have it",
        f"do without it, or add {top} to {MODULES} in your settings"
        if top
        else "name the whole module",
    )


def blocked(name: str, entry: str) -> Reason:
    """What, why and what to do, for a function."""
    return (
        name,
        f"the setting {FUNCTIONS} has {entry}",
        f"do without it, or take {entry} out of {FUNCTIONS} in your settings",
    )
