"""What the names and expressions of a cell may stand for, as dotted names: ``o`` for os, say.

Nothing is run. Each assignment counts everywhere in the cell and in those that come after, as what
runs first can't be told; so a name may stand for several things. Forms: "os.system", "os.__dict__"
for a module's names, ".__dict__" for the session's own, and "os[]" for a list that has os in it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .rules import Names, plain_name

MAX_PASSES = 8
"""A name of a name of a name … is followed so far."""

MAX_PARTS = 12
"""A longer chain of attributes is not followed."""

MAX_MEANINGS = 50
"""For so many things may one name stand."""

Meaning = frozenset[str]

NOTHING: Meaning = frozenset()
ITEM = "[]"
SPACE = ".__dict__"

IMPORTS = frozenset(["__import__", "importlib.import_module", "importlib.__import__"])
"""Functions that import what their argument names."""

_LOOKUPS = frozenset(["get", "pop", "setdefault", "__getitem__"])


class Meanings:
    """The meanings of a tree's expressions; ``nodes`` are its nodes, parents before their children,
    and ``known`` what names of earlier cells mean."""

    def __init__(self, nodes: Sequence[ast.AST], known: Names) -> None:
        self._known = known
        self._bound: dict[str, Meaning] = {}
        self._found: dict[int, Meaning] = {}
        self._readers: dict[type[ast.AST], Callable[[Any], Meaning]] = {
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Subscript: self._subscript,
            ast.Call: self._call,
            ast.NamedExpr: lambda node: self._any(node.value),
            ast.Starred: lambda node: self._any(node.value),
            ast.Await: lambda node: self._any(node.value),
            ast.IfExp: lambda node: self._any(node.body, node.orelse),
            ast.BoolOp: lambda node: self._any(*node.values),
            ast.List: lambda node: self._elements(node.elts),
            ast.Tuple: lambda node: self._elements(node.elts),
            ast.Set: lambda node: self._elements(node.elts),
            ast.Dict: lambda node: self._elements(node.values),
        }
        for _ in range(MAX_PASSES):
            # What parents mean is made of what their children mean.
            for node in reversed(nodes):
                reader = self._readers.get(type(node))
                if reader is not None:
                    self._found[id(node)] = _bounded(reader(node))
            if not self._bind_all(nodes):
                break

    def of(self, node: ast.AST | None) -> Meaning:
        """What an expression may stand for."""
        return self._found.get(id(node), NOTHING)

    def names(self) -> Names:
        """What is known of names now, for the cells that come after."""
        return {**self._known, **{name: self._names(name) for name in self._bound}}

    def _names(self, name: str) -> Meaning:
        return self._known.get(name, NOTHING) | self._bound.get(name, NOTHING)

    def _named(self, dotted: str) -> Meaning:
        return frozenset([plain_name(dotted)]) | self._names(dotted)

    # -- what expressions mean

    def _name(self, node: ast.Name) -> Meaning:
        return self._named(node.id)

    def _attribute(self, node: ast.Attribute) -> Meaning:
        found: set[str] = set()
        for base in self.of(node.value):
            found |= self._named(f"{base}.{node.attr}")
        return frozenset(found)

    def _subscript(self, node: ast.Subscript) -> Meaning:
        key = literal(node.slice)
        found: set[str] = set()
        for base in self.of(node.value):
            found |= self._item(base, key)
        return frozenset(found)

    def _item(self, base: str, key: str | None) -> Meaning:
        if base.endswith(ITEM):
            return frozenset([base[: -len(ITEM)]])
        if key is None:
            return NOTHING
        if base in ("builtins", "sys.modules"):
            return frozenset([plain_name(key)])
        if base.endswith(SPACE):
            owner = base[: -len(SPACE)]
            return self._named(f"{owner}.{key}" if owner else key)
        return NOTHING

    def _call(self, node: ast.Call) -> Meaning:
        found: set[str] = set()
        for function in self.of(node.func):
            found |= self._outcome(function, node)
        return frozenset(found)

    def _outcome(self, function: str, node: ast.Call) -> Meaning:
        """What a call of a function, by its dotted name, gives."""
        first = node.args[0] if node.args else None
        text = literal(first)
        if function in IMPORTS:
            whole = function == "importlib.import_module"
            return frozenset([text if whole else text.partition(".")[0]] if text else [])
        if function == "getattr" and len(node.args) > 1:
            return self._attributes(self.of(first), literal(node.args[1]))
        if function == "vars" and first is not None:
            return frozenset(f"{base}{SPACE}" for base in self.of(first))
        if function in ("vars", "globals", "locals"):
            return frozenset([SPACE])
        owner, _, method = function.rpartition(".")
        if method == "__getattribute__" and len(node.args) > 1:
            return self._attributes(self.of(first), literal(node.args[1]))
        if method == "__getattribute__":
            return self._attributes([owner], text)
        return self._item(owner, text) if method in _LOOKUPS else NOTHING

    def _attributes(self, bases: Iterable[str], name: str | None) -> Meaning:
        found: set[str] = set()
        for base in bases if name is not None else ():
            found |= self._named(f"{base}.{name}")
        return frozenset(found)

    def _any(self, *nodes: ast.expr | None) -> Meaning:
        return frozenset().union(*(self.of(node) for node in nodes))

    def _elements(self, nodes: Iterable[ast.expr | None]) -> Meaning:
        return frozenset(f"{name}{ITEM}" for node in nodes for name in self.of(node))

    # -- what names stand for

    def _bind_all(self, nodes: Iterable[ast.AST]) -> bool:
        """Note each assignment. Whether that was news."""
        news = False
        for node in nodes:
            for name, meaning in self._bindings(node):
                own = frozenset([name, plain_name(name)])
                more = _bounded(self._bound.get(name, NOTHING) | (meaning - own))
                if more != self._bound.get(name, NOTHING):
                    self._bound[name] = more
                    news = True
        return news

    def _bindings(self, node: ast.AST) -> Iterator[tuple[str, Meaning]]:
        """The names that a node sets, and what to."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _imported(node)
        elif isinstance(node, ast.arguments):
            yield from self._defaults(node)
        elif isinstance(node, ast.Match):
            for name in _captured(node):
                yield name, self.of(node.subject)
        elif type(node) in _ASSIGNMENTS:
            targets, value, item = _ASSIGNMENTS[type(node)](node)
            for target in targets:
                yield from self._assign(target, value, item)

    def _defaults(self, node: ast.arguments) -> Iterator[tuple[str, Meaning]]:
        places = [*node.posonlyargs, *node.args]
        values = node.defaults
        for place, value in zip(places[len(places) - len(values) :], values, strict=False):
            yield place.arg, self.of(value)
        for place, default in zip(node.kwonlyargs, node.kw_defaults, strict=False):
            yield place.arg, self.of(default)

    def _assign(
        self, target: ast.expr, value: ast.expr | None, item: bool
    ) -> Iterator[tuple[str, Meaning]]:
        """``target = value``; with ``item`` it gets the value's elements, as in a loop."""
        work = [(target, value, item)]
        while work:
            target, value, item = work.pop()
            if isinstance(target, ast.Starred):
                target = target.value
            if isinstance(target, (ast.Tuple, ast.List)):
                both = isinstance(value, (ast.Tuple, ast.List)) and not item
                if both and len(value.elts) == len(target.elts):  # type: ignore[union-attr]
                    pairs = zip(target.elts, value.elts, strict=True)  # type: ignore[union-attr]
                    work += [(one, other, False) for one, other in pairs]
                else:
                    work += [(one, value, True) for one in target.elts]
                continue
            meaning = self.of(value)
            if item:
                meaning = frozenset(
                    name.replace(ITEM, "") for name in meaning if name.endswith(ITEM)
                )
            if isinstance(target, ast.Name):
                yield target.id, meaning
            elif isinstance(target, ast.Attribute):
                for name in self.of(target.value):
                    yield f"{name}.{target.attr}", meaning


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Meaning]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            name = plain_name(f"{node.module}.{alias.name}")
            yield alias.asname or alias.name, frozenset([name])
        elif alias.asname:
            yield alias.asname, frozenset([alias.name])


