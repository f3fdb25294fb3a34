"""What the kernel says of itself: the parts of kernel_info_reply."""

from __future__ import annotations

import sys
from typing import Any

from ipykernel._version import kernel_protocol_version

from docker_kernel_server import __version__

from .session import Session

IMPLEMENTATION = "docker-kernel"

HELP_LINKS = [
    {"text": "Python Reference", "url": "https://docs.python.org/3"},
    {"text": "IPython Reference", "url": "https://ipython.readthedocs.io/en/stable/"},
]


def kernel_info(session: Session | None) -> dict[str, Any]:
    """The content of kernel_info_reply. A feature is named here when it works."""
    return {
        "protocol_version": kernel_protocol_version,
        "implementation": IMPLEMENTATION,
        "implementation_version": __version__,
        "language_info": language_info(session),
        "banner": banner(session),
        "help_links": HELP_LINKS,
        "supported_features": ["kernel subshells"],
    }


def language_info(session: Session | None) -> dict[str, Any]:
    """Python's, as ipykernel has it; the host's version until the container's is known."""
    version = session.info.get("python") if session else None
    return {
        "name": "python",
        "version": version or ".".join(map(str, sys.version_info[:3])),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }


def banner(session: Session | None) -> str:
    """What a console shows first."""
    lines = [f"{IMPLEMENTATION} {__version__}: Python in a container"]
    if session is not None:
        lines += [session.sandbox.describe(), *session.sandbox.notices]
        lines += str(session.info.get("banner") or "").rstrip().splitlines()
    return "\n".join(lines)
