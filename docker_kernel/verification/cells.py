"""The check of a cell: its tree is walked once, and each name, import and magic looked at."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Sequence
from typing import cast

from ..errors import CodeRefused
from . import ipython, shell
from .findings import OF_SHELL, Findings, magic_parts
from .meanings import Meanings, literal
from .refusing import Place, Reason, not_allowed, refuse
from .rules import NOTHING_KNOWN, Names, Rules

MAX_NESTED = 5
"""A magic in a magic in a magic … is followed so far."""

MAX_KNOWN = 5000
"""For so many names of a session it is kept what they stand for; past it the oldest go."""

MAX_WHAT_CHARS = 40
"""So much of a command stands in the words of its refusal."""

REFUSED = " is refused"

_AUTOMATIC = re.compile(r"\s*([A-Za-z_]\w*)(?!\s*[=,])(?![\w.])\s*(.+)")


def check_cell(cell: str, rules: Rules, known: Names = NOTHING_KNOWN) -> Names:
    """Check a cell as IPython takes it. Raises CodeRefused; gives what is known of names now."""
    return _bounded(_Check(rules, _lines(cell)).cell(cell, known))


def check_python(code: str, rules: Rules) -> None:
    """Check Python that no IPython reads. Raises CodeRefused."""
    _Check(rules, _lines(code)).python(code, NOTHING_KNOWN)


class _Check:
    """The check of one text. A magic's text is checked by another of these, at its own lines."""

    def __init__(
        self, rules: Rules, lines: Sequence[str], first: int = 1, at: int = 0, depth: int = 0
    ) -> None:
        self._rules = rules
        self._lines = lines
        self._first = first
        """The number of the text's first line in the cell."""
        self._at = at
        """The line that all of the text stands in, where that is one; else 0."""
        self._depth = depth
        self.known = NOTHING_KNOWN

    def cell(self, cell: str, known: Names) -> Names:
        """Check a text that IPython reads."""
        if self._depth > MAX_NESTED:
            raise self._unreadable(Place(1), "it has magics within magics within magics")
        try:
            magic = ipython.cell_magic(cell)
            if magic is not None:
                return self._cell_magic(magic, known)
            source = ipython.plain(cell)
        except CodeRefused:
            raise
        except Exception as exc:  # IPython's own, of whatever kind: no text may end this process
            raise self._unreadable(Place(1), str(exc) or type(exc).__name__) from exc
        self.known = known
        if self._automatic(source):
            return known
        return self.python(source, known)

    def python(self, source: str, known: Names) -> Names:
        """Check a text of Python."""
        tree = self._parse(source)
        # Constants and contexts are most of a tree, and name nothing.
        nodes = [n for n in ast.walk(tree) if not isinstance(n, (ast.Constant, ast.expr_context))]
        meanings = Meanings(nodes, known)
        self.known = meanings.names()
        places = _Places(source, self._lines, self._first, nodes)
        found = Findings(nodes, meanings, self._rules).all()
        refused = [(places.of(node), reason) for node, reason in found]
        for node in nodes:
            if magic_parts(node):
                refused += self._magic_call(cast("ast.Call", node), places.of(node))
        if refused:
            place, reason = min(refused)
            raise self._refuse(place, reason)
        return self.known

    def _refuse(self, place: Place, reason: Reason) -> CodeRefused:
        place = (
            Place(self._at)
            if self._at
            else Place(place.line + self._first - 1, place.start, place.end)
        )
        what, why, remedy = reason
        return refuse(place, self._lines, f"{what}{REFUSED}", why, remedy)

    def _unreadable(self, place: Place, why: str) -> CodeRefused:
        version = ".".join(map(str, sys.version_info[:2]))
        remedy = "correct it; what isn't read here isn't checked, and so isn't sent"
        reason = ("code that can't be read", f"{why} (by Python {version} on this side)", remedy)
        return self._refuse(place, reason)

    def _parse(self, source: str) -> ast.Module:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if sys.version_info < (3, 11):
                    # It looks for depth; the next step would end this process over it.
                    compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                return ast.parse(source)
        except SyntaxError as exc:
            places = _Places(source, self._lines, self._first)
            line, start = exc.lineno or 1, max(0, (exc.offset or 1) - 1)
            raise self._unreadable(places.at(line, start, start + 1), exc.msg) from exc
        except (ValueError, RecursionError, MemoryError, OverflowError) as exc:
            why = str(exc) or "it is nested too deeply"
            raise self._unreadable(Place(1), why) from exc

    # -- magics

    def _magic_call(self, node: ast.Call, place: Place) -> list[tuple[Place, Reason]]:
        """What is refused of a magic, or of a command for a shell."""
        words = [str(literal(argument)) for argument in node.args]
        method = cast("ast.Attribute", node.func).attr
        inside = self._inside(place.line)
        try:
            if method in OF_SHELL:
                inside.shell(f"!{words[0]}", shell.why_refused(words[0]))
            else:
                inside.magic(words[0], words[1], whole_cell=len(words) > 2)
            for body in words[2:] if words[0] in ipython.OF_CODE else ():
                inside.cell(body, self.known)
        except CodeRefused as exc:
            return [(place, (exc.what.removesuffix(REFUSED), exc.why, exc.remedy))]
        return []

    def _inside(self, line: int) -> _Check:
        """For a text that stands in one line."""
        at = self._at or line + self._first - 1
        inside = _Check(self._rules, self._lines, at=at, depth=self._depth + 1)
        inside.known = self.known
        return inside

    def shell(self, what: str, why: str) -> None:
        """Raise CodeRefused where there is a reason to keep this from a shell."""
        if why:
            raise self._refuse(Place(1), (what.strip()[:MAX_WHAT_CHARS], why, shell.USE_PIP))

    def magic(self, name: str, line: str, *, whole_cell: bool) -> None:
        """Check a magic's name and line. Raises CodeRefused."""
        sign = "%%" if whole_cell else "%"
        if name == "pip" and not whole_cell:
            self.shell(f"%pip {line}", shell.why_unsafe(line))
            return
        if not ipython.is_magic(name, whole_cell=whole_cell):
            why = "what it does with its text isn't known here"
            raise self._refuse(Place(1), (f"{sign}{name}", why, "write it in Python"))
        if "{" in line and name not in ipython.NOT_FILLED_IN:
            why = "IPython runs what stands in {}"
            raise self._refuse(Place(1), (f"{sign}{name} {{…}}", why, "write the value itself"))
        if name in ipython.EXTENSIONS and not self._rules.allows_module(line.strip()):
            raise self._refuse(Place(1), not_allowed(line.strip()))
        if name in ipython.OF_CODE:
            self.cell(ipython.code_of(name, line), self.known)

    def _cell_magic(self, magic: ipython.CellMagic, known: Names) -> Names:
        """A magic that has the whole cell: its line, and its body at the lines where it stands."""
        first = magic.first + self._first - 1
        inside = self._inside(magic.first - 1)
        inside.known = known
        inside.magic(magic.name, magic.line, whole_cell=True)
        if magic.name not in ipython.OF_CODE:
            return known
        body = _Check(self._rules, self._lines, first, self._at, self._depth + 1)
        return body.cell(magic.body, known)

    def _automatic(self, source: str) -> bool:
        """Whether a text of one line is a magic without its %, and no Python; it's checked then."""
        found = [(number, line) for number, line in enumerate(_lines(source), 1) if line.strip()]
        if len(found) != 1:
            return False
        number, text = found[0]
        match = _AUTOMATIC.fullmatch(text)
        if match is None or not ipython.is_automatic(match[1]):
            return False
        self._inside(number).magic(match[1], match[2], whole_cell=False)
        try:
            self._parse(source)
        except CodeRefused:
            return True
        return False


