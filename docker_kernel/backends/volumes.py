"""The runtime volumes: what is lent to an image, unpacked and compiled once by its own Python.

Each image has its own. The image's Python fills them, and an image that means harm could write what
it likes; no other image ever runs that.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .. import runtime
from ..deadline import Deadline
from ..errors import DockerKernelError, EngineRefused, StartError
from . import Progress
from .docker import Engine
from .labels import KIND as LABEL
from .labels import PREFIX, labels
from .probing import ImagePython
from .throwaway import run_once

KIND = "runtime"
IMAGE_LABEL = f"{PREFIX}image"
LIKE_LABEL = f"{PREFIX}made-of"
"""A label of an image: the id of the one that it was made of, by %docker commit."""

SWEEP_SECONDS = 15.0
"""How long the removal of old volumes may hold a filling up; the rest goes with the next one."""

_FILL_FOLDER = "docker-kernel-fill"
_FILLED = 0
_ALREADY_COMPLETE = 3


def ensure_volumes(
    engine: Engine,
    image_id: str,
    python: ImagePython,
    bounds: Mapping[str, Any],
    deadline: Deadline,
    progress: Progress,
    certificates: bytes = b"",
    like: str = "",
) -> list[dict[str, Any]]:
    """The read-only mounts of what is lent to this Python, filled where a volume is new.

    `certificates` are those of further authorities, in PEM. `like` is the id of an image that this
    one was made of: where its volumes are for the same Python and complete, they serve, and are
    only read, so that nothing of this image gets into them. Raises StartError, EngineError,
    StartTimeout.
    """
    with deadline.step("looking at what is lent"):
        parts = runtime.parts()
        lent = {part.name for part in parts}
        if certificates:
            parts.append(runtime.authorities(certificates))
    mounts = []
    for part in parts:
        shared = part.volume_name(like, python.cache_tag, python.version)
        if like and part.name in lent and _known_complete(engine, shared, deadline):
            mounts.append({**_mount(shared, part, like), "ReadOnly": True})
            continue
        name = part.volume_name(image_id, python.cache_tag, python.version)
        mount = _mount(name, part, image_id)
        if not _known_complete(engine, name, deadline):
            progress(f"preparing the {part.name} for Python {python.version} (only this once)")
            _fill(engine, part, mount, image_id, python, bounds, deadline)
            _note_complete(engine, name, deadline)
            _sweep(engine)
        mounts.append({**mount, "ReadOnly": True})
    return mounts


def _known_complete(engine: Engine, name: str, deadline: Deadline) -> bool:
    """Whether the volume is there, and is the one that we have seen complete.

    A look into a volume takes a container; so we note when each one was made that was seen
    complete. One that we know nothing of (its filling was cut short, or it is another user's work)
    goes through a filling, which does nothing where all is there.
    """
    created = _created(engine, name, deadline)
    return bool(created) and runtime.read_json(_note(engine, name)).get("created") == created


def _note_complete(engine: Engine, name: str, deadline: Deadline) -> None:
    created = _created(engine, name, deadline)
    runtime.write_json(_note(engine, name), {"created": created})


def _note(engine: Engine, name: str) -> Any:
    where = hashlib.sha256(engine.url.encode()).hexdigest()[:8]
    return runtime.cache_folder() / "volumes" / f"{name}-{where}.json"


def _created(engine: Engine, name: str, deadline: Deadline) -> str:
    """When the volume was made, by the engine's clock; "" where there is none."""
    try:
        with engine.calling("looking for the runtime volume", deadline) as api:
            return str(api.inspect_volume(name).get("CreatedAt") or "unknown")
    except EngineRefused as exc:
        if exc.status == 404:
            return ""
        raise


def _fill(
    engine: Engine,
    part: runtime.Part,
    mount: dict[str, Any],
    image_id: str,
    python: ImagePython,
    bounds: Mapping[str, Any],
    deadline: Deadline,
) -> None:
    """Fill the volume unless it is complete. Two of these at the same time do no harm."""
    with deadline.step("packing the runtime"):
        contents = _wrapped(part)
    place = f"/{_FILL_FOLDER}"
    status, output = run_once(
        engine,
        image_id,
        python.executable,
        ["-I", "-S", f"{place}/fill.py", part.target, f"{place}/contents.tar"],
        deadline,
        user="0:0",
        bounds=bounds,
        kind="fill",
        mounts=[mount],
        contents=contents,
    )
    if status not in (_FILLED, _ALREADY_COMPLETE):
        raise StartError(
            "the runtime volume could not be filled",
            f"the filling ended with status {status}: {output[-600:]}",
            "see that the engine's disk has room: docker system df; then docker volume rm "
            + mount["Source"],
        )


def _mount(name: str, part: runtime.Part, image_id: str) -> dict[str, Any]:
    """The mount, with which the engine makes the volume where there is none yet."""
    return {
        "Type": "volume",
        "Source": name,
        "Target": part.target,
        # What the image has at this place is no part of it.
        "VolumeOptions": {"NoCopy": True, "Labels": {**labels(KIND, name), IMAGE_LABEL: image_id}},
    }


def old_volumes(engine: Engine, deadline: Deadline) -> list[str]:
    """The volumes of images that are gone. Raises EngineError, StartTimeout."""
    with engine.calling("looking for volumes", deadline) as api:
        images = set(api.images(all=True, quiet=True))
        filters = {"label": [f"{LABEL}={KIND}", IMAGE_LABEL]}
        found = api.volumes(filters=filters)["Volumes"] or []
    return [item["Name"] for item in found if item["Labels"][IMAGE_LABEL] not in images]


def remove_volume(engine: Engine, name: str, deadline: Deadline) -> bool:
    """Remove a volume. False where a container still uses it. Raises EngineError, StartTimeout."""
    try:
        with engine.calling("removing a volume", deadline) as api:
            api.remove_volume(name)
    except EngineRefused as exc:
        if exc.status == 409:
            return False
        if exc.status != 404:
            raise
    return True


def _sweep(engine: Engine) -> None:
    """Remove the volumes of images that are gone: an image that is built often leaves many."""
    deadline = Deadline(SWEEP_SECONDS)
    with suppress(DockerKernelError):
        for name in old_volumes(engine, deadline):
            remove_volume(engine, name, deadline)


def _wrapped(part: runtime.Part) -> bytes:
    """The filling program and the archive that it unpacks, as a tar for the container's root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        runtime.add_to_tar(tar, f"{_FILL_FOLDER}/fill.py", runtime.fill_script())
        runtime.add_to_tar(tar, f"{_FILL_FOLDER}/contents.tar", part.archive())
    return buffer.getvalue()
