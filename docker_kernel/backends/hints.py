"""Why an engine can't be reached, and what to do about it on this machine.

`classify` decides from facts alone, so that every case can be tested on every machine.
"""

from __future__ import annotations

import errno
import getpass
import http.client
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import EngineDenied, EngineError, EngineNotFound, EngineNotRunning
from . import hints_far
from .address import CONTEXT
from .ssh import SshFailed
from .streams import SilentEngine

Trouble = Literal["missing", "refused", "denied", "silent", "tls", "ssh", "other"]

_START = {
    "darwin": "start Docker Desktop: open -a Docker",
    "linux": "start it: sudo systemctl start docker (without systemd: sudo dockerd)",
    "win32": "start Docker Desktop from the Start menu and wait until it runs",
}
"""How the engine of a machine is started."""


@dataclass(frozen=True)
class Facts:
    """What is known when an engine can't be reached."""

    url: str
    """The engine's address."""
    named: str
    """Where that address comes from ("DOCKER_HOST", "the Docker context desktop-linux"); "" for the
    machine's default."""
    trouble: Trouble
    detail: str
    platform: str
    """As sys.platform."""
    wsl: bool = False
    cli: bool = False
    """Whether there is a program `docker`."""
    desktop: bool = False
    """Whether Docker Desktop is installed, as far as can be seen."""
    remote: bool = False
    """Whether the engine is on another machine."""
    listed_in_group: bool = False
    """Whether the user is a member of the group docker, though perhaps not yet in this login."""

    @property
    def named_desktop(self) -> bool:
        """Whether the address is that of Docker Desktop, by the context that it makes."""
        return self.named.startswith(f"{CONTEXT} desktop")

    @property
    def has_desktop(self) -> bool:
        """Whether Docker Desktop is installed, or was."""
        return self.desktop or self.named_desktop


def classify(facts: Facts) -> EngineError:
    """The error for these facts, with a remedy that fits the platform."""
    if facts.trouble == "ssh":
        return hints_far.ssh(facts.url, facts.named, facts.detail, another(facts.named))
    if facts.trouble == "tls":
        return hints_far.tls(facts.url, facts.named, facts.detail)
    if facts.remote:
        return hints_far.tcp(facts.url, facts.named, facts.detail, another(facts.named))
    if facts.trouble == "denied":
        return EngineDenied(
            f"the Docker engine at {facts.url} denies access", facts.detail, _entry(facts)
        )
    if facts.named and not facts.named_desktop:
        kind = EngineNotFound if facts.trouble == "missing" else EngineNotRunning
        return kind(
            f"no Docker engine answers at {facts.url}",
            f"{facts.named} names it; {facts.detail}",
            f"start that engine, or {another(facts.named)}{_without(facts)}",
        )
    if facts.trouble == "missing" and not facts.cli and not facts.has_desktop:
        return EngineNotFound(
            "there is no Docker engine on this machine", facts.detail, _install(facts)
        )
    if facts.trouble == "missing" and facts.wsl:
        return EngineNotFound(
            "Docker Desktop isn't connected to this WSL distribution", facts.detail, _integrate()
        )
    return EngineNotRunning(
        f"the Docker engine at {facts.url} doesn't answer", facts.detail, _begin(facts)
    )


def no_context(name: str, known: list[str]) -> EngineError:
    """The error for a Docker context that isn't there; `known` are those that are."""
    there = f"; there are: {', '.join(known)}" if known else "; there are none but the default"
    return EngineError(
        f"there is no Docker context {name!r}",
        f"DOCKER_CONTEXT or the last `docker context use` names it{there}",
        "choose another: docker context ls, docker context use NAME",
    )


def unreadable(url: str, named: str, why: str) -> EngineError:
    """The error for an address that can't be an engine's."""
    a_path = "npipe:////./pipe/NAME" if sys.platform == "win32" else "unix:///PATH"
    return EngineError(
        f"{url} can't be a Docker engine's address",
        f"{named} names it; {why}",
        f"write {a_path} or tcp://HOST:PORT, or {another(named)}",
    )


def no_engine(url: str, named: str, why: str) -> EngineError:
    """The error for an address where something else answers."""
    if "http request to an https server" in why.lower():
        return hints_far.wants_tls(url, named, why)
    what = f"what answers at {url} is no Docker engine"
    if not named:
        return EngineNotFound(what, why, f"end it, and {_START.get(sys.platform, _START['linux'])}")
    return EngineNotFound(what, f"{named} names it; {why}", f"correct it, or {another(named)}")


def another(named: str) -> str:
    """How to choose another engine than the one that is named so."""
    if named.startswith(CONTEXT):
        return "choose another: docker context ls, docker context use NAME"
    return "unset DOCKER_HOST for this machine's own"


