"""What an engine says of itself, and what that means.

Judged from facts alone, so that every platform's can be tested on every machine.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..backends.address import Address
from ..backends.docker import Engine
from ..backends.images import inspect_image, not_here
from ..backends.labels import KIND as KIND_LABEL
from ..backends.sweeping import time_of
from ..backends.volumes import IMAGE_LABEL
from ..backends.volumes import KIND as RUNTIME
from ..config import Settings
from ..deadline import Deadline
from ..errors import DockerKernelError
from .findings import Finding, of_error
from .machine import proxies

ASK_SECONDS = 10.0
"""How long one question to the engine may take."""

OLDEST = (20, 10)
"""The oldest version of the Docker Engine that is tested."""

SKEW_SECONDS = 5.0
"""Clocks that are further apart than this are told."""

LEAST_BYTES, LITTLE_BYTES = 500e6, 3e9
"""Free room with which a start fails soon, and with which a pull may."""

DESKTOP, COLIMA, PODMAN, ENGINE = "Docker Desktop", "Colima", "Podman", "Docker Engine"
IN_A_MACHINE = (DESKTOP, COLIMA)
"""Their engine runs in a virtual machine: its folders and its limits aren't this machine's."""

_LIMITS = {
    "MemoryLimit": "memory",
    "SwapLimit": "swap",
    "PidsLimit": "processes",
    "CpuCfsQuota": "CPUs",
}


@dataclass(frozen=True)
class Known:
    """An engine's own words (/info and /version), and this machine's time when it said them."""

    url: str
    info: Mapping[str, Any]
    version: Mapping[str, Any]
    now: float

    @property
    def kind(self) -> str:
        """Whose engine it is: Docker Desktop, Colima, Podman or Docker Engine."""
        parts = [part.get("Name", "") for part in self.version.get("Components") or []]
        system = str(self.info.get("OperatingSystem", ""))
        if any("podman" in part.lower() for part in parts):
            return PODMAN
        if system.startswith("Docker Desktop"):
            return DESKTOP
        if self.info.get("Name") == "colima" or "/.colima/" in self.url:
            return COLIMA
        return ENGINE

    @property
    def rootless(self) -> bool:
        """Whether it runs as a user."""
        return "name=rootless" in (self.info.get("SecurityOptions") or [])


def ask(engine: Engine, seconds: float = ASK_SECONDS) -> Known:
    """Let it tell of itself. Raises EngineError, StartTimeout."""
    with engine.calling("asking the engine about itself", Deadline(seconds)) as api:
        version = api.version()
        before = time.time()
        info = api.info()
    # Half-way: an answer may take a while.
    return Known(engine.url, info, version, (before + time.time()) / 2)


def judge(known: Known, environ: Mapping[str, str]) -> list[Finding]:
    """All that follows from what it says."""
    found = [identity(known), exposed(known), limits(known), disk(known), clock(known)]
    # What isn't seen from here may be seen from a container.
    return [item for item in [*found, proxy(known, environ)] if item.level != "skipped"]


def identity(known: Known) -> Finding:
    """Kind and version."""
    version = str(known.version.get("Version", ""))
    words = f"{known.kind} {version} (API {known.version.get('ApiVersion')})"
    words += f"{', rootless' if known.rootless else ''} at {known.url}"
    if known.kind == ENGINE and (number := _numbers(version)) and number < OLDEST:
        return Finding(
            "engine",
            "warning",
            words,
            f"it is older than {'.'.join(map(str, OLDEST))}, the oldest that is tested",
            "upgrade it: https://docs.docker.com/engine/install/",
        )
    return Finding("engine", "ok", words)


def exposed(known: Known) -> Finding:
    """What the engine itself says about who can reach it."""
    said = [line for line in known.info.get("Warnings") or [] if "without encryption" in line]
    if said:
        return Finding(
            "exposed",
            "warning",
            said[0].strip().removeprefix("WARNING: "),
            "whoever reaches that port is root on the engine's machine",
            "take -H tcp://… out of dockerd's options, or protect it: "
            "https://docs.docker.com/engine/security/protect-access/",
        )
    return Finding("exposed", "ok", "the engine warns of no open port")


def limits(known: Known) -> Finding:
    """Whether memory, swap, processes and CPUs can be limited."""
    info = known.info
    cgroups = f"cgroup v{info.get('CgroupVersion', '1')}, driver {info.get('CgroupDriver', '?')}"
    # What an engine doesn't mention, it may well be able to.
    missing = [name for key, name in _LIMITS.items() if info.get(key) is False]
    if info.get("CgroupDriver") == "none":
        missing = list(_LIMITS.values())
    if not missing:
        return Finding("limits", "ok", f"limits can be enforced: {cgroups}")
    if known.rootless:
        remedy = (
            "a rootless engine needs cgroup v2, systemd and delegation: "
            "https://docs.docker.com/engine/security/rootless/"
        )
    elif missing == ["swap"]:
        remedy = (
            "add swapaccount=1 to the kernel's command line (GRUB_CMDLINE_LINUX in "
            "/etc/default/grub; then sudo update-grub) and boot again"
        )
    else:
        remedy = (
            "add cgroup_enable=memory swapaccount=1 to the kernel's command line "
            "(GRUB_CMDLINE_LINUX in /etc/default/grub; then sudo update-grub) and boot again"
        )
    return Finding(
        "limits",
        "warning",
        f"the engine can't limit {', '.join(missing)} ({cgroups})",
        "code in a container can use all that the machine has of it",
        remedy,
    )


def clock(known: Known) -> Finding:
    """Whether the engine has this machine's time."""
    theirs = time_of(str(known.info.get("SystemTime", "")))
    if not theirs:
        return Finding("clock", "skipped", "the engine doesn't tell its time")
    apart = theirs - known.now
    if abs(apart) <= SKEW_SECONDS:
        return Finding("clock", "ok", "the engine has the same time as this machine")
    return Finding(
        "clock",
        "warning",
        f"the engine's clock is {abs(apart):.0f} s {'ahead' if apart > 0 else 'behind'}",
        "certificates may count as invalid, files as older than they are, and what is left behind "
        "is removed too late or too soon",
        "restart it: the clock of its machine stood still, as after a sleep"
        if known.kind in IN_A_MACHINE
        else "set both clocks by the network: sudo timedatectl set-ntp true",
    )


