"""``docker-kernel uninstall``: remove kernels of ours from Jupyter."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from ..errors import SettingError
from ..specs import Spec, find_specs


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "uninstall",
        help="remove kernels from Jupyter",
        description="Remove kernels that were made with install. Kernels of others stay, and so do "
        "images, and containers that run.",
    )
    names = parser.add_argument("names", nargs="+", metavar="NAME", help="a kernel's name.")
    names.completer = complete_names  # type: ignore[attr-defined]
    parser.add_argument("-y", "--yes", action="store_true", help="don't ask.")
    parser.set_defaults(run=uninstall)


def complete_names(**_: object) -> list[str]:
    """The names that a shell offers."""
    return [spec.name for spec in find_specs()]


def uninstall(options: argparse.Namespace) -> int:
    """Remove them, or none where one of them isn't ours. Returns the exit code."""
    ours = {spec.name: spec for spec in find_specs()}
    chosen = [_choose(name, ours) for name in dict.fromkeys(map(str.lower, options.names))]
    if not options.yes and not _confirmed(chosen):
        print("Nothing was removed.")
        return 1
    for spec in chosen:
        _remove(spec)
        print(f"Removed the kernel {spec.name!r} ({spec.folder})")
    for spec in find_specs():
        if spec.name in {item.name for item in chosen}:
            print(f"There is another {spec.name!r}, which counts from now on: {spec.folder}")
    return 0


def _choose(name: str, ours: dict[str, Spec]) -> Spec:
    spec = ours.get(name)
    if spec is None:
        raise SettingError(
            f"there is no kernel {name!r} of docker-kernel's",
            f"there are: {', '.join(ours)}" if ours else "there are none",
            "see docker-kernel list; for kernels of others: jupyter kernelspec list",
        )
    return spec


def _confirmed(chosen: list[Spec]) -> bool:
    if not sys.stdin.isatty():
        raise SettingError(
            "nobody can be asked whether to remove the kernels",
            "the input is no terminal",
            "add --yes",
        )
    for spec in chosen:
        print(f"    {spec.name}  {spec.folder}")
    return input(f"Remove {'these' if len(chosen) > 1 else 'this'}? [y/N] ").lower() in ("y", "yes")


def _remove(spec: Spec) -> None:
    folder = Path(spec.folder)
    try:
        # Of a link the link alone, as Jupyter does it.
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as exc:
        raise SettingError(
            f"the kernel {spec.name!r} can't be removed",
            f"{exc.strerror}: {exc.filename}",
            "ask the one who installed it, or use the right of the folder's owner",
        ) from exc
