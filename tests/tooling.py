"""What the tests of the tools share: the surface as it is promised, and clients of a server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docker_kernel import tools
from docker_kernel.contact import ContainerClient

SCRIPT = {"success", "exit_code", "stdout", "stderr", "execution_time", "command", "working_dir"}
INSTALL = {"success", "package", "stdout", "stderr", "installed", "command"}
AROUND = {"python_version", "platform", "platform_system", "working_directory"}
LOGGER = "docker_kernel.tools"

# A1, word for word: parameters with their defaults (... for none), and the keys of a result.
SURFACE: dict[str, tuple[dict[str, Any], set[str]]] = {
    "create_docker_client": ({"host": None, "port": None, "timeout": None, "settings": ...}, set()),
    "set_docker_client": ({"client": ...}, set()),
    "get_docker_client": ({}, set()),
    "test_docker_connection": ({}, {"success", "message", "host", "port", "output", "error"}),
    "run_python_script": (
        {
            "script_path": ...,
            "args": None,
            "working_dir": None,
            "timeout": 3600,
            "stream_output": False,
        },
        SCRIPT,
    ),
    "run_shell_command": (
        {"command": ..., "working_dir": None, "timeout": 300, "stream_output": False},
        SCRIPT - {"working_dir"},
    ),
    "run_python_code": (
        {"code": ..., "timeout": 60, "stream_output": False},
        SCRIPT - {"working_dir", "command"},
    ),
    "install_package": (
        {"package_name": ..., "use_pip": True, "upgrade": False, "stream_output": False},
        INSTALL,
    ),
    "list_installed_packages": ({}, {"success", "packages", "total_count"}),
    "check_python_syntax": (
        {"file_path": ...},
        {"success", "valid_syntax", "file_path", "syntax_error"},
    ),
    "get_environment_info": (
        {},
        {"success", "docker_host", "docker_port", "execution_mode"} | AROUND,
    ),
    "create_log_file": ({"file_path": ..., "content": ""}, {"success", "file_path"}),
    "append_to_log": ({"file_path": ..., "content": ...}, {"success", "file_path"}),
}
ALIASES = {"run_in_docker": "run_shell_command", "run_python_in_docker": "run_python_code"}
# One call of each that needs a container.
CALLS: dict[str, tuple[Any, ...]] = {
    "run_python_script": ("made.py",),
    "run_shell_command": ("touch made",),
    "run_in_docker": ("touch made",),
    "run_python_code": ("open('made', 'w')",),
    "run_python_in_docker": ("open('made', 'w')",),
    "install_package": ("six",),
    "list_installed_packages": (),
    "check_python_syntax": ("made.py",),
    "get_environment_info": (),
    "create_log_file": ("made",),
    "append_to_log": ("made", "text"),
}


@contextlib.contextmanager
def using(port: int, **settings: Any) -> Iterator[ContainerClient]:
    with tools.create_docker_client(port=port, **settings) as made:
        tools.set_docker_client(made)
        yield made
        tools.set_docker_client(None)


def gate(folder: Path) -> tuple[str, Path]:
    """Words of a shell that wait until the test opens the gate, by writing to the path."""
    path = folder / "gate"
    os.mkfifo(path)
    return f"read x < '{path}'", path


def unreachable(host: str, port: int) -> dict[str, Any]:
    """A2"""
    return {
        "success": False,
        "error": f"Cannot connect to Docker container at {host}:{port}. "
        "Code execution requires Docker environment.",
        "exit_code": -1,
    }


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())
