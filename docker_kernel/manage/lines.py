"""Cells of %docker lines: which they are, what they ask for, and what can be typed."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..errors import UsageError

WORD = "%docker"
HELP = "help"
"""The action of lines that ask what there is: %docker?, %docker --help."""

_OURS = re.compile(rf"{WORD}(\s.*)?|{WORD}\s*\?{{1,2}}|\?{{1,2}}{WORD}")
_ASKS = re.compile(rf"{WORD}\s*\?{{1,2}}|\?{{1,2}}{WORD}")
_IMAGE = re.compile(r"[a-zA-Z0-9][\w.:@/-]{0,300}", re.ASCII)
_SEE = f"see what there is: {WORD}?"


@dataclass(frozen=True)
class Action:
    """What one word after %docker does. Operands in brackets may be left out."""

    does: str
    operands: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """As argparse takes them, by name."""
    running: bool = True
    """Whether it waits for a server that runs."""

    def usage(self, name: str) -> str:
        """How it is typed."""
        options = [
            f"[{option}]" if "action" in keys else f"[{option} {keys['metavar']}]"
            for option, keys in self.options.items()
        ]
        return " ".join([name, *options, *self.operands])


_LINES = {
    "-n": {"dest": "lines", "type": int, "default": 50, "metavar": "LINES"},
}
_FORCE = {"--force": {"action": "store_true"}}

ACTIONS = {
    "status": Action("what runs, since when, with how much memory", running=False),
    "sessions": Action("the sessions in it, and whether they are busy", running=False),
    "limits": Action("what it may use, and by which setting to change that", running=False),
    "restart": Action("drop the variables; files and packages stay"),
    "reset": Action("a fresh container", running=False),
    "image": Action("a fresh container of this image", ("NAME",), running=False),
    "commit": Action("keep what was installed: an image of the container", ("TAG",)),
    "freeze": Action("write down what was installed: Dockerfile, requirements.txt", (), _FORCE),
    "put": Action("a file of the workspace folder into the container", ("LOCAL", "[REMOTE]")),
    "get": Action("a file of the container into the workspace folder", ("REMOTE", "[LOCAL]")),
    "logs": Action("what the server has logged", options=_LINES, running=False),
}


class _Parser(argparse.ArgumentParser):
    """Argparse's, which raises UsageError and neither prints nor exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog} can't be done", message, _SEE)


def lines_of(cell: object) -> list[str] | None:
    """The lines of a cell that is for the host's side; None where it isn't.

    It is where all of its lines are %docker's, but for empty ones and comments.
    """
    if not isinstance(cell, str):  # what frontends send may be anything
        return None
    lines = [line.strip() for line in cell.split("\n")]
    kept = [line for line in lines if line and not line.startswith("#")]
    return kept if kept and all(_OURS.fullmatch(line) for line in kept) else None


def parse(line: str) -> argparse.Namespace:
    """What a line of `lines_of` asks for: `action`, and what that has. Raises UsageError."""
    if _ASKS.fullmatch(line):
        return argparse.Namespace(action=HELP)
    try:
        words = shlex.split(line)[1:]
    except ValueError as exc:
        raise UsageError(f"{line!r} can't be read", str(exc).lower(), _SEE) from exc
    if {"-h", "--help"} & set(words):
        return argparse.Namespace(action=HELP)
    name, rest = (words[0], words[1:]) if words else ("status", [])
    if name not in ACTIONS:
        raise UsageError(f"{WORD} knows no {name!r}", f"there are {', '.join(ACTIONS)}", _SEE)
    found = _parser(name).parse_args(rest, argparse.Namespace(action=name))
    if name == "image" and not _IMAGE.fullmatch(found.name):
        # A person is asked about it, and other text could stand for another question.
        raise UsageError(f"{found.name!r:.300} can't be an image's name", "", "write python:3.12")
    return found


def _parser(name: str) -> _Parser:
    parser = _Parser(prog=f"{WORD} {name}", add_help=False, allow_abbrev=False)
    for operand in ACTIONS[name].operands:
        bare = operand.strip("[]")
        optional = {"nargs": "?"} if bare != operand else {}
        parser.add_argument(bare.lower(), metavar=bare, **optional)  # type: ignore[arg-type]
    for option, keys in ACTIONS[name].options.items():
        parser.add_argument(option, **keys)
    return parser


def help_text() -> str:
    """What `%docker?` shows."""
    usages = {action.usage(name): action.does for name, action in ACTIONS.items()}
    width = max(map(len, usages))
    lines = [f"{WORD} {usage:{width}}  {does}" for usage, does in usages.items()]
    first = f"{WORD}: the container that runs this notebook's cells. Without a word: status."
    last = "A cell has such lines alone: they are done by the kernel, and not in the container."
    return "\n".join([first, "", *lines, "", last])


def complete(cell: str, cursor: int) -> dict[str, Any]:
    """The content of a complete_reply in a cell of `lines_of`."""
    before = cell[:cursor]
    line = before.rpartition("\n")[2].lstrip()
    words = line.split()
    token = "" if line.endswith((" ", "\t")) else words[-1] if words else ""
    done = words[: len(words) - bool(token)]
    found: list[str] = []
    if done == [WORD]:
        found = [*ACTIONS, "--help"]
    elif len(done) > 1 and done[0] == WORD and done[1] in ACTIONS:
        found = list(ACTIONS[done[1]].options)
    return {
        "status": "ok",
        "matches": [name for name in found if name.startswith(token)],
        "cursor_start": cursor - len(token),
        "cursor_end": cursor,
        "metadata": {},
    }
