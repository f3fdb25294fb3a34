"""Why a server that lives doesn't answer."""

from __future__ import annotations

from ..deadline import Deadline
from ..errors import DockerKernelError
from .docker import Engine

LOOK_SECONDS = 2.0


def trouble_of(engine: Engine | None, container: str) -> str:
    """What keeps the server in a container from answering, and what to type; "" where nothing is
    known."""
    if engine is None:
        return ""
    try:
        with engine.calling("looking at the container", Deadline(LOOK_SECONDS)) as api:
            paused = api.inspect_container(container)["State"].get("Paused")
    except DockerKernelError:
        return ""
    return (
        f"the container {container} is paused; type: docker unpause {container}" if paused else ""
    )
