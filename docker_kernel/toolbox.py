"""What the functions of `tools` share: the client in use, streaming, questions, results."""

from __future__ import annotations

import functools
import json
import logging
import shlex
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from . import inside
from .commands import NO_CODE, Command, Done, OnText
from .config import DEFAULT_SERVER_HOST, DEFAULT_SERVER_PORT
from .contact import ContainerClient, NotConnected, get_docker_client
from .errors import CodeRefused, SettingError
from .results import CodeResult, LogResult
from .texts import for_terminal

ASK_SECONDS = 60.0
"""How long a question about the container may take: its Python's packages, a file's syntax."""

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("docker_kernel.tools")


def in_container(function: Callable[P, R]) -> Callable[P, R]:
    """Without a container, the function's result says so."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except NotConnected as exc:
            log.warning("%s", exc.__cause__)
            words = (
                f"Cannot connect to Docker container at {exc.host}:{exc.port}. "
                "Code execution requires Docker environment."
            )
            return cast("R", {"success": False, "error": words, "exit_code": -1})

    return call


def client_in_use() -> ContainerClient:
    """The client in use. Raises NotConnected where the settings allow for none."""
    try:
        return get_docker_client()
    except SettingError as exc:
        raise NotConnected(DEFAULT_SERVER_HOST, DEFAULT_SERVER_PORT) from exc


def sink(stream_output: bool | OnText) -> OnText | None:
    """Where the output goes as it comes."""
    if callable(stream_output):
        return stream_output
    return echo if stream_output else None


def echo(stream: str, text: str) -> None:
    """Print to this process's own stream, at once."""
    file = sys.stderr if stream == "stderr" else sys.stdout
    text = for_terminal(text) if file.isatty() else text
    try:
        file.write(text)
    except UnicodeEncodeError:  # a console that doesn't know all characters
        file.write(text.encode(file.encoding, "replace").decode(file.encoding))
    file.flush()


def outcome(done: Done) -> CodeResult:
    """How a command ended, as a result has it."""
    result: CodeResult = {
        "success": done.success,
        "exit_code": done.exit_code,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "execution_time": done.seconds,
    }
    if done.error:
        result["error"] = done.error
    return result


def refusal(check: Callable[[], None]) -> Done | None:
    """How a command ends that the settings don't let through; None where they do."""
    try:
        check()
    except CodeRefused as exc:
        return Done(NO_CODE, error=str(exc))
    return None


def read_script(path: str, cwd: str | None) -> str | None:
    """A Python file of the container; None where it can't be read, which its run tells better."""
    found, _ = ask("-I", "-S", "-c", inside.READ_SCRIPT, path, cwd=cwd)
    return found if isinstance(found, str) else None


def ask(*args: str, cwd: str | None = None) -> tuple[Any, str]:
    """What a program of `inside` answers, and why it doesn't."""
    client = client_in_use()
    text = f"{client.place().python} {shlex.join(args)}"
    done = client.run(Command(text, cwd, timeout=ASK_SECONDS))
    if done.success:
        try:
            # The last line: what starts with each Python of the container may print before it.
            return json.loads(done.stdout.splitlines()[-1]), ""
        except (ValueError, IndexError):
            return None, f"the container's Python answered with no JSON: {done.stdout[-1000:]!r}"
    return None, why(done)


def why(done: Done) -> str:
    """Why a command failed, in one line."""
    last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
    return done.error or "".join(last) or f"it ended with exit code {done.exit_code}"


def write(redirection: str, file_path: str, content: str) -> LogResult:
    """Write a text file: over what is there (">") or after it (">>")."""
    text = f'mkdir -p -- "$(dirname -- "$FILE")" && cat {redirection} "$FILE"'
    command = Command(text, env={"FILE": file_path}, stdin=content, timeout=ASK_SECONDS)
    done = client_in_use().run(command)
    result: LogResult = {"success": done.success, "file_path": file_path}
    if not done.success:
        result["error"] = why(done)
    return result
