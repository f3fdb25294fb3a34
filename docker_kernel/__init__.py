"""A Jupyter kernel whose code runs in a Docker container."""

from __future__ import annotations

from typing import Any

from docker_kernel_server import __version__

from .config import Settings
from .errors import DockerKernelError
from .sandbox import Sandbox

__all__ = [
    "DockerKernelError",
    "Sandbox",
    "Settings",
    "__version__",
    "load_ipython_extension",
    "unload_ipython_extension",
]


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext docker_kernel`` calls: it loads %%docker, %docker and %pip_docker."""
    from docker_kernel_magics import load_ipython_extension

    load_ipython_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext docker_kernel`` calls: it stops what the magics have started."""
    from docker_kernel_magics import unload_ipython_extension

    unload_ipython_extension(shell)
