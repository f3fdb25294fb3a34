"""A Docker engine for the tests and the demo: the one that is there, or a throw-away one.

    python tests/engine.py start | stop | status | env

`start` leaves a throw-away engine on until `stop`, where no other engine is there; `env` prints
what a shell needs to use it. Tests go through using().
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker

import podman
from dockerd import ThrowAway, cannot_start, connect, why_silent
from system import CannotError, say

DEFAULT_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Engine:
    """An engine that answers. `host` is what DOCKER_HOST should be."""

    host: str
    throw_away: bool = False

    def client(self) -> docker.DockerClient:
        """A new client of the Docker SDK; the caller closes it."""
        return connect(self.host)


def engine_host(environment: Mapping[str, str]) -> str | None:
    """DOCKER_HOST where it names an engine; a bare host name means a server, which is no engine."""
    host = environment.get("DOCKER_HOST", "")
    return host if "://" in host else None


def find() -> Engine:
    """An engine that is on, the throw-away one included. Raises CannotError."""
    ours = ThrowAway()
    host = engine_host(os.environ)
    if host is not None and host != ours.host:
        # Somebody who names an engine wants that one, and no other behind their back.
        if reason := why_silent(host):
            raise CannotError(f"no engine answers at DOCKER_HOST ({host}): {reason}")
        return Engine(host)
    default = f"unix://{DEFAULT_SOCKET}"
    if host is None and DEFAULT_SOCKET.exists() and why_silent(default) is None:
        return Engine(default)
    if ours.answers():
        return Engine(ours.host, throw_away=True)
    raise CannotError(f"no engine answers at {DEFAULT_SOCKET}, and DOCKER_HOST names none")


def find_or_start(ours: ThrowAway, *, keep: bool) -> Engine:
    """An engine that is on; where there is none, `ours` is acquired. Raises CannotError."""
    try:
        found = find()
        if not found.throw_away:
            return found
    except CannotError as exc:
        if engine_host(os.environ) not in (None, ours.host):
            raise
        if reason := cannot_start():
            raise CannotError(f"{exc}; {reason}") from None
    ours.acquire(keep=keep)
    return Engine(ours.host, throw_away=True)


@contextlib.contextmanager
def using() -> Iterator[Engine]:
    """An engine for the time of a with block; a throw-away one is given back after it.

    Raises CannotError, with the reason why none can be had."""
    ours = ThrowAway()
    engine = find_or_start(ours, keep=False)
    try:
        yield engine
    finally:
        ours.release()


def main(arguments: list[str]) -> int:
    """The script; returns its exit code."""
    try:
        match arguments:
            case ["start"]:
                say(f"engine: {find_or_start(ThrowAway(), keep=True).host}")
            case ["stop"]:
                ThrowAway().stop()
                podman.remove()
                say("engine: the throw-away one is off and gone")
            case ["status"]:
                engine = find()
                say(f"engine: {engine.host}{' (throw-away)' if engine.throw_away else ''}")
            case ["env"]:
                print(f"export DOCKER_HOST={find().host}")
            case _:
                say(__doc__ or "")
                return 2
    except CannotError as exc:
        say(f"engine: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
