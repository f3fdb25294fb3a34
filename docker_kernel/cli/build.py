"""``docker-kernel build``: an image with packages in it, from a requirements file for instance."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import read_certificates
from ..config import Settings
from ..deadline import Deadline
from ..errors import SettingError
from ..requirements import Wanted
from .choosing import complete_images, connect
from .pull import progress_of, settings_now

if TYPE_CHECKING:
    from ..backends.building import Recipe
    from ..backends.docker import Engine
    from ..backends.probing import ImagePython

STEP = re.compile(r"step (\d+)/(\d+)", re.IGNORECASE)
"""How the engine tells of a build's steps."""

LOOK_SECONDS = 120.0
"""How long all looks at the base may take; pulling it doesn't count."""


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "build",
        help="make an image with packages in it",
        description="Make an image of a base and packages: of pip's, of Debian's, and where the "
        "base has conda, of conda's. What the build prints goes to stderr. The engine keeps its "
        "steps, so that it is done at once the next time, where nothing has changed.",
        epilog="Example: docker-kernel build -r requirements.txt --tag analysis --install. "
        "Exit code 0: built. 1: it could not be built, and the message says why; no container is "
        "left of it.",
    )
    add = parser.add_argument
    add("packages", nargs="*", metavar="PACKAGE", help="a package, as for pip install.")
    add(
        "-r",
        "--requirements",
        action="append",
        default=[],
        metavar="FILE",
        help="a requirements file of pip's, or a conda environment (.yml). May be given again.",
    )
    add("--apt", action="append", default=[], metavar="PACKAGE", help="one of Debian's, too.")
    base = add(
        "--base",
        default="",
        metavar="IMAGE",
        help="what it is built on. Default: the Python that an environment asks for, or the image "
        "of the settings.",
    )
    base.completer = complete_images  # type: ignore[attr-defined]
    add("--tag", required=True, metavar="NAME", help="the name of the image.")
    add(
        "--extra-ca",
        default="",
        metavar="FILE",
        help="certificates that pip shall trust while it builds; see the setting extra_ca.",
    )
    add("--no-cache", action="store_true", help="do each step anew.")
    add("--install", action="store_true", help="make a kernel for Jupyter with it, too.")
    add("--name", default="", help="that kernel's name. Default: the last part of the image's.")
    add("--json", action="store_true", help="for programs: one JSON object.")
    parser.set_defaults(run=build)


def build(options: argparse.Namespace) -> int:
    """Build, and say what to do with it. Returns the exit code."""
    from ..backends.building import build as build_image
    from ..backends.building import check_apt, check_name

    wanted = Wanted()
    for name in options.requirements:
        wanted.add_file(Path(name))
    wanted.add_packages(options.packages)
    check_name(options.tag)
    check_apt(options.apt)
    if wanted.empty and not options.apt:
        raise SettingError(
            "there is nothing to install",
            "no package and no file was named",
            f"write for instance: docker-kernel build pandas --tag {options.tag}",
        )
    settings = settings_now(*([f"--extra-ca={options.extra_ca}"] if options.extra_ca else []))
    with connect() as engine:
        recipe = _recipe(engine, settings, options, wanted)
        with _progress(options.tag) as show:
            found = build_image(
                engine, recipe, options.tag, os.environ, show, no_cache=options.no_cache
            )
    _tell(options, recipe.base, found)
    return 0


