"""What a kernel's container is made with."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import runtime
from ..checks import parse_size
from ..config import Settings
from ..errors import StartError
from .hardening import fence
from .labels import PREFIX, WARM, labels
from .mounts import WORKPLACE, bind
from .probing import ImagePython
from .workspace import User

SERVER_PORT = 8000
NO_NETWORK = "none"
"""The engine's name for a container with nothing but its own loopback."""

RELAY = f"{runtime.TARGET}/docker_kernel_server/relay.py"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The engine's, for an image that has none."""
HOME = "/tmp/home"  # noqa: S108 - in the container, which is ours alone


@dataclass(frozen=True)
class Plan:
    """All that a start has found out before it makes the container."""

    image: str
    image_id: str
    environment: Mapping[str, str]
    """The image's own."""
    python: ImagePython
    lent: list[dict[str, Any]]
    mounts: list[dict[str, Any]]
    gpus: list[dict[str, Any]]
    folder: Path | None
    user: User
    remote: bool = False
    """Whether the engine is on another machine, so that a port there is of no use here."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    """The variables by which the container finds the network's proxies."""

    def has_port(self, settings: Settings) -> bool:
        """Whether the server's port is published; else the engine's own API leads to it."""
        return not self.remote and settings.network != NO_NETWORK


def creation(
    plan: Plan, settings: Settings, name: str, first_lease: float | None = None
) -> dict[str, Any]:
    """What the container is made with, the safe defaults among it, as the engine's API has it.

    ``first_lease`` is for one that is started ahead: for so many seconds it waits for its client.
    """
    mounts = [*plan.lent, *plan.mounts]
    marks = labels("kernel" if first_lease is None else WARM, name)
    if plan.folder is not None:
        mounts += bind(plan.folder, WORKPLACE)
        marks[f"{PREFIX}workspace"] = str(plan.folder)
    environment = {**plan.proxies, **_environment(plan, settings), **settings.env}
    port = f"{SERVER_PORT}/tcp"
    return {
        "Image": plan.image_id,
        "Entrypoint": [plan.python.executable],
        "Cmd": _server_arguments(plan, settings, first_lease),
        "User": str(plan.user),
        "WorkingDir": WORKPLACE,
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Labels": marks,
        "ExposedPorts": {port: {}} if plan.has_port(settings) else {},
        "OpenStdin": True,
        "StdinOnce": True,
        "HostConfig": {
            "NetworkMode": settings.network,
            # Loopback alone; the engine picks a free port.
            "PortBindings": {port: [{"HostIp": "127.0.0.1"}]} if plan.has_port(settings) else {},
            "Mounts": mounts,
            "DeviceRequests": plan.gpus,
            "AutoRemove": True,
            "Init": True,
            "PidsLimit": settings.pids,
            "Memory": settings.memory_bytes(),
            "MemorySwap": settings.memory_bytes(),
            "NanoCpus": int(settings.cpus * 1e9),
            "ReadonlyRootfs": settings.read_only,
            "Tmpfs": _in_memory(plan, settings),
            "ShmSize": parse_size("shm_size", settings.shm_size) if settings.shm_size else 0,
            "StorageOpt": {"size": settings.disk_size} if settings.disk_size else {},
            **fence(settings),
        },
    }


def _server_arguments(plan: Plan, settings: Settings, first_lease: float | None) -> list[str]:
    """The server's command line after the name of the Python; -I -S: nothing of the image's."""
    return [
        *("-I", "-S", f"{runtime.TARGET}/{runtime.ENTRY}"),
        *("--workplace", WORKPLACE),
        # All addresses of the container's own, or loopback, which it has without a network, too.
        *("--host", "0.0.0.0" if plan.has_port(settings) else "127.0.0.1"),  # noqa: S104
        *("--port", str(SERVER_PORT)),
        "--secret-from-stdin",
        *("--lease", f"{settings.lease:g}"),
        *(("--first-lease", f"{first_lease:g}") if first_lease is not None else ()),
        *("--python", plan.python.executable),
        *("--lent", f"{runtime.TARGET}/{runtime.PACKAGES_FOLDER}"),
    ]


def _in_memory(plan: Plan, settings: Settings) -> dict[str, str]:
    """The folders that are kept in memory, and with which options."""
    size = settings.tmp_bytes()
    taken = {mount["Target"] for mount in plan.mounts}
    options = f"exec,nosuid,nodev,size={size}"  # pip's packages are in there, with their libraries
    found = {}
    if size is not None:
        found["/tmp"] = f"{options},mode=1777"  # noqa: S108
    if settings.read_only:
        found["/var/tmp"] = f"{options},mode=1777"  # noqa: S108
        if plan.folder is None:
            uid, gid, mode = _rights(plan.user)
            found[WORKPLACE] = f"{options},mode={mode:o},uid={uid},gid={gid}"
    return {path: text for path, text in found.items() if path not in taken}


def _environment(plan: Plan, settings: Settings) -> dict[str, str]:
    """What the code finds in its environment: a home, and a pip that works without root.

    Where it can't write site-packages, pip installs into the user's by itself.
    """
    environment = {
        "HOME": HOME,
        # Python looks for a name where the uid has none: getpass.getuser().
        "USER": "kernel",
        "LOGNAME": "kernel",
        # The container is thrown away: pip can't break a system here (PEP 668).
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    scripts = f"{HOME}/.local/bin"
    if plan.python.venv and (settings.read_only or not plan.python.writable):
        # A virtual environment has no user site.
        folder = environment["PIP_TARGET"] = f"{HOME}/site-packages"
        environment["PYTHONPATH"] = _joined(folder, plan.environment.get("PYTHONPATH", ""))
        scripts = f"{folder}/bin"
    if settings.extra_ca:
        environment.update(runtime.ca_variables(runtime.CA_FOLDER))
    # Last, so that nothing of the image's is hidden.
    environment["PATH"] = _joined(plan.environment.get("PATH") or DEFAULT_PATH, scripts)
    return environment


def _joined(*folders: str) -> str:
    # An image that was made of one of our containers has ours already.
    return ":".join(dict.fromkeys(filter(None, ":".join(folders).split(":"))))


def own_workplace(user: User) -> bytes:
    """A tar with an empty /workspace that belongs to the user: the engine would make it root's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(WORKPLACE.lstrip("/"))
        info.type = tarfile.DIRTYPE
        info.mtime = int(time.time())
        info.uid, info.gid, info.mode = _rights(user)
        tar.addfile(info)
    return buffer.getvalue()


def _rights(user: User) -> tuple[int, int, int]:
    """The owner, the group and the mode of the user's own /workspace."""
    # The image knows the names of its users, we don't.
    return (*user.numbers, 0o755) if user.numbers else (0, 0, 0o1777)


def published(ports: Mapping[str, Any]) -> int:
    """The port that the engine picked, from what it says of the container. Raises StartError."""
    for binding in ports.get(f"{SERVER_PORT}/tcp") or []:
        return int(binding["HostPort"])
    raise StartError(
        "the engine published no port for the server",
        "its network may be one that can't publish any",
        "use DOCKER_KERNEL_NETWORK=bridge",
    )
