"""An image of what a container has become, with what was installed in it.

The engine adds to such an image what the container was made with, and nothing can take that away
again: what isn't the base image's own is overwritten. Its packages are found in the container's
home, so HOME and what belongs to it stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from ..deadline import Deadline
from ..errors import EngineRefused, ImageError, UsageError
from . import Progress
from .creation import HOME
from .docker import Engine
from .images import image_environment
from .labels import PREFIX
from .volumes import LIKE_LABEL

NAMESPACE = "localhost/docker-kernel/"
"""How the names of these images begin. Cells choose the rest, so it is a place that nobody pulls
from, and where no image stands that something else is made of."""

COMMITTED = f"{PREFIX}committed"
"""A label of theirs: who made this image, under which name."""

_KEPT = (
    *("HOME", "USER", "LOGNAME", "PATH", "PYTHONPATH", "PIP_TARGET", "PIP_BREAK_SYSTEM_PACKAGES"),
    *("PIP_ROOT_USER_ACTION", "PIP_DISABLE_PIP_VERSION_CHECK"),
)
"""By these, Python finds what was installed, and pip installs more where that is."""

COMMIT_SECONDS = 3600.0
LOOK_SECONDS = 10.0
REMOVE_SECONDS = 30.0

_NAME = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+|/)[a-z0-9]+)*(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
)
MAX_NAME_CHARS = 200


def full_name(text: str) -> str:
    """The whole name of an image that is called so. Raises UsageError."""
    bare = text.removeprefix(NAMESPACE)
    match = _NAME.fullmatch(bare)
    if match is None or len(bare) > MAX_NAME_CHARS:
        raise UsageError(
            f"{text!r:.300} can't be an image's name",
            "small letters and digits, with . _ - or / between them, and a tag after a colon",
            "write for instance mine:1",
        )
    return f"{NAMESPACE}{bare}" if match["tag"] else f"{NAMESPACE}{bare}:latest"


def commit(engine: Engine, container: str, name: str, progress: Progress) -> int:
    """Make an image of a container of ours, under a name of `full_name`. How many bytes it has more
    than its base.

    Raises UsageError, EngineError, ImageError, StartTimeout.
    """
    deadline = Deadline(LOOK_SECONDS)
    with engine.calling("looking at the container", deadline) as api:
        found = api.inspect_container(container)
        base = api.inspect_image(found["Image"])
    _check_kept(found)
    mark = f"{_maker(found)} as {name}"
    replaced = _replaced(engine, name, mark, deadline)
    size = _size(engine, found["Id"])
    progress(f"writing {size / 1e6:.0f} MB as {name}; the container is paused meanwhile")
    wanted = _config(found["Config"], base, mark)
    repository, _, tag = name.rpartition(":")
    names = {"repository": repository, "tag": tag, "message": "%docker commit"}
    with engine.calling("making the image", Deadline(COMMIT_SECONDS)) as api:
        made = api.commit(container, **names, conf=wanted)
        if wrong := _differences(api, made["Id"], wanted):
            # Podman doesn't hear what is said in this way.
            first, made = made, api.commit(container, **names, changes=_instructions(wanted))
            api.remove_image(first["Id"])
            wrong = _differences(api, made["Id"], wanted)
        if wrong:
            # It would start our server, and may hold secrets.
            api.remove_image(name)
            raise ImageError(
                "the image was not kept",
                f"the engine has given it another {', '.join(wrong)} than it was told",
                "write down what was installed, and build an image of that: %docker freeze",
            )
    if replaced:
        _remove(engine, replaced)
    return size


def is_own(engine: Engine, name: str, container: str) -> bool:
    """Whether the image of this name was committed from this container, or from another one that
    saw the same folder. Raises EngineError, StartTimeout."""
    if not name.startswith(NAMESPACE):
        return False
    deadline = Deadline(LOOK_SECONDS)
    with engine.calling("looking at the container", deadline) as api:
        maker = _maker(api.inspect_container(container))
    labels = _labels(engine, name, deadline)
    return labels is not None and labels.get(COMMITTED) == f"{maker} as {name}"


def _maker(found: Mapping[str, Any]) -> str:
    """For whom a container of ours works: all code that sees the same folder is the same."""
    labels: Mapping[str, str] = found["Config"]["Labels"]
    folder = labels.get(f"{PREFIX}workspace") or found["Name"].lstrip("/")
    user, host = (labels.get(f"{PREFIX}owner.{key}", "") for key in ("user", "host"))
    return f"{user}@{host}:{folder}"


def _check_kept(found: Mapping[str, Any]) -> None:
    """Raise UsageError where what pip installs isn't on the container's own disk."""
    host = found["HostConfig"]
    places = [*(host.get("Tmpfs") or {}), *(mount["Destination"] for mount in found["Mounts"])]
    away = [place for place in places if PurePosixPath(HOME).is_relative_to(place)]
    if not away and not host.get("ReadonlyRootfs"):
        return
    why = (
        f"{away[0]} is in memory, or a folder that is mounted" if away else "its disk is read-only"
    )
    raise UsageError(
        "there is nothing to make an image of",
        f"what pip installs in this container isn't on the container's own disk: {why}",
        "write down what was installed: %docker freeze; or start a kernel without the settings "
        "read_only and tmp_size",
    )


def _replaced(engine: Engine, name: str, mark: str, deadline: Deadline) -> str:
    """The id of the image that has this name now, "" for none. Raises UsageError where it isn't
    this container's to replace."""
    labels = _labels(engine, name, deadline)
    if labels is None:
        return ""
    if labels.get(COMMITTED) == mark:
        with engine.calling("looking for the image", deadline) as api:
            return str(api.inspect_image(name)["Id"])
    raise UsageError(
        f"there is an image {name} already",
        "it wasn't made by %docker commit of a notebook in this folder",
        f"choose another name, or remove it in a terminal: docker rmi {name}",
    )


