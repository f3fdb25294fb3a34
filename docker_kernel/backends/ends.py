"""How a container ended, as the engine remembers it."""

from __future__ import annotations

import time
from contextlib import closing, suppress

from ..deadline import Deadline
from ..errors import DockerKernelError
from .docker import Engine

EXIT_SECONDS = 5.0
"""How long to wait for the engine to tell why a container ended; it has much to do just then."""

NEWS_SECONDS = 2.0
"""How much later than the end the engine's news of it may come."""


def last_events(engine: Engine, name: str) -> tuple[int | None, bool]:
    """The exit status of a container, as the engine remembers it, and whether memory ran out in
    it."""
    oom = False
    until = int(time.time() + NEWS_SECONDS)
    deadline = Deadline(NEWS_SECONDS + EXIT_SECONDS)
    with suppress(DockerKernelError), engine.calling("asking why it ended", deadline) as api:
        # The news of the end may come a moment after the end: this waits for it, up to `until`.
        filters = {"container": [name]}
        with closing(api.events(since=1, until=until, filters=filters, decode=True)) as events:
            for event in events:
                oom = oom or event.get("Action") == "oom"
                if event.get("Action") == "die":
                    return int(event["Actor"]["Attributes"]["exitCode"]), oom
    return None, oom