class _Places:
    """Where the parts of a source stand in the cell."""

    def __init__(
        self, source: str, lines: Sequence[str], first: int, nodes: Sequence[ast.AST] = ()
    ) -> None:
        self._mine = _lines(source)
        self._cells = lines[first - 1 :]
        self._within: dict[int, ast.AST] = {}
        if sys.version_info < (3, 12):
            # What is inside an f-string has no true place there.
            for node in nodes:
                if isinstance(node, ast.JoinedStr):
                    for part in ast.walk(node):
                        self._within.setdefault(id(part), node)

    def of(self, node: ast.AST) -> Place:
        """Where a node begins, and ends in that line."""
        node = self._within.get(id(node), node)
        line, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", 1)
        text = self._mine[line - 1] if line <= len(self._mine) else ""
        start = _characters(text, getattr(node, "col_offset", 0))
        end = _characters(text, getattr(node, "end_col_offset", 0) or 0)
        return self.at(line, start, end if last == line else len(text))

    def at(self, line: int, start: int, end: int) -> Place:
        """A spot of the source; the whole line where that reads otherwise in the cell."""
        if line > min(len(self._mine), len(self._cells)):
            return Place(line)
        mine, cells = self._mine[line - 1], self._cells[line - 1]
        moved = len(cells) - len(mine)  # an indent or a prompt was taken away
        same = moved >= 0 and cells.endswith(mine)
        return Place(line, start + moved, end + moved) if same else Place(line)


def _lines(text: str) -> list[str]:
    return ipython.LINE_BREAK.split(text)


def _characters(line: str, offset: int) -> int:
    """How many characters so many bytes of UTF-8 are."""
    return len(line.encode("utf-8", "replace")[:offset].decode("utf-8", "replace"))


def _bounded(names: Names) -> Names:
    return dict(list(names.items())[-MAX_KNOWN:])
