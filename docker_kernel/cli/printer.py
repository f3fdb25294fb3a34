"""A notebook on a terminal, or in a log: cells and outputs as lines of text."""

from __future__ import annotations

import re
import textwrap
from typing import Any, TextIO

from ..outputs import describe_data
from ..texts import for_terminal, without_codes

WIDTH = 78


class Printer:
    """Prints to ``out``, and flushes after each piece.

    A carriage return draws a progress bar anew. A terminal does that by itself; in a log only the
    last state of such a line is printed.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._mid_line = False
        self._draft: str | None = None
        self._overwrite = False

    def cell(self, kind: str, number: int, source: str) -> None:
        """The head of a cell and its source."""
        self.end_line()
        if kind != "code":
            self._write(f"\n{self._dim(source.strip())}\n")
        elif source.strip():
            head = f"── cell {number} "
            self._write(f"\n{head.ljust(WIDTH, '─')}\n")
            # A line in front, on empty lines too, sets the source apart from what it prints.
            code = textwrap.indent(source.strip(), "│ ", lambda _line: True)
            self._write(f"{self._dim(code)}\n")

    def output(self, msg_type: str, content: dict[str, Any]) -> None:
        """One message of the kernel's; those that aren't outputs print nothing."""
        if msg_type == "stream":
            self.text(content["text"])
        elif msg_type == "error":
            self._line(
                "\n".join(content["traceback"]) or f"{content['ename']}: {content['evalue']}"
            )
        elif msg_type in ("execute_result", "display_data", "update_display_data"):
            self._line(describe_bundle(content["data"]))

    def text(self, text: str) -> None:
        """A piece of a stream: shown at once, also where the line isn't finished."""
        if self._terminal:
            self._write(for_terminal(text))
            return
        for piece in re.split(r"(\r|\n)", without_codes(text)):
            if piece == "\n":
                self._end_draft()
                self._write("\n")
            elif piece == "\r":
                self._draft = self._draft or ""
                self._overwrite = True
            elif piece and self._draft is None:
                self._write(piece)
            elif piece:
                self._draft = piece if self._overwrite else f"{self._draft}{piece}"
                self._overwrite = False

    def end_line(self) -> None:
        """Finish the line that was begun."""
        self._end_draft()
        if self._mid_line:
            self._write("\n")

    def _end_draft(self) -> None:
        """Print the last state of a line that was drawn several times."""
        draft, self._draft, self._overwrite = self._draft, None, False
        if draft:
            self._write(f"\n{draft}" if self._mid_line else draft)

    def _line(self, text: str) -> None:
        self.end_line()
        clean = for_terminal if self._terminal else without_codes
        self._write(clean(text).rstrip("\n") + "\n")

    def _dim(self, text: str) -> str:
        # Somebody else may have written the notebook.
        text = without_codes(text)
        return f"\x1b[2m{text}\x1b[0m" if self._terminal else text

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
            self._mid_line = not text.endswith("\n")


def describe_bundle(data: dict[str, Any]) -> str:
    """A MIME bundle as text: its plain text, and a line for what a terminal can't show."""
    plain = data.get("text/plain", "")
    plain = "".join(plain) if isinstance(plain, list) else str(plain)
    shown = [describe_data(mime, data[mime]) for mime in data if _is_picture(mime)]
    if shown:
        return "\n".join(shown)
    return plain or "\n".join(describe_data(mime, value) for mime, value in data.items())


def _is_picture(mime: str) -> bool:
    return mime.startswith(("image/", "audio/", "video/")) or mime == "application/pdf"
