"""What a container was made of, and how it differs from that by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Settings
from ..deadline import Deadline
from .docker import Engine
from .hardening import fence
from .throwaway import run_once

LOOK_SECONDS = 60.0
"""How long the engine may take to compare a container with its image."""

KINDS = ("changed", "added", "deleted")
"""What the engine's numbers for a change mean."""


@dataclass(frozen=True)
class Ancestor:
    """The image of a container."""

    id: str
    reference: str
    """Its name, with its digest where the engine knows one."""
    note: str
    """What is to be known of the name, "" for nothing."""
    user: str
    """As whom the container runs."""

    def run(self, engine: Engine, command: list[str], settings: Settings) -> str:
        """Run a program in a throw-away container of the image: what it printed.

        Raises EngineError, StartTimeout.
        """
        deadline, bounds = Deadline(LOOK_SECONDS), fence(settings)
        program, *words = command
        return run_once(engine, self.id, program, words, deadline, user=self.user, bounds=bounds)[1]


def ancestor(engine: Engine, container: str, name: str) -> Ancestor:
    """The image of a container that was started by this ``name``. Raises EngineError."""
    with engine.calling("looking at the image", Deadline(LOOK_SECONDS)) as api:
        found = api.inspect_container(container)
        image: Mapping[str, Any] = api.inspect_image(found["Image"])
    user = str(found["Config"]["User"])
    digests = [text.partition("@") for text in image.get("RepoDigests") or []]
    repository = name.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    for own, _, digest in digests:
        if own == repository and "@" not in name:
            return Ancestor(image["Id"], f"{name}@{digest}", "", user)
    note = ""
    if not digests:
        note = "This image has no digest: it was made on this machine, and may be there alone."
    elif "@" not in name:
        note = "This image has another name by now."
    return Ancestor(image["Id"], name, note, user)


def changes(engine: Engine, container: str) -> list[tuple[str, str]]:
    """What isn't as in the image: one of KINDS, and the path, which code has named. Raises
    EngineError, StartTimeout."""
    with engine.calling("comparing the container with its image", Deadline(LOOK_SECONDS)) as api:
        found = api.diff(container) or []
    return [(KINDS[item["Kind"]], str(item["Path"])) for item in found]
