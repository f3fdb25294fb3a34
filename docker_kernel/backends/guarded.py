"""What this kernel's own Python imports, where it lies in the folder that the container sees.

A virtual environment often lies in the project's folder. A cell that could write there would run
on this machine when the kernel next starts; so these parts are mounted once more, read-only, over
themselves.
"""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..places import any_case, lies_in, same_place

_PACKAGES = ("docker_kernel", "docker_kernel_server", "docker_kernel_magics")
_IMPORTED = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")


def own_places() -> list[Path]:
    """The folders of this Python: its prefixes, and what it imports from."""
    return _prefixes() + _imported()


def why_not_guarded(folder: Path, places: list[Path]) -> str:
    """Why what lies in `folder` can't be guarded, "" where it can. `folder` is resolved."""
    own = any(lies_in(folder, place) for place in _imported())
    if own or any(same_place(folder, place) for place in _prefixes()):
        return "it is part of the Python that runs this kernel"
    for inner in _inside(folder, places):
        for path in (inner, *inner.parents):
            if (folder / path).is_symlink():
                return (
                    f"the Python that runs this kernel is in it by way of the link {path}, which "
                    "code could replace"
                )
            if path.parts and any_case(folder / path):
                return (
                    f"the Python that runs this kernel is in it, in {path}, and by that name in "
                    "other capitals code would get past what guards it; an environment beside the "
                    "folder is out of reach"
                )
    return ""


def guards(folder: Path, target: str, places: list[Path]) -> list[dict[str, Any]]:
    """The mounts over parts of `folder`, which is mounted at `target` and can be guarded."""
    found = set(_inside(folder, places))
    guarded = {path for path in found if not found & set(path.parents)}
    # A folder above one of them could be renamed, and another put into its place. One that is
    # mounted can't be.
    above = {path for inner in guarded for path in inner.parents if path.parts}
    return [
        {
            "Type": "bind",
            "Source": str(folder / path),
            "Target": str(PurePosixPath(target, *path.parts)),
            "ReadOnly": path in guarded,
        }
        for path in sorted(guarded | above)
    ]


def _prefixes() -> list[Path]:
    found = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    return [Path(name) for name in found]


def _imported() -> list[Path]:
    paths = sysconfig.get_paths()
    found = [Path(paths[name]) for name in _IMPORTED if name in paths]
    if site.ENABLE_USER_SITE:
        found.append(Path(site.getusersitepackages()))
    for name in _PACKAGES:
        # They lie elsewhere where they are installed as editable.
        spec = importlib.util.find_spec(name)
        found += [Path(place) for place in (spec and spec.submodule_search_locations) or []]
    return found


def _inside(folder: Path, places: list[Path]) -> Iterator[Path]:
    """Those of `places` that lie below `folder`, relative to it."""
    for place in places:
        if not place.exists():
            continue
        for way in (place, place.resolve()):
            for parent in way.parents:
                if same_place(parent, folder):
                    yield way.relative_to(parent)
