"""A small table, for a notebook and for a terminal."""

from __future__ import annotations

import html
from collections.abc import Sequence

from docker_kernel.texts import plain


class Table:
    """Rows of text under a heading; ``notes`` stand below."""

    def __init__(
        self, heading: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
    ) -> None:
        self.heading = list(heading)
        # What a server says of itself stands in them.
        self.rows = [[plain(" ".join(cell.split())) for cell in row] for row in rows]
        self.notes = list(notes)

    def __repr__(self) -> str:
        lines = [self.heading, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heading))]
        texts = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*texts, *self.notes])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.heading)
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}"
