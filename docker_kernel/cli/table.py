"""Columns of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..texts import plain


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, each column as wide as its widest entry."""
    # Names come from the engine and from files: one line, and nothing that moves the cursor.
    printable = [[plain(" ".join(entry.split())) for entry in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *printable, strict=True)]
    for row in (head, *printable):
        padded = (entry.ljust(width) for entry, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
