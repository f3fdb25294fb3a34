"""What the kernel says of itself: the parts of kernel_info_reply."""

from __future__ import annotations

import sys
from typing import Any

from ipykernel._version import kernel_protocol_version

from docker_kernel_server import __version__

from .session import Session

IMPLEMENTATION = "docker-kernel"

HELP_LINKS = {
    "IPython Reference": "https://ipython.readthedocs.io/en/stable/",
    "NumPy Reference": "https://docs.scipy.org/doc/numpy/reference/",
    "SciPy Reference": "https://docs.scipy.org/doc/scipy/reference/",
    "Matplotlib Reference": "https://matplotlib.org/contents.html",
    "SymPy Reference": "http://docs.sympy.org/latest/index.html",
    "pandas Reference": "https://pandas.pydata.org/pandas-docs/stable/",
}
"""What a frontend's help menu shows besides Python's own, as ipykernel has it."""


def kernel_info(session: Session | None) -> dict[str, Any]:
    """The content of kernel_info_reply. A feature is named here when it works."""
    return {
        "protocol_version": kernel_protocol_version,
        "implementation": IMPLEMENTATION,
        "implementation_version": __version__,
        "language_info": language_info(session),
        "banner": banner(session),
        "help_links": help_links(session),
        "supported_features": ["kernel subshells"],
    }


def language_info(session: Session | None) -> dict[str, Any]:
    """Python's, as ipykernel has it."""
    return {
        "name": "python",
        "version": python_version(session),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }


def python_version(session: Session | None) -> str:
    """The container's; this process's own until that is known."""
    version = session.python if session else ""
    return version or ".".join(map(str, sys.version_info[:3]))


def help_links(session: Session | None) -> list[dict[str, str]]:
    """The links of a frontend's help menu."""
    version = ".".join(python_version(session).split(".")[:2])
    links = {"Python Reference": f"https://docs.python.org/{version}", **HELP_LINKS}
    return [{"text": text, "url": url} for text, url in links.items()]


def banner(session: Session | None) -> str:
    """What a console shows first."""
    local = session is not None and session.sandbox.settings.resolved_mode() == "local"
    where = "on this machine, WITHOUT a container" if local else "in a container"
    lines = [f"{IMPLEMENTATION} {__version__}: Python {where}"]
    if session is not None:
        lines += [session.sandbox.describe(), *session.sandbox.notices]
        lines += str(session.info.get("banner") or "").rstrip().splitlines()
    return "\n".join(lines)