def disk(known: Known) -> Finding:
    """Room where the engine keeps images and containers, as far as it is seen from here."""
    root = str(known.info.get("DockerRootDir", ""))
    if known.kind not in IN_A_MACHINE and not Address(known.url).remote and root:
        with suppress(OSError):
            return room(shutil.disk_usage(root).free, root, known)
    return Finding("disk", "skipped", f"the engine's folder {root} can't be seen from here")


def room(free: float, where: str, known: Known) -> Finding:
    """What so many free bytes mean."""
    if free >= LITTLE_BYTES:
        return Finding("disk", "ok", f"{free / 1e9:.1f} GB free in {where}")
    more = "Docker Desktop: Settings > Resources > Virtual disk limit"
    return Finding(
        "disk",
        "problem" if free < LEAST_BYTES else "warning",
        f"only {free / 1e9:.2f} GB are free in {where}",
        "containers start from there, and an image has from 0.1 to 10 GB",
        "see what can go: docker system df; then docker-kernel prune, docker image prune"
        + (f"; or give it more ({more})" if known.kind == DESKTOP else ""),
    )


def proxy(known: Known, environ: Mapping[str, str]) -> Finding:
    """Whether the engine, which pulls images, has the proxy that this machine seems to need."""
    here = proxies(environ)
    there = {key: known.info.get(f"{key.title()}Proxy", "") for key in ("http", "https")}
    if here and not any(there.values()):
        return Finding(
            "proxy",
            "warning",
            f"there is a proxy here ({next(iter(here.values()))}), and none in the engine",
            "the engine pulls images, and doesn't know the variables of this shell",
            "Settings > Resources > Proxies in Docker Desktop"
            if known.kind == DESKTOP
            else "see https://docs.docker.com/engine/daemon/proxy/",
        )
    if here or any(there.values()):
        return Finding("proxy", "ok", "the engine has a proxy")
    return Finding("proxy", "ok", "no proxy is set")


def image(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Whether the image is here, and what is lent to it."""
    name = settings.image_name()
    try:
        found = inspect_image(engine, name, Deadline(ASK_SECONDS))
    except DockerKernelError as exc:
        yield of_error("image", exc)
        return
    if found is None and settings.pull == "never":
        yield of_error("image", not_here(name))
    elif found is None:
        yield Finding(
            "image",
            "warning",
            f"the image {name} is not here yet",
            "the first kernel pulls it, which takes a while and needs the network",
            f"docker-kernel pull {name}",
        )
    else:
        yield Finding("image", "ok", f"{name} is here, with {found.get('Size', 0) / 1e6:.0f} MB")
        yield _runtime(engine, str(found["Id"]))


def _runtime(engine: Engine, image_id: str) -> Finding:
    label = [f"{KIND_LABEL}={RUNTIME}", f"{IMAGE_LABEL}={image_id}"]
    try:
        with engine.calling("looking for volumes", Deadline(ASK_SECONDS)) as api:
            found = api.volumes(filters={"label": label})["Volumes"] or []
    except DockerKernelError as exc:
        return of_error("runtime", exc)
    if not found:
        return Finding("runtime", "ok", "nothing is lent yet: the first start takes seconds more")
    return Finding("runtime", "ok", f"{len(found)} volumes are lent to the image")


def _numbers(version: str) -> tuple[int, ...]:
    first = version.split("+")[0].split("-")[0].split(".")
    return tuple(int(part) for part in first[:2]) if all(p.isdigit() for p in first[:2]) else ()