def _install(facts: Facts) -> str:
    if facts.wsl:
        return f"{_integrate()}; or install an engine here: sudo apt install docker.io"
    if facts.platform in ("darwin", "win32"):
        return f"install Docker Desktop from https://docs.docker.com/get-docker/{_without(facts)}"
    return (
        "install one (Debian, Ubuntu: sudo apt install docker.io; else see "
        f"https://docs.docker.com/engine/install/){_without(facts)}"
    )


def _without(facts: Facts) -> str:
    """How to go on without an engine: not on Windows, where the server doesn't run."""
    if facts.platform == "win32":
        return ""
    return "; to run code on this machine itself, unprotected: DOCKER_KERNEL_MODE=local"


def _integrate() -> str:
    return (
        "start Docker Desktop on Windows, and switch this distribution on in Settings > Resources "
        "> WSL integration"
    )


def _begin(facts: Facts) -> str:
    if facts.wsl and facts.has_desktop:
        return f"start Docker Desktop on Windows{_without(facts)}"
    if facts.platform == "linux" and facts.has_desktop:
        return f"start it: systemctl --user start docker-desktop{_without(facts)}"
    return f"{_START.get(facts.platform, _START['linux'])}{_without(facts)}"


def _entry(facts: Facts) -> str:
    if facts.platform == "win32":
        return "make yourself a member of the group docker-users, then sign out and in again"
    if facts.platform == "darwin":
        return "start Docker Desktop as the user that you are now"
    if facts.listed_in_group:
        return "you are in the group docker, but not yet in this login: log out and in again"
    return (
        "join the group docker, then log out and in again: sudo usermod -aG docker $USER (its "
        "members can become root); or use a rootless engine: https://docs.docker.com/go/rootless/"
    )


def gather(url: str, named: str, remote: bool, error: BaseException) -> Facts:
    """The facts about this machine, after `error` came of an attempt to reach the engine at
    `url`."""
    trouble, detail = _trouble(error)
    return Facts(
        url=url,
        named=named,
        remote=remote,
        trouble=trouble,
        detail=detail,
        platform=sys.platform,
        wsl=_is_wsl(os.environ),
        cli=shutil.which("docker") is not None,
        desktop=_has_desktop(),
        listed_in_group=_listed_in_group(),
    )


def _trouble(error: BaseException) -> tuple[Trouble, str]:
    """What was said, somewhere inside what the libraries made of it."""
    for cause in _causes(error):
        if found := _on_the_way(cause) or _at_the_socket(cause):
            return found
    return "other", str(error)


def _on_the_way(cause: BaseException) -> tuple[Trouble, str] | None:
    """What a way over the network has to say."""
    if isinstance(cause, SshFailed):
        return "ssh", str(cause)
    if isinstance(cause, ssl.SSLError):
        words = getattr(cause, "verify_message", "") or cause.reason or str(cause)
        return "tls", words.lower().replace("_", " ")
    if isinstance(cause, http.client.RemoteDisconnected):
        return "other", "it hung up without an answer"
    if isinstance(cause, socket.gaierror):
        return "missing", f"the name is unknown: {cause.strerror}"
    # By the other's name, as its library may not be imported: then it is no such error.
    if isinstance(cause, SilentEngine) or type(cause).__name__ == "ConnectTimeoutError":
        return "silent", "nothing answers there, not even that nobody listens"
    return None


def _at_the_socket(cause: BaseException) -> tuple[Trouble, str] | None:
    """What the operating system said."""
    if not isinstance(cause, OSError) or cause.errno is None:
        return None
    detail = cause.strerror or str(cause)
    if cause.errno in (errno.ENOENT, errno.ENOTSOCK, errno.ENOTDIR):
        return "missing", detail
    if cause.errno in (errno.EACCES, errno.EPERM):
        return "denied", detail
    away = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ETIMEDOUT)
    return ("refused", detail) if cause.errno in away else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps: as cause, as context, or as an argument."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [*item.args, item.__cause__, item.__context__, getattr(item, "reason", None)]


def _is_wsl(environ: Mapping[str, str]) -> bool:
    if sys.platform != "linux":
        return False
    return "WSL_DISTRO_NAME" in environ or Path("/proc/sys/fs/binfmt_misc/WSLInterop").exists()


def _has_desktop() -> bool:
    places = {
        "darwin": ["/Applications/Docker.app"],
        "win32": [r"C:\Program Files\Docker\Docker\Docker Desktop.exe"],
        "linux": ["/opt/docker-desktop", "/mnt/wsl/docker-desktop", "/mnt/c/Program Files/Docker"],
    }
    return any(Path(place).exists() for place in places.get(sys.platform, []))


def _listed_in_group() -> bool:
    if sys.platform == "win32":
        return False
    import grp

    try:
        return getpass.getuser() in grp.getgrnam("docker").gr_mem
    except (KeyError, OSError):
        return False