def _captured(node: ast.Match) -> Iterator[str]:
    for case in node.cases:
        for part in ast.walk(case.pattern):
            if isinstance(part, (ast.MatchAs, ast.MatchStar)) and part.name:
                yield part.name


def literal(node: ast.AST | None) -> str | None:
    """The text of a literal, else None."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _bounded(meaning: Meaning) -> Meaning:
    if len(meaning) > MAX_MEANINGS:
        meaning = frozenset(sorted(meaning)[:MAX_MEANINGS])
    # A list of a list is as good as a list, here.
    short = (name.replace(ITEM + ITEM, ITEM) for name in meaning)
    return frozenset(name for name in short if name.count(".") < MAX_PARTS)


_ASSIGNMENTS: dict[type[ast.AST], Callable[[Any], tuple[list[ast.expr], ast.expr | None, bool]]] = {
    ast.Assign: lambda node: (node.targets, node.value, False),
    ast.AnnAssign: lambda node: ([node.target], node.value, False),
    ast.NamedExpr: lambda node: ([node.target], node.value, False),
    ast.withitem: lambda node: (
        [node.optional_vars] if node.optional_vars else [],
        node.context_expr,
        False,
    ),
    ast.For: lambda node: ([node.target], node.iter, True),
    ast.AsyncFor: lambda node: ([node.target], node.iter, True),
    ast.comprehension: lambda node: ([node.target], node.iter, True),
}
