"""``docker-kernel exec``: a command in a container of ours."""

from __future__ import annotations

import argparse
import os
import sys

from ..errors import EngineRefused, SettingError
from .choosing import add_any_owner, choose, complete_containers, connect

OWN_FAILURE = 125
"""The exit code where the command was not begun, as `docker exec` has it."""

_NOT_BEGUN = {
    "executable file not found": 127,
    "no such file or directory": 127,
    "permission denied": 126,
    "exec format error": 126,
}


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "exec",
        help="run a command in a kernel's container",
        description="Run a command in a container of ours, as the container's user and in its work "
        "folder, beside what runs there. It reads what this command reads; on a terminal it has "
        "one of its own.",
        epilog="The exit code is the command's; 127 where there is no such command (126 with an "
        "older engine), 126 where it can't be executed, 125 where the container or the engine "
        "can't be used. Example: "
        "docker-kernel exec 1a2b3c4d python -m pip list",
    )
    name = parser.add_argument("name", metavar="NAME", help="a container's name, as ps has it.")
    name.completer = complete_containers  # type: ignore[attr-defined]
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its words."
    )
    add_any_owner(parser)
    parser.set_defaults(run=execute, failure=OWN_FAILURE)


def execute(options: argparse.Namespace) -> int:
    """Run it. Returns its exit code."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        options.parser.error("which COMMAND is to run?")
    with connect() as engine:
        (container,) = choose(engine, [options.name], options.any_owner)
        if container.state != "running":
            raise SettingError(
                f"the container {container.name} can't run a command",
                f"it is {container.state}",
                f"docker unpause {container.name}"
                if container.state == "paused"
                else "see docker-kernel ps for one that runs",
            )
        from ..backends.executing import execute

        terminal = os.name == "posix" and sys.stdin.isatty() and sys.stdout.isatty()
        try:
            return execute(engine, container.name, command, terminal=terminal)
        except EngineRefused as exc:
            for words, code in _NOT_BEGUN.items():
                if words in exc.why.lower():
                    print(f"docker-kernel: {command[0]}: {exc.why}", file=sys.stderr)
                    return code
            raise
