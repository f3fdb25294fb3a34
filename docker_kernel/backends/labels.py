"""How our containers are named and labelled."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from docker_kernel_server import __version__

from .owners import Owner

PREFIX = "docker-kernel."
KIND = f"{PREFIX}kind"
WARM = "warm"
"""The kind of a container that was started ahead, also when a kernel has taken it."""
_NAME = f"{PREFIX}name"
_OWNER = f"{PREFIX}owner."


def unique_name(kind: str = "kernel") -> str:
    """A new name: docker-kernel-1a2b3c4d, or with its kind in it for what isn't a kernel."""
    middle = "" if kind == "kernel" else f"{kind}-"
    return f"docker-kernel-{middle}{secrets.token_hex(4)}"


def labels(kind: str, name: str) -> dict[str, str]:
    """The labels of a container, or of a volume, that this process makes."""
    owner = {_OWNER + key: value for key, value in Owner.me().words().items()}
    return {KIND: kind, _NAME: name, f"{PREFIX}version": __version__, **owner}


def has_own_name(name: str, found: Mapping[str, str]) -> bool:
    """Whether the labels were made for the container of this name.

    An image that was committed from one of ours hands them on to containers that aren't ours.
    """
    return found.get(_NAME) == name


def read_owner(found: Mapping[str, str]) -> Owner | None:
    """The owner that the labels name, None where they don't tell."""
    begin = len(_OWNER)
    return Owner.read(
        {key[begin:]: value for key, value in found.items() if key.startswith(_OWNER)}
    )
