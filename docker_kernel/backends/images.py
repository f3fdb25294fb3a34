"""The image: whether it is here, and how to get it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..deadline import Deadline
from ..errors import (
    EngineRefused,
    ImageNotFound,
    StartTimeout,
)
from . import Progress
from .docker import Engine

PROGRESS_SECONDS = 0.5
"""The shortest time between two lines of a pull's progress."""
_LOGIN_SIGNS = ("denied", "unauthorized", "authentication required", "no basic auth credentials")
PULL_SILENCE_SECONDS = 120.0
"""A pull that says nothing for so long has failed."""


def image_environment(found: Mapping[str, Any]) -> dict[str, str]:
    """The environment that an image gives its containers, from what the engine says of it."""
    entries = (found.get("Config") or {}).get("Env") or []
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


# -- getting the image


def ensure_image(
    engine: Engine, name: str, policy: str, deadline: Deadline, progress: Progress
) -> Mapping[str, Any]:
    """What the engine says of the image, after a pull where `policy` asks for one.

    Raises ImageNotFound, EngineError, StartTimeout.
    """
    if policy != "always":
        if found := inspect_image(engine, name, deadline):
            return found
        if policy == "never":
            raise not_here(name)
    _pull(engine, name, deadline, progress)
    found = inspect_image(engine, name, deadline)
    if found is None:
        raise ImageNotFound(
            f"the image {name} is gone again after its pull",
            "somebody removes images on this engine",
            "run it again",
        )
    return found


def not_here(name: str) -> ImageNotFound:
    """The error where an image is missing and none may be pulled."""
    return ImageNotFound(
        f"there is no image {name} on this machine",
        "and the setting pull is never",
        "see what there is: docker images; or set DOCKER_KERNEL_PULL=missing",
    )


def inspect_image(engine: Engine, name: str, deadline: Deadline) -> Mapping[str, Any] | None:
    """What the engine says of an image, None where it isn't here. Raises EngineError, and
    ImageNotFound for what can't be a name."""
    try:
        with engine.calling("looking for the image", deadline) as api:
            found: Mapping[str, Any] = api.inspect_image(name)
            return found
    except EngineRefused as exc:
        if exc.status == 404:
            return None
        if exc.status == 400 or "invalid reference format" in exc.why:  # Podman says 500
            raise ImageNotFound(
                f"{name!r} is not an image's name",
                exc.why,
                "write for instance DOCKER_KERNEL_IMAGE=python:3.12-slim",
            ) from exc
        raise


def _pull(engine: Engine, name: str, deadline: Deadline, progress: Progress) -> None:
    progress(f"pulling the image {name}")
    pull_image(engine, name, deadline, in_lines(name, progress))
    progress(f"pulled the image {name}")


def in_lines(name: str, progress: Progress) -> Callable[[Layers], None]:
    """What makes a line every now and then of how far a pull is."""
    last = time.monotonic()

    def show(layers: Layers) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            progress(f"pulling the image {name}: {layers.summary()}")

    return show


def pull_image(
    engine: Engine, name: str, deadline: Deadline, show: Callable[[Layers], None]
) -> None:
    """Pull an image; `show` is called whenever it has come further.

    Raises ImageNotFound, StartTimeout, and EngineError where the engine is away.
    """
    repository, tag = _split_name(name)
    layers = Layers()
    try:
        # The time of a pull is the line's, not the start's; silence is what it must not fall into.
        patience = Deadline(PULL_SILENCE_SECONDS)
        with (
            deadline.step("pulling the image", counted=False),
            engine.calling("pulling the image", patience) as api,
        ):
            for line in api.pull(repository, tag=tag, stream=True, decode=True):
                layers.take(line)
                show(layers)
    except StartTimeout as exc:
        raise StartTimeout(
            f"the pull of the image {name} came to a halt",
            f"nothing was heard of it for {PULL_SILENCE_SECONDS:g} s",
            f"check the network, and see how far this comes: docker pull {name}",
        ) from exc
    except EngineRefused as exc:
        what = f"the image {name} can't be pulled"
        raise ImageNotFound(what, exc.why, _remedy(exc.why, name)) from exc


def _split_name(name: str) -> tuple[str, str]:
    """Repository, and tag or digest."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    repository, colon, tag = name.rpartition(":")
    # A colon before a slash belongs to a registry's port.
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


@dataclass
class Layers:
    """How far each layer of a pull is, in bytes."""

    current: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one of the engine's messages. Raises EngineRefused where it says what went wrong."""
        if error := line.get("error"):
            raise EngineRefused("pulling the image failed", str(error))
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

    @property
    def size(self) -> tuple[int, int]:
        """How many bytes are here, of how many that are known of."""
        return sum(self.current.values()), sum(self.total.values())

    def summary(self) -> str:
        """How far all of it is."""
        here, known = self.size
        return f"{here / 1e6:.1f} of {known / 1e6:.1f} MB, {self.count()}"

    def count(self) -> str:
        """How many layers are complete."""
        return f"{len(self.done)} of {len(self.current)} layers"


def _registry(name: str) -> str:
    """The registry in an image's name, "" for Docker Hub."""
    first, slash, _ = name.partition("/")
    return first if slash and (first == "localhost" or re.search("[.:]", first)) else ""


def _remedy(words: str, name: str) -> str:
    lower = words.lower()
    if any(sign in lower for sign in _LOGIN_SIGNS):
        login = f"docker login {_registry(name)}".strip()
        return f"check the name; where the image is private, log in first: {login}"
    if "not found" in lower or "manifest unknown" in lower:
        return "check the name and the tag, or use one that is here: docker images"
    return "check the network, or set DOCKER_KERNEL_IMAGE to one that is here: docker images"
