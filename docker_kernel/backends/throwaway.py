"""Containers that do one thing and go, and the removal of containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..deadline import Deadline
from ..errors import DockerKernelError, EngineRefused, StartTimeout
from .docker import Engine
from .labels import labels, unique_name

MAX_OUTPUT_BYTES = 64 * 1024
MAX_MEMORY_BYTES = 1024**3
MAX_PIDS = 256

LOOK_SECONDS = 2.0
"""How long to look for the last words of a container that is too slow."""

GRACE_SECONDS = 3
"""How long a container that is stopped may take to end by itself."""

RETRY_SECONDS = 3.0
"""How long a start may be held up by one container that could not be removed before."""

_left: set[tuple[str, str]] = set()
"""The containers that this process could not remove: the engine's address, and the name."""


def run_once(
    engine: Engine,
    image_id: str,
    program: str,
    arguments: list[str],
    deadline: Deadline,
    *,
    user: str,
    bounds: Mapping[str, Any],
    kind: str = "probe",
    mounts: list[dict[str, Any]] | None = None,
    contents: bytes | None = None,
) -> tuple[int, str]:
    """Run a program in a throw-away container without network: its exit status, and what it
    printed.

    `bounds` is what `fence` says, as it is the image's own program that runs. `contents`
    is a tar that is unpacked into the container's root first. Raises EngineError; leaves no
    container behind.
    """
    name = unique_name(kind)
    with _removing(engine, name):
        with engine.calling(f"creating the {kind} container", deadline) as api:
            config = {
                "Image": image_id,
                "Entrypoint": [program],
                "Cmd": arguments,
                "User": user,
                "WorkingDir": "/",
                "Labels": labels(kind, name),
                "HostConfig": {
                    "NetworkMode": "none",
                    "Mounts": mounts or [],
                    "PidsLimit": MAX_PIDS,
                    "Memory": MAX_MEMORY_BYTES,
                    "MemorySwap": MAX_MEMORY_BYTES,
                    **bounds,
                },
            }
            api.create_container(name, config)
        with engine.calling(f"running the {kind} container", deadline) as api:
            if contents is not None:
                api.put_archive(name, "/", contents)
            api.start(name)
        try:
            with engine.calling(f"waiting for the {kind} container", deadline) as api:
                status = int(api.wait(name, timeout=max(deadline.remaining(), 1))["StatusCode"])
        except StartTimeout as exc:
            words = ""
            with suppress(DockerKernelError):
                words = _output(engine, name, Deadline(LOOK_SECONDS))
            raise deadline.timeout(words) from exc
        return status, _output(engine, name, deadline)


def _output(engine: Engine, name: str, deadline: Deadline) -> str:
    with engine.calling("reading what it printed", deadline) as api:
        output: bytes = api.logs(name, tail=50)
    return output[-MAX_OUTPUT_BYTES:].decode("utf-8", "replace").strip()


@contextmanager
def _removing(engine: Engine, name: str) -> Iterator[None]:
    """Remove the container afterwards, whatever happens; also where its creation was cut short."""
    try:
        yield
    finally:
        remove_container(engine, name)


def remove_container(engine: Engine, name: str, seconds: float = 10.0) -> bool:
    """Remove a container by name, running or not. True where it is gone, False where that can't be
    told; then `remove_left` tries again."""
    removed = _remove(engine, name, Deadline(seconds))
    (_left.discard if removed else _left.add)((engine.url, name))
    return removed


def stop_container(engine: Engine, name: str) -> bool:
    """End a container of a kernel: its server may end its sessions first. True where it is gone,
    False where that can't be told."""
    with suppress(DockerKernelError):  # whatever it was: what is left is removed by force
        deadline = Deadline(GRACE_SECONDS + LOOK_SECONDS)
        with engine.calling("stopping the container", deadline) as api:
            api.stop(name, timeout=GRACE_SECONDS)
    return remove_container(engine, name)


def remove_left(engine: Engine) -> None:
    """Remove what this engine has failed to remove before: its owner lives, so nobody sweeps it."""
    for url, name in tuple(_left):
        if url == engine.url:
            remove_container(engine, name, RETRY_SECONDS)


def _remove(engine: Engine, name: str, deadline: Deadline) -> bool:
    try:
        with engine.calling("removing the container", deadline) as api:
            api.remove_container(name)
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
