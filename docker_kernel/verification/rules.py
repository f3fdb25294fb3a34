"""The two lists, and what they say of a dotted name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

Names = Mapping[str, frozenset[str]]
"""What names of a session may stand for, such as {"o": {"os"}} after ``import os as o``."""

NOTHING_KNOWN: Names = MappingProxyType({})

MODULES, FUNCTIONS = "allowed_modules", "blocked_functions"

_SAME = {"posix": "os", "nt": "os", "__builtins__": "builtins"}
"""Modules that have the same functions as another."""

_CARRIED = frozenset(
    ["os", "posix", "sys", "subprocess", "builtins", "importlib", "shutil", "socket", "ctypes"]
)
"""Modules that are attributes of others: subprocess.os.system is os.system."""


@dataclass(frozen=True)
class Rules:
    """What code may import and name; an empty tuple sets no rule."""

    allowed_modules: tuple[str, ...] = ()
    blocked_functions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.allowed_modules or self.blocked_functions)

    def allows_module(self, name: str) -> bool:
        """Whether a module may be imported: it, or one that it is in, is on the list."""
        if not self.allowed_modules or name == "__future__":  # which is no module, but a wish
            return True
        return any(name == item or name.startswith(f"{item}.") for item in self.allowed_modules)

    def blocking(self, meanings: Iterable[str]) -> str | None:
        """The entry of `blocked_functions` that one of these names is, else None."""
        for meaning in sorted(meanings):
            for name in _readings(meaning):
                for pattern in self.blocked_functions:
                    if fnmatchcase(name, plain_name(pattern)):
                        return pattern
        return None

    def blocks_in(self, meanings: Iterable[str]) -> str | None:
        """The entry that is about something in one of these modules, else None."""
        modules = {name for meaning in meanings for name in _readings(meaning)}
        for pattern in self.blocked_functions:
            if (plain_name(pattern).rpartition(".")[0] or "builtins") in modules:
                return pattern
        return None


def plain_name(dotted: str) -> str:
    """One spelling for what has several: ``builtins.eval`` is ``eval``, posix is os."""
    head, dot, rest = dotted.partition(".")
    head = _SAME.get(head, head)
    inside = head == "builtins" and rest and not rest.startswith("__dict__")
    return rest if inside else f"{head}{dot}{rest}"


def _readings(dotted: str) -> list[str]:
    """The name, and what it is where it leads through a module that others carry along."""
    parts = dotted.split(".")
    starts = [
        index for index, part in enumerate(parts) if index and _SAME.get(part, part) in _CARRIED
    ]
    return [plain_name(".".join(parts[index:])) for index in [0, *starts]]
