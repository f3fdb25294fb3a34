"""Whether two names mean the same place of this machine.

A bind mount gives a folder another name; and on macOS and Windows `Project` and `project` are one.
So it isn't the names that are compared, where there is something to look at.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def same_place(one: Path, other: Path) -> bool:
    """Whether they are the same file or folder."""
    if one == other:
        return True
    with suppress(OSError):
        return one.samefile(other)
    return False


def lies_in(inner: Path, folder: Path) -> bool:
    """Whether ``inner`` is ``folder``, or below it. Both are absolute."""
    return any(same_place(each, folder) for each in (inner, *inner.parents))


def any_case(path: Path) -> bool:
    """Whether the last part of ``path`` may be written in capitals or without, as it pleases."""
    other = path.with_name(path.name.swapcase())
    return other != path and not other.is_symlink() and same_place(path, other)
