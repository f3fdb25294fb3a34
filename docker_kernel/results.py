"""What the tools return.

`success` is always there. Without a container, only `success`, `error` and `exit_code` are.
Otherwise the keys of a result are all there, and `error` is as well where the exit code doesn't say
what happened: a timeout, a signal, a lost connection.
"""

from __future__ import annotations

# Not typing's: pydantic, and so many a framework for agents, takes that from Python 3.12 on alone.
from typing_extensions import TypedDict


class Result(TypedDict):
    """The keys of every result."""

    success: bool


class CodeResult(Result, total=False):
    """Of run_python_code: how it ended."""

    exit_code: int
    """As a shell has it: 128 + N for signal N, 124 for a timeout; -1 where it isn't known."""
    stdout: str
    stderr: str
    execution_time: float
    """Seconds."""
    error: str


class ShellResult(CodeResult, total=False):
    """Of run_shell_command."""

    command: str


class ScriptResult(ShellResult, total=False):
    """Of run_python_script."""

    working_dir: str
    """The folder in the container, absolute."""


class InstallResult(Result, total=False):
    """Of install_package."""

    package: str
    stdout: str
    stderr: str
    installed: bool
    command: str
    exit_code: int
    """There without a container only."""
    error: str


class Package(TypedDict):
    """An installed package."""

    name: str
    version: str


class PackagesResult(Result, total=False):
    """Of list_installed_packages; the packages by name."""

    packages: list[Package]
    total_count: int
    exit_code: int
    error: str


class PythonSyntaxError(TypedDict):
    """What is wrong with a file; line and column count from 1, None where they aren't known."""

    message: str
    line: int | None
    column: int | None


class SyntaxResult(Result, total=False):
    """Of check_python_syntax. `success`: the file could be checked."""

    valid_syntax: bool
    file_path: str
    syntax_error: PythonSyntaxError | None
    exit_code: int
    error: str


class EnvironmentResult(Result, total=False):
    """Of get_environment_info."""

    python_version: str
    platform: str
    platform_system: str
    working_directory: str
    docker_host: str
    docker_port: int
    execution_mode: str
    exit_code: int
    error: str


class ConnectionResult(Result):
    """Of test_docker_connection; all keys are always there."""

    message: str
    host: str
    port: int
    output: str
    error: str
    """What is wrong and what to do, "" where nothing is."""


class LogResult(Result, total=False):
    """Of create_log_file and append_to_log."""

    file_path: str
    exit_code: int
    error: str