def _labels(engine: Engine, name: str, deadline: Deadline) -> Mapping[str, str] | None:
    """The labels of an image, None where there is none of this name."""
    try:
        with engine.calling("looking for the image", deadline) as api:
            config = api.inspect_image(name).get("Config") or {}
    except EngineRefused as exc:
        if exc.status == 404:
            return None
        raise
    return config.get("Labels") or {}


def _size(engine: Engine, container_id: str) -> int:
    """How much a container has written to its own disk."""
    with engine.calling("measuring the container", Deadline(REMOVE_SECONDS)) as api:
        listed = api.containers(size=True, filters={"id": [container_id]})
    return int(listed[0].get("SizeRw") or 0) if listed else 0


def _config(container: Mapping[str, Any], image: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """What the image's containers are made with, as those of its base."""
    base = image.get("Config") or {}
    ours = image_environment({"Config": container})
    theirs = image_environment({"Config": base})
    # What was given by the setting env may be a secret: of that, the names stay, empty.
    environment = {**dict.fromkeys(ours, ""), **theirs}
    environment |= {name: ours[name] for name in _KEPT if name in ours}
    labels = {**dict.fromkeys(container["Labels"] or {}, ""), **(base.get("Labels") or {})}
    command = base.get("Cmd") or []
    return {
        "Entrypoint": base.get("Entrypoint") or [],
        # The engine takes an empty one for none, and puts the container's own there.
        "Cmd": command or ([] if base.get("Entrypoint") else container["Entrypoint"][:1]),
        "User": base.get("User") or "0",
        "WorkingDir": base.get("WorkingDir") or "/",
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {LIKE_LABEL: image["Id"], **labels, COMMITTED: mark},
    }


def _differences(api: Any, image_id: str, wanted: Mapping[str, Any]) -> list[str]:
    """In what an image isn't as the engine was told to make it."""
    made = api.inspect_image(image_id)["Config"]
    found = {**made, "Env": sorted(made.get("Env") or [])}
    told = {**wanted, "Env": sorted(wanted["Env"])}
    return [key for key, value in told.items() if (found.get(key) or type(value)()) != value]


def _instructions(wanted: Mapping[str, Any]) -> list[str]:
    """The same as lines of a Dockerfile, as Podman reads them: it takes no quotes off."""
    return [
        f"ENTRYPOINT {json.dumps(wanted['Entrypoint'])}",
        f"CMD {json.dumps(wanted['Cmd'])}",
        f"USER {wanted['User']}",
        f"WORKDIR {wanted['WorkingDir']}",
        *(f"ENV {line}" for line in wanted["Env"]),
        *(f"LABEL {key}={value}" for key, value in wanted["Labels"].items()),
    ]


def _remove(engine: Engine, image_id: str) -> None:
    """Remove the image that had the name before. Where something uses it, it stays."""
    with (
        suppress(EngineRefused),
        engine.calling("removing the image before", Deadline(REMOVE_SECONDS)) as api,
    ):
        api.remove_image(image_id)
