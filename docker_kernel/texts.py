"""Foreign text, such as a server's, made harmless before a person sees it.

A text can hold more than text: escape codes that clear a screen, set the clipboard or make a
terminal type, a carriage return that hides what stands before it, marks that turn the order round.
"""

from __future__ import annotations

import re
import unicodedata

MAX_WORDS_CHARS = 10_000
"""The most of a foreign text that is a part of a message of ours."""

_COLOUR = r"\x1b\[[0-9;:]*m"
_DRAWING = r"\x1b\[[0-9;]*[ABCDGK]|\x1b\[\?25[hl]"
# Escape codes to the end, as far as they are complete: with text in them (a title, the clipboard),
# with numbers, and short ones.
_CODES = (
    r"\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
    r"|\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
_CONTROLS = r"[^\t\n\r\x08\x20-\x7e\xa0-\U0010ffff]"
_NOT_FOR_A_TERMINAL = re.compile(f"({_COLOUR}|{_DRAWING})|{_CODES}|{_CONTROLS}")


def plain(text: str) -> str:
    """Words of a server's, for a message of ours: whatever is no letter shows as its escape.

    Newlines and tabs stay.
    """
    if len(text) > MAX_WORDS_CHARS:
        text = f"{text[:MAX_WORDS_CHARS]} [... {len(text)} characters]"
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(char: str) -> str:
    # A space of another width is one, too.
    if char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode("ascii")


def for_terminal(text: str) -> str:
    """A cell's output, for a terminal: colours stay, and what draws a progress bar in its place.

    Nothing else does: what has a terminal answer, or changes more than what is seen.
    """
    return _NOT_FOR_A_TERMINAL.sub(lambda match: match[1] or "", text)


def without_codes(text: str) -> str:
    """A cell's output, for a file: no escape codes, as whoever shows it may have a terminal."""
    return _NOT_FOR_A_TERMINAL.sub("", text)
