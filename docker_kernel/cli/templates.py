"""Files for Jupyter's configuration folder, with every setting in them, made from the traits."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ..config import Settings
from ..sources import CONFIG_NAME, SECTION

WIDTH = 92

_HEAD = """\
# Settings of docker-kernel, for {purpose}.
#
# This is Python. {origin}
# `jupyter --paths` lists the folders, and `docker-kernel config --show` says what counts in the
# end: the command line before the environment before this file before the default.

c = get_config()  # noqa: F821
"""

Chosen = Mapping[str, tuple[Any, str]]
"""Values by the settings' names, each with the reason for it."""

_DEVELOPMENT: Chosen = {
    "pull": ("missing", "An image is pulled where it isn't here yet, and never replaced unasked."),
    "memory": ("4g", "Room to try things."),
    "pids": (1024, "Tools such as pytest -n and npm start many processes."),
    "network": ("bridge", "pip and downloads work."),
    "start_timeout": (300.0, "The first start of a new image may be slow."),
    "lease": (3600.0, "A laptop may sleep for an hour before its containers end."),
}

_PRODUCTION: Chosen = {
    "pull": ("never", "A start fetches nothing. Name the image below, and docker-kernel pull it."),
    "memory": ("2g", "What one notebook may take of the machine."),
    "cpus": (2.0, "So that one notebook leaves the others something."),
    "pids": (256, "Enough for notebooks, and soon the end of a fork bomb."),
    "network": ("none", "Code reaches no network. Where it must: the name of a network of yours."),
    "allow_local": (False, "No code runs outside a container."),
    "read_only": (True, "Nothing is written but the workspace and /tmp, which is in memory."),
    "tmp_size": ("512m", "What /tmp may take of it."),
    "nofile": (1024, "Files and connections that a process may have open."),
    "start_timeout": (60.0, "With the image at hand, a start that takes longer is in trouble."),
    "lease": (120.0, "What is left alone is gone after two minutes."),
}

TEMPLATES: dict[str, tuple[str, Chosen]] = {
    "development": ("a machine to develop on", _DEVELOPMENT),
    "production": ("a machine where others' code runs", _PRODUCTION),
}
"""By name: what it is for, and what it sets."""


def template(kind: str) -> str:
    """A configuration file of this kind."""
    purpose, chosen = TEMPLATES[kind]
    origin = (
        f"Put it into Jupyter's configuration folder as {CONFIG_NAME}.py:\n"
        f"#     docker-kernel config --template {kind} > ~/.jupyter/{CONFIG_NAME}.py"
    )
    return _file(purpose, origin, chosen)


def defaults() -> str:
    """A configuration file that sets nothing, and names everything."""
    return _file("you to choose", "docker-kernel --generate-config has written it.", {})


def _file(purpose: str, origin: str, chosen: Chosen) -> str:
    head = _HEAD.format(purpose=purpose, origin=origin)
    return "\n".join([head, *_chosen(chosen), *_others(set(chosen))])


def _chosen(chosen: Chosen) -> Iterator[str]:
    for name, (value, reason) in chosen.items():
        yield from _comment(reason)
        yield f"c.{SECTION}.{name} = {value!r}\n"


def _others(left_out: set[str]) -> Iterator[str]:
    yield "# Everything else, with its default.\n"
    for name, trait in Settings.class_traits(config=True).items():
        if name not in left_out:
            yield from _comment(str(trait.help))
            yield f"# c.{SECTION}.{name} = {trait.default()!r}\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False)]
