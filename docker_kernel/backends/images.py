"""The image: whether it is here, how to get it, and which Python is in it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ..config import Settings
from ..deadline import Deadline
from ..errors import (
    DockerKernelError,
    EngineRefused,
    ImageHasNoPython,
    ImageNotFound,
    ImagePythonTooOld,
)
from ..runtime import cache_folder, read_json, write_json
from . import Progress
from .docker import Engine
from .labels import labels, unique_name
from .workspace import User

MIN_PYTHON = (3, 8)
PROGRESS_SECONDS = 0.5
"""The shortest time between two lines of a pull's progress."""
PULL_SILENCE_SECONDS = 120.0
"""A pull that says nothing for so long has failed."""
MAX_PROBE_BYTES = 64 * 1024

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


def image_name(settings: Settings) -> str:
    """The image of these settings, the default one where they name none."""
    version = sys.version_info
    return str(settings.image) or f"python:{version.major}.{version.minor}-slim"


# -- getting the image


def ensure_image(
    engine: Engine, name: str, policy: str, deadline: Deadline, progress: Progress
) -> Mapping[str, Any]:
    """What the engine says of the image, after a pull where `policy` asks for one.

    Raises ImageNotFound, EngineError, StartTimeout.
    """
    if policy != "always":
        if found := _inspect(engine, name, deadline):
            return found
        if policy == "never":
            raise ImageNotFound(
                f"there is no image {name} on this machine",
                "and the setting pull is never",
                "see what there is: docker images; or set DOCKER_KERNEL_PULL=missing",
            )
    _pull(engine, name, deadline, progress)
    found = _inspect(engine, name, deadline)
    if found is None:
        raise ImageNotFound(f"the image {name} is gone again after its pull", "", "try again")
    return found


def _inspect(engine: Engine, name: str, deadline: Deadline) -> Mapping[str, Any] | None:
    try:
        with engine.calling("looking for the image", deadline) as api:
            found: Mapping[str, Any] = api.inspect_image(name)
            return found
    except EngineRefused as exc:
        if exc.status == 404:
            return None
        if exc.status == 400:
            raise ImageNotFound(
                f"{name!r} is not an image's name", exc.why, "write for instance python:3.12-slim"
            ) from exc
        raise


def _pull(engine: Engine, name: str, deadline: Deadline, progress: Progress) -> None:
    progress(f"pulling the image {name}")
    repository, tag = _split_name(name)
    try:
        # The time of a pull is the line's, not the start's; silence is what it must not fall into.
        patience = Deadline(PULL_SILENCE_SECONDS)
        with (
            deadline.step("pulling the image", counted=False),
            engine.calling("pulling the image", patience) as api,
        ):
            lines = api.pull(repository, tag=tag, stream=True, decode=True)
            for text in _pull_progress(name, lines):
                progress(text)
    except EngineRefused as exc:
        raise ImageNotFound(
            f"there is no image {name} on this machine, and it can't be pulled",
            exc.why,
            _remedy(exc.why),
        ) from exc


def _split_name(name: str) -> tuple[str, str]:
    """Repository, and tag or digest."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    repository, colon, tag = name.rpartition(":")
    # A colon before a slash belongs to a registry's port.
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def _pull_progress(name: str, lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The engine's progress messages as a line every now and then. Raises EngineRefused."""
    seen = _Layers()
    last = time.monotonic()
    for line in lines:
        if error := line.get("error"):
            raise EngineRefused("pulling the image failed", str(error))
        seen.take(line)
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            yield f"pulling the image {name}: {seen.summary()}"
    yield f"pulled the image {name}"


@dataclass
class _Layers:
    """How far each layer of a pull is, in bytes."""

    current: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def take(self, line: Mapping[str, Any]) -> None:
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        detail = line.get("progressDetail") or {}
        if status == "Pulling fs layer":
            self.current[layer] = 0
        elif status == "Downloading" and detail:
            self.current[layer] = int(detail.get("current") or 0)
            self.total[layer] = int(detail.get("total") or 0)
        elif status in ("Pull complete", "Already exists"):
            self.done.add(layer)
            self.current[layer] = self.total.get(layer, 0)

    def summary(self) -> str:
        got, all_of_it = sum(self.current.values()) / 1e6, sum(self.total.values()) / 1e6
        return f"{got:.1f} of {all_of_it:.1f} MB, {len(self.done)} of {len(self.current)} layers"


