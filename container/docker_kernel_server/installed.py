"""sys.path of a session, and what was installed there since the zygote started.

The zygote has read the .pth files and imported IPython with what that needs. A session that is
forked later reads the .pth files which are new (of packages that were installed as editable), and
forgets the modules of which there is another version by now, so that the person's own import gets
that one. IPython goes on with what it has bound.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import time
from importlib.machinery import PathFinder
from typing import Dict, List, Set, Tuple

from .packages import KEPT

_NAMES = ("site-packages", "dist-packages")

Stamp = Tuple[int, int]


def add_work_folder() -> None:
    """Where IPython adds it: no random.py that lies there hides Python's own."""
    if "" in sys.path or getattr(sys.flags, "safe_path", False):
        return
    places = (at for at, path in enumerate(sys.path) if os.path.basename(path) in _NAMES)
    sys.path.insert(next(places, 0), "")


def catch_up() -> None:
    """Let count what was installed since the zygote started."""
    changed = [folder for folder in _folders() if _stamp(folder) != _at_start.get(folder)]
    for folder in changed:
        for name in _pth_files(folder):
            if _stamp(os.path.join(folder, name)) != _at_start.get(os.path.join(folder, name)):
                # Python goes on after a bad one, too.
                with contextlib.suppress(Exception):
                    site.addpackage(folder, name, None)
    _forget_replaced(changed)


def is_new(name: str) -> bool:
    """Whether a module that can be imported wasn't there when the zygote started."""
    spec = PathFinder.find_spec(name)
    return spec is not None and spec.origin is not None and _changed_at(spec.origin) > _STARTED


def _forget_replaced(folders: List[str]) -> None:
    there: Set[str] = {name.split(".")[0] for folder in folders for name in _entries(folder)}
    for top in there & {name.split(".")[0] for name in sys.modules} - KEPT:
        spec = PathFinder.find_spec(top)
        origin = spec.origin if spec is not None else None
        if origin is None or not origin.startswith(tuple(folders)):
            continue
        moved = origin != getattr(sys.modules.get(top), "__file__", None)
        if moved or _changed_at(origin) > _STARTED:
            for name in [name for name in sys.modules if name.split(".")[0] == top]:
                del sys.modules[name]


def _folders() -> List[str]:
    return [path for path in sys.path if os.path.basename(path) in _NAMES]


def _entries(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _pth_files(folder: str) -> List[str]:
    return [name for name in _entries(folder) if name.endswith(".pth")]


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _changed_at(path: str) -> int:
    # Not when the contents were made: an installer may keep that time, or link an older file.
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return 0


def _look() -> Dict[str, Stamp]:
    """The folders of packages, and the .pth files in them, as they are now."""
    folders = _folders()
    files = [os.path.join(folder, name) for folder in folders for name in _pth_files(folder)]
    return {path: _stamp(path) for path in [*folders, *files]}


# In the zygote, before it imports IPython.
_STARTED = time.time_ns()
_at_start = _look()
