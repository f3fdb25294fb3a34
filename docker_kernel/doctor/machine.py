"""What can be seen of this machine without an engine."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata

from docker_kernel_server import __version__

from ..backends.address import find
from ..config import Settings
from ..sources import engine_url
from ..specs import find_specs
from .findings import Finding

_SHOWN = ("ipykernel", "jupyter_client", "ipython", "docker")
"""The packages whose versions a report on a fault needs."""


def versions() -> Finding:
    """Ours, Python's, and whether the packages that we need are there and new enough."""
    from packaging.requirements import Requirement

    wrong = []
    for text in metadata.requires("docker-kernel") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is missing")
            continue
        if not needed.specifier.contains(there, prereleases=True):
            wrong.append(f"{needed.name} is {there}, and {needed.specifier} is needed")
    python = ".".join(map(str, sys.version_info[:3]))
    if wrong:
        return Finding(
            "versions",
            "problem",
            f"docker-kernel {__version__} lacks what it needs: {'; '.join(wrong)}",
            "kernels fail at their start, or later and in odd ways",
            f"{sys.executable} -m pip install --upgrade docker-kernel",
        )
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in _SHOWN)
    return Finding(
        "versions",
        "ok",
        f"docker-kernel {__version__} with Python {python} on {sys.platform}; {shown}",
    )


def kernels() -> Finding:
    """Whether Jupyter has a kernel of ours, and each of these a Python."""
    specs = find_specs()
    # Jupyter takes its own Python where a kernelspec says no more than "python".
    broken = [
        f"{spec.name} ({spec.python})"
        for spec in specs
        if spec.python not in ("python", "python3") and shutil.which(spec.python) is None
    ]
    if broken:
        return Finding(
            "kernels",
            "problem",
            f"kernels whose Python is gone: {', '.join(broken)}",
            "Jupyter can't start them; the environment that they were made from was removed",
            "make each anew with its --name and its settings (docker-kernel list has them): "
            "docker-kernel install",
        )
    if not specs:
        return Finding(
            "kernels",
            "warning",
            "Jupyter has no kernel of docker-kernel's",
            "the launcher can't offer what isn't installed for the Jupyter that looks for it",
            "docker-kernel install",
        )
    return Finding("kernels", "ok", f"in Jupyter as {', '.join(spec.name for spec in specs)}")


def settings(loaded: Settings) -> Finding:
    """Whether all that is set counts."""
    if loaded.notices:
        return Finding(
            "settings",
            "warning",
            "; ".join(loaded.notices),
            "what was meant to be set is not",
            "write the right name; docker-kernel config --show has all that count",
        )
    return Finding("settings", "ok", f"all that is set counts; mode {loaded.resolved_mode()}")


def address(environ: Mapping[str, str], loaded: Settings) -> Finding:
    """Which engine is meant, or which server. Raises EngineError where it can't be told."""
    mode = loaded.resolved_mode()
    value = environ.get("DOCKER_HOST", "").strip()
    if not engine_url(environ) and (value or environ.get("DOCKER_PORT", "").strip()):
        host, port = loaded.server_address()
        named = "DOCKER_HOST" if value else "DOCKER_PORT"
        return Finding(
            "address",
            "ok" if mode == "attached" else "warning",
            f"{named} names a running server at {host}:{port}, and no engine",
            f"the mode is {mode}, so it counts for nothing",
            f"unset {named}",
        )
    found = find(environ)
    words = f"{found.named or 'the default'}: the engine at {hide_password(found.url)}"
    if found.unsafe:
        return Finding(
            "address",
            "warning",
            f"{words}; the way there {found.unsafe}",
            "an engine is as good as root on its machine",
            "use ssh://USER@HOST, or TLS: https://docs.docker.com/engine/security/protect-access/",
        )
    return Finding("address", "ok", words)


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies that are set, by scheme, without passwords."""
    found = {}
    for scheme in ("http", "https"):
        name = f"{scheme}_proxy"
        if value := environ.get(name) or environ.get(name.upper()):
            found[scheme] = hide_password(value)
    return found


def hide_password(url: str) -> str:
    """A URL that can be shown."""
    return re.sub(r"(//|^)([^/@:]*):[^/@]*@", r"\1\2:***@", url)
