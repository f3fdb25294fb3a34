"""Commands for a shell: a plain pip is let through, and nothing else."""

from __future__ import annotations

import re

from ..errors import CodeRefused
from .refusing import Place, refuse

_PIP = re.compile(r"\s*(?:python[\d.]*\s+-m\s+)?pip[\d.]*(?:\s|$)")

_SPECIAL = frozenset(";&|<>()`\n")
"""What begins another command, or another file, for a shell."""

_IPYTHON = frozenset("{$")
"""What IPython, or a shell, puts other text in the place of; IPython minds no quotes."""

USE_PIP = "only pip is let through, with no other command beside it: %pip install PACKAGE"


def why_refused(command: str) -> str:
    """Why this can't be let through to a shell; "" where it can."""
    if not _PIP.match(command):
        return "a shell can do all that these settings refuse"
    return why_unsafe(command)


def why_unsafe(words: str) -> str:
    """Which of the characters behind ``pip`` is more than an argument; "" where none is."""
    quote = ""
    text = words.strip()
    position = 0
    while position < len(text):
        char = text[position]
        if char in _IPYTHON or (char == "`" and quote != "'"):
            return f"{char} puts the outcome of other code into the command"
        if char == "\\" and quote != "'":
            position += 1
        elif char in ("'", '"') and quote in ("", char):
            quote = "" if quote else char
        elif not quote and char in _SPECIAL:
            name = "a new line" if char == "\n" else char
            return f"{name} begins another command, or leads to a file; in quotes it is an argument"
        position += 1
    return "a quote has no end" if quote else ""


def check_command(text: str) -> None:
    """Check a command for a shell. Raises CodeRefused."""
    why = why_refused(text)
    if why:
        raise refusal(text, why)


def refusal(text: str, why: str) -> CodeRefused:
    """The error for a command."""
    return refuse(Place(1), text.splitlines() or [""], "the command is refused", why, USE_PIP)
