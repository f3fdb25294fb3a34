"""Functions for agents and scripts: each runs something in a container, and returns a dict.

No function raises for what goes wrong in the container, and none runs anything on this machine.
docs/tools.md has a table of them; docker_kernel.aio has each as a coroutine.
"""

from __future__ import annotations

import functools
import posixpath
import shlex
from typing import cast

from . import inside
from .commands import Command, OnText
from .config import DEFAULT_SERVER_HOST, DEFAULT_SERVER_PORT
from .contact import (
    ContainerClient,
    NotConnected,
    create_docker_client,
    get_docker_client,
    set_docker_client,
)
from .results import (
    CodeResult,
    ConnectionResult,
    EnvironmentResult,
    InstallResult,
    LogResult,
    PackagesResult,
    ScriptResult,
    ShellResult,
    SyntaxResult,
)
from .toolbox import (
    ASK_SECONDS,
    ask,
    client_in_use,
    in_container,
    outcome,
    read_script,
    refusal,
    sink,
    why,
    write,
)

__all__ = [
    "ContainerClient",
    "append_to_log",
    "check_python_syntax",
    "create_docker_client",
    "create_log_file",
    "get_docker_client",
    "get_environment_info",
    "install_package",
    "list_installed_packages",
    "run_in_docker",
    "run_python_code",
    "run_python_in_docker",
    "run_python_script",
    "run_shell_command",
    "set_docker_client",
    "test_docker_connection",
]

INSTALL_SECONDS = 3600.0
"""How long an installation may take."""


# ---- commands and code


@in_container
def run_shell_command(
    command: str,
    working_dir: str | None = None,
    timeout: float | None = 300,
    stream_output: bool | OnText = False,
) -> ShellResult:
    """Run a shell command in the container.

    Args:
        command: The command, as /bin/sh takes it.
        working_dir: The folder to run it in, absolute or as seen from the work folder.
        timeout: Seconds after which it is ended; None for no limit.
        stream_output: True to copy its output to sys.stdout and sys.stderr as it comes, or a
            function that is called with the stream ("stdout" or "stderr") and the text.

    Returns:
        success, exit_code, stdout, stderr, execution_time (seconds) and command.
    """
    client = client_in_use()
    done = refusal(lambda: client.check_command(command)) or client.run(
        Command(command, working_dir, timeout=timeout), sink(stream_output)
    )
    return {**outcome(done), "command": command}


@in_container
def run_python_code(
    code: str, timeout: float | None = 60, stream_output: bool | OnText = False
) -> CodeResult:
    """Run Python code in the container, in a process of its own: nothing is kept between two calls.

    Args:
        code: The code, which is run as it is.
        timeout: Seconds after which it is ended; None for no limit.
        stream_output: True to copy its output to sys.stdout and sys.stderr as it comes, or a
            function that is called with the stream ("stdout" or "stderr") and the text.

    Returns:
        success, exit_code, stdout, stderr (the traceback is there) and execution_time (seconds).
    """
    client = client_in_use()
    if refused := refusal(lambda: client.check_python(lambda: code)):
        return outcome(refused)
    # Unbuffered: the output streams, and is there where the code is ended.
    text = f"{client.place().python} -u -c {shlex.quote(inside.RUN_CODE)}"
    done = client.run(Command(text, stdin=code, timeout=timeout), sink(stream_output))
    return outcome(done)


@in_container
def run_python_script(
    script_path: str,
    args: list[str] | None = None,
    working_dir: str | None = None,
    timeout: float | None = 3600,
    stream_output: bool | OnText = False,
) -> ScriptResult:
    """Run a Python file of the container.

    Args:
        script_path: The file, absolute or as seen from ``working_dir``.
        args: Its arguments, each as it is.
        working_dir: The folder to run it in, absolute or as seen from the work folder.
        timeout: Seconds after which it is ended; None for no limit.
        stream_output: True to copy its output to sys.stdout and sys.stderr as it comes, or a
            function that is called with the stream ("stdout" or "stderr") and the text.

    Returns:
        success, exit_code, stdout, stderr, execution_time (seconds), command and working_dir.
    """
    if isinstance(args, str):
        raise TypeError("args must be a list, such as ['--count', '5'], and not one string")
    client = client_in_use()
    python, folder = client.place()
    script = f"./{script_path}" if script_path.startswith("-") else script_path
    text = f"{python} -u {shlex.join([script, *map(str, args or [])])}"
    read = functools.partial(read_script, script_path, working_dir)
    done = refusal(lambda: client.check_python(read)) or client.run(
        Command(text, working_dir, timeout=timeout), sink(stream_output)
    )
    where = posixpath.normpath(posixpath.join(folder, working_dir or ""))
    return {**outcome(done), "command": text, "working_dir": where}


run_in_docker = run_shell_command
run_python_in_docker = run_python_code


# ---- packages