def _recipe(
    engine: Engine, settings: Settings, options: argparse.Namespace, wanted: Wanted
) -> Recipe:
    """What is built, after a look at the base."""
    from ..backends.building import Recipe, find_conda
    from ..backends.hardening import fence
    from ..backends.probing import probe
    from ..backends.throwaway import run_once
    from ..backends.workspace import User

    deadline = Deadline(LOOK_SECONDS)
    base = options.base or _default_base(settings, wanted)
    found = _base(engine, base, settings.pull, deadline)
    image_id, root, bounds = str(found["Id"]), User("0", "0"), fence(settings)
    python = probe(engine, base, image_id, root, bounds, deadline, _show)
    _check_python(base, python, wanted)

    def run(program: str, arguments: list[str]) -> tuple[int, str]:
        return run_once(
            engine, image_id, program, arguments, deadline, user=str(root), bounds=bounds
        )

    return Recipe(
        base=base,
        user=str((found.get("Config") or {}).get("User") or ""),
        python=python.executable,
        wanted=wanted,
        apt=options.apt,
        conda=_conda(find_conda(run), base, wanted) if wanted.conda else "",
        certificates=read_certificates("extra_ca", settings.extra_ca) if settings.extra_ca else b"",
    )


def _base(engine: Engine, name: str, policy: str, deadline: Deadline) -> Mapping[str, Any]:
    """What the engine says of the base, after a pull where one is due."""
    from ..backends.images import ensure_image, inspect_image, pull_image

    missing = policy == "missing" and inspect_image(engine, name, deadline) is None
    if missing or policy == "always":
        with progress_of(name) as show:
            pull_image(engine, name, deadline, show)
    return ensure_image(engine, name, "never", deadline, _show)


def _default_base(settings: Settings, wanted: Wanted) -> str:
    exact = wanted.python.removeprefix("==").removesuffix(".*")
    if wanted.python.startswith("==") and not settings.image:
        return f"python:{exact}-slim"
    return settings.image_name()


def _check_python(base: str, python: ImagePython, wanted: Wanted) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(wanted.python).contains(python.version, prereleases=True)
    except InvalidSpecifier as exc:
        raise SettingError(
            f"the environment asks for python {wanted.python}", str(exc), "write for instance 3.12"
        ) from exc
    if not fits:
        raise SettingError(
            f"the base {base} has Python {python.version}",
            f"the environment asks for {wanted.python}",
            "choose another --base, or change the version in the environment",
        )


def _conda(found: str, base: str, wanted: Wanted) -> str:
    if not found:
        raise SettingError(
            f"conda packages are asked for ({', '.join(wanted.conda)})",
            f"the base {base} has no conda, and pip can't install them",
            "name a base that has it, such as --base condaforge/miniforge3; or list what pip has "
            "below pip: in the environment",
        )
    return found


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _progress(tag: str) -> Iterator[Callable[[str], None]]:
    """What shows the lines of a build; on a terminal there is a bar of its steps below them."""
    if not sys.stderr.isatty():
        yield _show
        return
    from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

    tqdm.monitor_interval = 0  # no thread of its own
    form = "{desc}: |{bar}| {n_fmt} of {total_fmt} steps, {elapsed}"
    with tqdm(desc=tag, total=1, file=sys.stderr, leave=False, bar_format=form) as bar:

        def show(line: str) -> None:
            bar.write(line, file=sys.stderr)
            if step := STEP.match(line):
                bar.n, bar.total = int(step[1]) - 1, int(step[2])
                bar.refresh()

        yield show


def _tell(options: argparse.Namespace, base: str, found: Mapping[str, Any]) -> None:
    tag, image_id, size = options.tag, str(found["Id"]), int(found.get("Size", 0))
    name = options.name or tag.rpartition("/")[2].partition(":")[0]
    words = ["install", "--name", name, "--image", tag]
    if options.json:
        said = {"image": tag, "id": image_id, "size_bytes": size, "base": base}
        said["kernel"] = name if options.install else None
        with redirect_stdout(sys.stderr):
            _install(options, words)
        print(json.dumps(said, indent=1))
        return
    print(f"Built {tag} ({image_id[:19]}, {size / 1e6:.0f} MB) on {base}")
    if not options.install:
        print(f"Make a kernel of it: jupyter docker-kernel {' '.join(words)}")
    _install(options, words)


def _install(options: argparse.Namespace, words: list[str]) -> None:
    from . import make_parser

    if options.install:
        chosen = make_parser().parse_args(words)
        chosen.run(chosen)
