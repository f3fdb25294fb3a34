"""What the doctor knows of a start that failed."""

from __future__ import annotations

import os
from contextlib import closing, suppress

from ..backends.docker import Engine
from ..deadline import Deadline
from ..errors import (
    DockerKernelError,
    EngineRefused,
    ImageNotFound,
    StartCancelled,
    StartError,
    StartTimeout,
)
from . import engine as engines

EXPLAIN_SECONDS = 2.0
"""How long a start that failed may be held up by the search for its cause."""

_NETWORK = ("dial tcp", "lookup", "timeout", "refused", "x509", "proxyconnect", "awaiting headers")
"""What an engine says where it can't reach a registry; else the registry has answered."""


def explain(error: DockerKernelError) -> None:
    """Add to the error of a start in a new container what the doctor knows of its cause."""
    if isinstance(error, (StartTimeout, StartCancelled)):
        return
    if isinstance(error, ImageNotFound):
        if not any(words in error.why.lower() for words in _NETWORK):
            return
        causes = {"proxy", "clock"}
    elif isinstance(error, (StartError, EngineRefused)):
        causes = {"disk"}
    else:
        return
    with (
        suppress(DockerKernelError),
        closing(Engine(os.environ, Deadline(EXPLAIN_SECONDS))) as engine,
    ):
        for finding in engines.judge(engines.ask(engine, EXPLAIN_SECONDS), os.environ):
            if finding.id in causes and finding.level in ("warning", "problem"):
                error.why = "; ".join(filter(None, [error.why, finding.what]))
                error.remedy = "; or ".join(filter(None, [error.remedy, finding.remedy]))
