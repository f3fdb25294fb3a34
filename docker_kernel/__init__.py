"""A Jupyter kernel whose code runs in a Docker container, and the same from scripts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from docker_kernel_server import __version__

if TYPE_CHECKING:
    from .config import Settings
    from .errors import DockerKernelError
    from .sandbox import Sandbox
    from .tools import (
        ContainerClient,
        append_to_log,
        check_python_syntax,
        create_docker_client,
        create_log_file,
        get_docker_client,
        get_environment_info,
        install_package,
        list_installed_packages,
        run_in_docker,
        run_python_code,
        run_python_in_docker,
        run_python_script,
        run_shell_command,
        set_docker_client,
        test_docker_connection,
    )

_HOMES = {"DockerKernelError": "errors", "Sandbox": "sandbox", "Settings": "config"}
"""Where a name is that isn't among the tools."""

__all__ = [
    "ContainerClient",
    "DockerKernelError",
    "Sandbox",
    "Settings",
    "__version__",
    "append_to_log",
    "check_python_syntax",
    "create_docker_client",
    "create_log_file",
    "get_docker_client",
    "get_environment_info",
    "install_package",
    "list_installed_packages",
    "load_ipython_extension",
    "run_in_docker",
    "run_python_code",
    "run_python_in_docker",
    "run_python_script",
    "run_shell_command",
    "set_docker_client",
    "test_docker_connection",
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


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first used: `import docker_kernel` itself takes no time."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES.get(name, 'tools')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
