"""``docker-kernel logs``: what the server in a container has printed."""

from __future__ import annotations

import argparse
import codecs
import re
import sys
from typing import Any

from ..deadline import Deadline
from .choosing import ENGINE_SECONDS, add_any_owner, choose, complete_containers, connect

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What moves a terminal's cursor, or does more: code in the container can write into this log."""


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "logs",
        help="show what the server in a container has printed",
        description="Show the log of a container of ours: what its server says about clients, "
        "sessions and errors. What cells print is not in there.",
    )
    name = parser.add_argument("name", metavar="NAME", help="a container's name, as ps has it.")
    name.completer = complete_containers  # type: ignore[attr-defined]
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends.")
    parser.add_argument(
        "-n", "--tail", type=_count, metavar="N", help="the last N lines alone. Default: all."
    )
    add_any_owner(parser)
    parser.set_defaults(run=logs)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines; write for instance 20")
    return int(text)


def logs(options: argparse.Namespace) -> int:
    """Print it. Returns the exit code."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with connect() as engine:
        (container,) = choose(engine, [options.name], options.any_owner)
        tail = "all" if options.tail is None else options.tail
        # While it is followed nothing may come for hours: then the SDK has no timeout.
        with engine.calling("reading the log", Deadline(ENGINE_SECONDS)) as api:
            chunks: Any = api.logs(container.name, stream=True, follow=options.follow, tail=tail)
            for chunk in chunks:
                sys.stdout.write(_CONTROL.sub("", decoder.decode(chunk)))
                sys.stdout.flush()
    return 0
