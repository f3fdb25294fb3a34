"""The options of the magics, each described once."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import (
    argument,
    magic_arguments,
)

from .sandboxes import MAIN


def names(text: str) -> list[str]:
    """Names of variables, separated by commas."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    for name in found:
        if not name.isidentifier():
            raise argparse.ArgumentTypeError(f"{name!r} is not the name of a variable")
    return found


def name(text: str) -> str:
    """The name of one variable."""
    (found,) = names(text)[:1] or [""]
    return found


def seconds(text: str) -> float:
    """A time in seconds, more than 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def variable(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return key, value


_IMAGE = argument(
    "-i",
    "--image",
    default="",
    help="use a container of this image; each image has a container of its own, and the default "
    "one is the setting's",
)
_SESSION = argument(
    "-s", "--session", default=MAIN, help="the session; each has variables of its own"
)

_CELL = [
    _SESSION,
    argument("--shell", action="store_true", help="the cell is a shell command, and not Python"),
    argument("-t", "--timeout", type=seconds, help="end the cell after so many seconds"),
    argument("--cwd", help="the working folder of this cell"),
    argument(
        "-e",
        "--env",
        type=variable,
        action="append",
        default=[],
        help="NAME=VALUE, an environment variable for this cell; may be given several times",
    ),
    argument(
        "-o",
        "--out",
        type=name,
        help="put stdout into this variable instead of showing it; with --background, the handle",
    ),
    argument("--err", type=name, help="put stderr into this variable instead of showing it"),
    argument(
        "--push", type=names, default=[], help="variables to copy into the session before: a,b"
    ),
    argument(
        "--pull", type=names, default=[], help="variables to copy from the session after: c,d"
    ),
    _IMAGE,
    argument(
        "--background",
        action="store_true",
        help="don't wait; the cell's value is a handle with .stdout, .wait(), .interrupt()",
    ),
]

_MANAGE = [
    argument(
        "action",
        nargs="?",
        default="status",
        help="one of those above, status where there is none",
    ),
    argument("operands", nargs="*", help="what the action is done to"),
    argument(
        "-n", "--lines", type=int, default=50, help="for logs: how many lines of the server's log"
    ),
    argument(
        "--force", action="store_true", help="for freeze: write over the files that are there"
    ),
    argument("--secret-file", default="", help="for connect: a file with the server's secret"),
    _IMAGE,
]


def cell_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a magic the options of %%docker."""
    return _decorate("%docker", _CELL, function)


def manage_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a magic the options of %docker."""
    return _decorate("docker", _MANAGE, function)


def _decorate(
    name: str, options: list[argument], function: Callable[..., Any]
) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    decorated: Callable[..., Any] = magic_arguments(name)(function)
    return decorated


def split(line: str) -> list[str]:
    """The words of a line, as a shell has them. Raises UsageError."""
    try:
        return shlex.split(line)
    except ValueError as exc:
        raise UsageError(f"{line.strip()!r} can't be read: {str(exc).lower()}") from exc


def parse(magic: Callable[..., Any], line: str) -> argparse.Namespace:
    """The options of a line, by the parser of its magic. Raises UsageError.

    Not by IPython's own function, which leaves the quotes in.
    """
    options: argparse.Namespace = magic.parser.parse_args(split(line))  # type: ignore[attr-defined]
    return options


@cell_arguments
def _docker(line: str) -> None:
    """Only its parser is of use."""


def cell_options(line: str) -> argparse.Namespace:
    """The options in the first line of a %%docker cell. Raises UsageError."""
    return parse(_docker, line)


def option_names() -> list[str]:
    """All of %%docker's options that are words."""
    return [word for option in _CELL for word in option.args if word.startswith("--")]
