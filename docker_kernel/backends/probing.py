"""Which Python an image has: looked up once, in a throw-away container."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ..deadline import Deadline
from ..errors import EngineRefused, ImageHasNoPython, ImagePythonTooOld
from ..runtime import cache_folder, read_json, write_json
from . import Progress
from .docker import Engine
from .throwaway import run_once
from .workspace import User

MIN_PYTHON = (3, 8)

Run = Callable[[str, list[str]], tuple[int, str]]
"""Runs a program with arguments: its exit status, and what it printed. Raises EngineError."""

# By what PATH finds first, then where images keep a Python that isn't on their PATH.
_CANDIDATES = (
    "python3",
    "python",
    "/opt/conda/bin/python3",
    "/usr/local/bin/python3",
    "/usr/bin/python3",
)

# It must run on any Python at all, to be able to say which one that is.
_PROBE = """
import json, os, sys, sysconfig
site = sysconfig.get_paths()["purelib"]
print("docker-kernel-probe:" + json.dumps({
    "executable": sys.executable,
    "version": ".".join(str(part) for part in sys.version_info[:3]),
    "cache_tag": getattr(getattr(sys, "implementation", None), "cache_tag", "") or "",
    "writable": os.access(site, os.W_OK),
    "venv": sys.prefix != getattr(sys, "base_prefix", sys.prefix),
}))
"""


@dataclass(frozen=True)
class ImagePython:
    """The Python of an image, as the container's user sees it."""

    executable: str
    version: str
    cache_tag: str
    writable: bool
    """Whether the user can install into its site-packages."""
    venv: bool

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers."""
        return tuple(int(part) for part in self.version.split("."))


def probe(
    engine: Engine,
    name: str,
    image_id: str,
    user: User,
    bounds: Mapping[str, Any],
    deadline: Deadline,
    progress: Progress,
) -> ImagePython:
    """Which Python the image has; looked up once for each image and user, then remembered.

    Raises ImageHasNoPython, ImagePythonTooOld, EngineError, StartTimeout.
    """
    # What a user can execute and write depends on the user.
    key = f"{image_id.replace(':', '-')}-{user.uid}-{user.gid}.json"
    cache = cache_folder() / "images" / key
    known = read_json(cache)
    with suppress(KeyError, TypeError):
        return ImagePython(**known["python"])
    progress(f"looking for Python in the image {name}")

    def run(program: str, arguments: list[str]) -> tuple[int, str]:
        return run_once(
            engine, image_id, program, arguments, deadline, user=str(user), bounds=bounds
        )

    python = find_python(run, f"the image {name}")
    write_json(cache, {"python": asdict(python)})
    return python


def find_python(run: Run, where: str) -> ImagePython:
    """The first Python there that is new enough; ``run`` runs a program with arguments.

    Raises ImageHasNoPython, ImagePythonTooOld, EngineError, StartTimeout.
    """
    found, seen = None, ""
    for candidate in _CANDIDATES:
        python, words = _try_python(run, candidate)
        seen = seen or words
        if python is not None and python.numbers >= MIN_PYTHON:
            return python
        found = found or python
    wanted = ".".join(map(str, MIN_PYTHON))
    if found is not None:
        raise ImagePythonTooOld(
            f"{where} has Python {found.version}",
            f"at least {wanted} is needed",
            "use a newer image, such as DOCKER_KERNEL_IMAGE=python:3.12-slim",
        )
    raise ImageHasNoPython(
        f"no Python was found in {where}",
        seen,
        f"use an image with Python {wanted} or later, such as DOCKER_KERNEL_IMAGE=python:3.12-slim",
    )


def _try_python(run: Run, candidate: str) -> tuple[ImagePython | None, str]:
    """Run the probe with one Python: what it found, and what the engine said where it did not
    run."""
    # -E -s: nothing of the environment; -I would say more, and Python 2 doesn't know it.
    try:
        code, output = run(candidate, ["-E", "-s", "-c", _PROBE])
    except EngineRefused as exc:
        if any(words in exc.why.lower() for words in _NO_SUCH_PROGRAM):
            return None, exc.why
        raise
    for line in output.splitlines():
        if line.startswith("docker-kernel-probe:"):
            found = json.loads(line.partition(":")[2])
            return ImagePython(**{**found, "executable": found["executable"] or candidate}), ""
    return None, f"{candidate} ended with status {code}: {output[-300:]}"


_NO_SUCH_PROGRAM = (
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "is a directory",
    "exec format error",
)