@in_container
def install_package(
    package_name: str,
    use_pip: bool = True,
    upgrade: bool = False,
    stream_output: bool | OnText = False,
) -> InstallResult:
    """Install a Python package in the container.

    Args:
        package_name: One requirement as pip takes it: "numpy", "numpy>=2", a URL, a path.
        use_pip: False to install with conda, where the container has it.
        upgrade: Whether to take a newer version where there is one already.
        stream_output: True to copy the output to sys.stdout and sys.stderr as it comes, or a
            function that is called with the stream ("stdout" or "stderr") and the text.

    Returns:
        success, package, stdout, stderr, installed and command.
    """
    client = client_in_use()
    name = shlex.quote(package_name)
    if use_pip:
        pip = f"{client.place().python} -m pip --no-input --disable-pip-version-check"
        text = f"{pip} install {'--upgrade ' if upgrade else ''}-- {name}"
    else:
        text = f"conda {'update' if upgrade else 'install'} --yes {name}"
    done = client.run(Command(text, timeout=INSTALL_SECONDS), sink(stream_output))
    result: InstallResult = {
        "success": done.success,
        "package": package_name,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "installed": done.success,
        "command": text,
    }
    if done.error:
        result["error"] = done.error
    return result


@in_container
def list_installed_packages() -> PackagesResult:
    """List the Python packages of the container.

    Returns:
        success, packages (a list of name and version) and total_count.
    """
    found, why = ask("-c", inside.LIST_PACKAGES)
    if not isinstance(found, list):
        return {"success": False, "packages": [], "total_count": 0, "error": why}
    return {"success": True, "packages": found, "total_count": len(found)}


# ---- questions


@in_container
def check_python_syntax(file_path: str) -> SyntaxResult:
    """Check whether a Python file of the container can be compiled. Nothing of it is run.

    Args:
        file_path: The file, absolute or as seen from the work folder.

    Returns:
        success (it could be checked), valid_syntax, file_path, and syntax_error: None, or what is
        wrong as message, line and column.
    """
    result: SyntaxResult = {
        "success": False,
        "valid_syntax": False,
        "file_path": file_path,
        "syntax_error": None,
    }
    found, why = ask("-I", "-S", "-c", inside.CHECK_SYNTAX, file_path)
    if not isinstance(found, dict) or "error" in found:
        result["error"] = found["error"] if isinstance(found, dict) else why
        return result
    result["success"] = True
    result["syntax_error"] = found["syntax_error"]
    result["valid_syntax"] = found["syntax_error"] is None
    return result


@in_container
def get_environment_info() -> EnvironmentResult:
    """Tell what the container is like.

    Returns:
        success, python_version, platform, platform_system, working_directory, docker_host,
        docker_port and execution_mode ("Docker Container").
    """
    client = client_in_use()
    found, why = ask("-c", inside.LOOK_AROUND)
    local = client.settings.resolved_mode() == "local"
    result: EnvironmentResult = {
        "success": isinstance(found, dict),
        "docker_host": client.host,
        "docker_port": client.port,
        "execution_mode": "This machine, without a container" if local else "Docker Container",
    }
    if isinstance(found, dict):
        result.update(cast("EnvironmentResult", found))
    else:
        result["error"] = why
    return result


def test_docker_connection() -> ConnectionResult:
    """Find out whether the container can be reached; where none runs, this starts one.

    Returns:
        success, message, host, port, output (the container's greeting) and error (what is wrong,
        why, and what to do).
    """
    result: ConnectionResult = {
        "success": False,
        "message": "",
        "host": DEFAULT_SERVER_HOST,
        "port": DEFAULT_SERVER_PORT,
        "output": "",
        "error": "",
    }
    try:
        client = client_in_use()
        done = client.run(Command('echo "hello from $(uname -s), $(pwd)"', timeout=ASK_SECONDS))
    except NotConnected as exc:
        result["host"], result["port"] = exc.host, exc.port
        result["error"] = str(exc.__cause__)
    else:
        result["success"] = done.success
        result["host"], result["port"] = client.host, client.port
        result["output"] = done.stdout.strip()
        result["error"] = "" if done.success else why(done)
    words = "Connected to" if result["success"] else "Cannot connect to"
    result["message"] = f"{words} Docker container at {result['host']}:{result['port']}"
    return result


# Or pytest takes it for a test, in every module that imports it.
setattr(test_docker_connection, "__test__", False)  # noqa: B010


# ---- log files


@in_container
def create_log_file(file_path: str, content: str = "") -> LogResult:
    """Write a text file in the container, over one that is there. Its folder is made.

    Args:
        file_path: The file, absolute or as seen from the work folder.
        content: Its text.

    Returns:
        success and file_path; error where it can't be written.
    """
    return write(">", file_path, content)


@in_container
def append_to_log(file_path: str, content: str) -> LogResult:
    """Add text to the end of a file in the container, as it is: end it with a newline.

    Args:
        file_path: The file, absolute or as seen from the work folder; made where it isn't there.
        content: The text.

    Returns:
        success and file_path; error where it can't be written.
    """
    return write(">>", file_path, content)