def _remedy(words: str) -> str:
    lower = words.lower()
    if "denied" in lower or "unauthorized" in lower or "authentication required" in lower:
        return "check the name; for a private image log in first: docker login"
    if "not found" in lower or "manifest unknown" in lower:
        return "check the name and the tag, or use one that is here: docker images"
    return "check the network, or set DOCKER_KERNEL_IMAGE to one that is here: docker images"


# -- its Python


def probe(
    engine: Engine, name: str, image_id: str, user: User, deadline: Deadline, progress: Progress
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
    found, seen = None, ""
    for candidate in _CANDIDATES:
        python, words = _try_python(engine, image_id, candidate, user, deadline)
        seen = seen or words
        if python is not None and python.numbers >= MIN_PYTHON:
            write_json(cache, {"python": asdict(python)})
            return python
        found = found or python
    wanted = ".".join(map(str, MIN_PYTHON))
    if found is not None:
        raise ImagePythonTooOld(
            f"the image {name} has Python {found.version}",
            f"at least {wanted} is needed",
            "use a newer image, such as DOCKER_KERNEL_IMAGE=python:3.12-slim",
        )
    raise ImageHasNoPython(
        f"no Python was found in the image {name}",
        seen,
        f"use an image with Python {wanted} or later, such as DOCKER_KERNEL_IMAGE=python:3.12-slim",
    )


def _try_python(
    engine: Engine, image_id: str, candidate: str, user: User, deadline: Deadline
) -> tuple[ImagePython | None, str]:
    """Run the probe with one Python: what it found, and what the engine said where it did not
    run."""
    # -E -s: nothing of the environment; -I would say more, and Python 2 doesn't know it.
    command = ["-E", "-s", "-c", _PROBE]
    try:
        code, output = run_once(engine, image_id, candidate, command, deadline, user=str(user))
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


def run_once(
    engine: Engine,
    image_id: str,
    program: str,
    arguments: list[str],
    deadline: Deadline,
    *,
    user: str,
    kind: str = "probe",
    mounts: list[dict[str, Any]] | None = None,
    contents: bytes | None = None,
) -> tuple[int, str]:
    """Run a program in a throw-away container without network: its exit status, and what it
    printed.

    `contents` is a tar that is unpacked into the container's root first. Raises EngineError; leaves
    no container behind.
    """
    name = unique_name(kind)
    with _removing(engine, name):
        with engine.calling(f"creating the {kind} container", deadline) as api:
            api.create_container(
                image_id,
                arguments,
                entrypoint=[program],
                name=name,
                user=user,
                working_dir="/",
                labels=labels(kind),
                host_config=api.create_host_config(
                    network_mode="none",
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                    pids_limit=256,
                    mounts=mounts or [],
                ),
            )
        with engine.calling(f"running the {kind} container", deadline) as api:
            if contents is not None:
                api.put_archive(name, "/", contents)
            api.start(name)
            status = int(api.wait(name, timeout=max(deadline.remaining(), 1))["StatusCode"])
            output: bytes = api.logs(name, tail=50)
        return status, output[-MAX_PROBE_BYTES:].decode("utf-8", "replace").strip()


@contextmanager
def _removing(engine: Engine, name: str) -> Iterator[None]:
    """Remove the container afterwards, whatever happens; also where its creation was cut short."""
    try:
        yield
    finally:
        remove_container(engine, name)


def remove_container(engine: Engine, name: str, seconds: float = 10.0) -> bool:
    """Remove a container by name, running or not. True where it is gone, False where that can't be
    told."""
    deadline = Deadline(seconds)
    try:
        with engine.calling("removing the container", deadline) as api:
            api.remove_container(name, force=True, v=True)
    except EngineRefused as exc:
        if exc.status == 404:
            return True
        # 409: the engine is removing it already, as the container ended by itself.
        return exc.status == 409 and _await_removal(engine, name, deadline)
    except DockerKernelError:
        return False
    return True


def _await_removal(engine: Engine, name: str, deadline: Deadline) -> bool:
    try:
        with engine.calling("waiting for the removal", deadline) as api:
            api.wait(name, timeout=max(deadline.remaining(), 1), condition="removed")
    except EngineRefused as exc:
        return exc.status == 404
    except DockerKernelError:
        return False
    return True
