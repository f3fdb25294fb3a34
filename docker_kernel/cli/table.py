"""Columns of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, each column as wide as its widest entry."""
    printable = [[_printable(entry) for entry in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *printable, strict=True)]
    for row in (head, *printable):
        padded = (entry.ljust(width) for entry, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _printable(text: str) -> str:
    """One line, and nothing that moves the cursor: names come from the engine and from files."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
