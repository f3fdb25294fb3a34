"""What a setting's value must be: each check returns the value, or says what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .errors import SettingError

Check = Callable[[str, Any], None]
"""Takes a setting's name and its value. Raises SettingError; where the setting stands is added."""

_SIZE = re.compile(r"(\d+)\s*([bkmgt]?)b?", re.IGNORECASE)
_USER = re.compile(r"(\d+|[a-z_][\w.-]*)(:(\d+|[a-z_][\w.-]*))?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_A_SIZE = "write a number and a unit, such as 2g"


def parse_size(name: str, text: str) -> int:
    """Bytes from 512m, 2g, 2gb … Raises SettingError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise SettingError(f"{name} is {text!r}", "that isn't a size", _A_SIZE)
    return int(match[1]) * _UNITS[match[2].lower()]


def number(low: float, high: float) -> Check:
    """A number in a range."""

    def check(name: str, value: Any) -> None:
        if not low <= value <= high:
            raise SettingError(f"{name} is {value}", f"it must be from {low} to {high}")

    return check


def size(least: int, why: str) -> Check:
    """A size that is large enough; `why` says what needs so much."""

    def check(name: str, value: Any) -> None:
        if parse_size(name, value) < least:
            raise SettingError(f"{name} is {value}, which is too little", why, _A_SIZE)

    return check


def user(name: str, value: Any) -> None:
    """UID, or UID:GID."""
    if value and not _USER.fullmatch(value):
        raise SettingError(
            f"{name} is {value!r}",
            "that is neither UID nor UID:GID",
            "write for instance 1000:1000, or leave it empty for the caller",
        )


def network(name: str, value: Any) -> None:
    """A network that keeps the code apart from that of others."""
    if not value or value == "host" or value.startswith("container:"):
        raise SettingError(
            f"{name} is {value!r}",
            "it would not keep the code apart from the network of others"
            if value
            else "a network needs a name",
            "use bridge, none, or the name of a network of yours (docker network ls)",
        )


def variables(name: str, value: Any) -> None:
    """Names and values of environment variables."""
    for variable in value:
        if not variable or "=" in variable or "\0" in variable:
            raise SettingError(
                f"{name} has a variable named {variable!r}",
                "that can't be a variable's name",
                "write NAME=VALUE",
            )


CHECKS: dict[str, Check] = {
    "cpus": number(0, 1024),
    "env": variables,
    "lease": number(5, 604800),
    "memory": size(64 << 20, "Python with IPython needs some 64 MB"),
    "network": network,
    "pids": number(16, 4_194_304),
    "port": number(0, 65535),
    "start_timeout": number(1, 86400),
    "user": user,
}
"""By the setting's name. What has no check takes whatever its type does."""
