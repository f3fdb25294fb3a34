"""What a tree of Python names that the rules refuse: each node is looked at once."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence

from .meanings import IMPORTS, SPACE, Meanings, literal
from .refusing import Reason, blocked, not_allowed
from .rules import FUNCTIONS, MODULES, Rules

SHELL = "get_ipython"
OF_SHELL = frozenset(["system", "getoutput"])
"""Methods of IPython's shell that run a command."""

_OF_MAGICS = {"run_line_magic": 2, "run_cell_magic": 3}

_AROUND = frozenset(
    ["__subclasses__", "__globals__", "__self__", "__loader__", "f_globals", "f_builtins"]
)
"""Attributes that are of use for little but to get around these settings."""

_IMPORT_PLAINLY = (
    f"the setting {MODULES} says which modules may be imported",
    "write import MODULE",
)


class Findings:
    """Looks for what is refused. Magics are left to the caller, see `magic_parts`."""

    def __init__(self, nodes: Sequence[ast.AST], meanings: Meanings, rules: Rules) -> None:
        self._meanings = meanings
        self._rules = rules
        self._nodes = nodes
        self._called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}

    def all(self) -> Iterator[tuple[ast.AST, Reason]]:
        """Each node that is refused, with the reason."""
        magics = {id(part) for node in self._nodes for part in magic_parts(node)}
        for node in self._nodes:
            if id(node) not in magics:
                reason = self._look(node)
                if reason is not None:
                    yield node, reason

    def _look(self, node: ast.AST) -> Reason | None:
        if isinstance(node, ast.Import):
            return self._import(node)
        if isinstance(node, ast.ImportFrom):
            return self._import_from(node)
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)):
            stored = isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))
            return None if stored else self._named(node)
        return None

    def _import(self, node: ast.Import) -> Reason | None:
        for alias in node.names:
            # Without a name of its own, `import os.path` gives the code os.
            module = alias.name if alias.asname else alias.name.partition(".")[0]
            if not self._rules.allows_module(module):
                return not_allowed(module)
            if entry := self._rules.blocking([alias.name]):
                return blocked(alias.name, entry)
        return None

    def _import_from(self, node: ast.ImportFrom) -> Reason | None:
        module = f"{'.' * node.level}{node.module or ''}"
        for alias in node.names:
            name = f"{module}.{alias.name}"
            if not (self._rules.allows_module(module) or self._rules.allows_module(name)):
                return not_allowed(module)
            if alias.name == "*" and (entry := self._rules.blocks_in([module])):
                return blocked(f"all of {module}", entry)
            if entry := self._rules.blocking([module, name]):
                return blocked(name, entry)
        return None

    def _named(self, node: ast.Name | ast.Attribute | ast.Subscript | ast.Call) -> Reason | None:
        """A name, an attribute, an item or a call's outcome that may stand for what is refused."""
        meaning = self._meanings.of(node)
        if entry := self._rules.blocking(meaning):
            name = next(name for name in sorted(meaning) if self._rules.blocking([name]))
            return blocked(name, entry)
        own = getattr(node, "attr", getattr(node, "id", ""))
        if own in _AROUND:
            return own, f"it leads around {MODULES} and {FUNCTIONS}", "do without it"
        if any(name.rpartition(".")[2] == SHELL for name in meaning):
            return f"{SHELL}()", "it can run all that is refused", "write a magic as %name"
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            return (
                None
                if literal(node.slice)
                else self._one_of(_spaces(self._meanings.of(node.value)))
            )
        if self._rules.allowed_modules and meaning & IMPORTS and id(node) not in self._called:
            return f"{min(meaning & IMPORTS)} by another name", *_IMPORT_PLAINLY
        return None

    def _call(self, node: ast.Call) -> Reason | None:
        function = self._meanings.of(node.func)
        if self._rules.allowed_modules and function & IMPORTS:
            module = literal(node.args[0]) if node.args else None
            if module is None:
                return (
                    f"{min(function & IMPORTS)} of a name that isn't written there",
                    *_IMPORT_PLAINLY,
                )
            return None if self._rules.allows_module(module) else not_allowed(module)
        if "getattr" in function and len(node.args) > 1 and literal(node.args[1]) is None:
            return self._one_of(self._meanings.of(node.args[0]))
        if node.args and literal(node.args[-1]) is None:
            return self._one_of(_lookups(function))
        return None

    def _one_of(self, modules: Collection[str]) -> Reason | None:
        """The reason where something of these modules is named by what can't be read."""
        entry = self._rules.blocks_in(modules)
        if entry is None:
            return None
        what = "a function whose name isn't written there"
        why = f"it may be one of {entry}, which the setting {FUNCTIONS} has"
        return what, why, "name it plainly: module.function"


def magic_parts(node: ast.AST) -> list[ast.AST]:
    """The parts of the call that IPython makes of a magic, which are no findings; else nothing."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return []
    owner, method = node.func.value, node.func.attr
    count = 1 if method in OF_SHELL else _OF_MAGICS.get(method)
    plain = len(node.args) == count and None not in map(literal, node.args) and not node.keywords
    if not plain or not (isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name)):
        return []
    if owner.func.id != SHELL or owner.args or owner.keywords:
        return []
    return [node, node.func, owner, owner.func]


def _lookups(functions: Collection[str]) -> list[str]:
    """The modules in which these methods look for a name that they are given."""
    found = []
    for function in functions:
        owner, _, method = function.rpartition(".")
        if method == "__getattribute__":
            found.append(owner)
        elif method in ("get", "__getitem__"):
            found += _spaces([owner])
    return found


def _spaces(names: Collection[str]) -> list[str]:
    """The modules whose names are items of these."""
    return [
        name[: -len(SPACE)] if name.endswith(SPACE) else "builtins"
        for name in names
        if name.endswith(SPACE) or name == "builtins"
    ]
