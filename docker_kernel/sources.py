"""Where the settings come from: config files, the environment, the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from traitlets.config import Config
from traitlets.config.loader import DeferredConfigString

from .errors import SettingError

ENV_PREFIX = "DOCKER_KERNEL_"
CONFIG_NAME = "docker_kernel_config"
"""docker_kernel_config.py or .json, in any of the folders of `jupyter --paths`."""

SECTION = "Settings"
"""The settings' part of a config: c.Settings in a file, --Settings on the command line."""

# name, [address], either with :port; or an IPv6 address as it is
_SERVER = re.compile(
    r"(?:\[([^][/\s]+)\]|([^][/\\:\s]+))(?::(\d+))?|([0-9a-f:.]*:[0-9a-f.]*:[0-9a-f:.]*(?:%\w+)?)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Found:
    """What is set: the section's values, the strongest of each, and by the settings' names where
    they stand, in words for "correct ..."."""

    values: Config
    origins: dict[str, str]


def gather(
    names: Iterable[str],
    config: Config | None,
    environ: Mapping[str, str],
    command_line: Config | None,
) -> Found:
    """Merge the sources in their order: command line > environment > config files."""
    merged, origins = Config(), {}
    for origin, part in (
        (f"c.{SECTION}.{{}} in {CONFIG_NAME}", config),
        *_from_environment(names, environ),
        (f"--{SECTION}.{{}}", command_line),
    ):
        # Only our own section: a front end's config is large, and none of the rest is ours.
        found = part.get(SECTION) if part is not None else None
        if found:
            merged.merge(Config({SECTION: found}))
            origins.update({name: origin.format(name) for name in found})
    return Found(merged, origins)


def engine_url(environ: Mapping[str, str]) -> str:
    """DOCKER_HOST where it names an engine (it has a scheme), else "" for the default engine."""
    value = environ.get("DOCKER_HOST", "").strip()
    return value if "://" in value else ""


def _from_environment(names: Iterable[str], environ: Mapping[str, str]) -> list[tuple[str, Config]]:
    """What the environment says, and by which variable; DOCKER_KERNEL_* comes last, and wins."""
    found = _running_server(environ)
    for name in names:
        variable = ENV_PREFIX + name.upper()
        found.append((variable, name, environ.get(variable, "")))
    # Set to nothing means not set, as usual: `DOCKER_KERNEL_CPUS= jupyter lab`.
    return [
        (variable, Config({SECTION: {name: DeferredConfigString(text)}}))
        for variable, name, text in found
        if text
    ]


def _running_server(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """A running server that DOCKER_HOST, DOCKER_PORT and DOCKER_TIMEOUT name, else nothing.

    A DOCKER_HOST with a scheme is the engine's address and none of our business.
    """
    host, port = environ.get("DOCKER_HOST", "").strip(), environ.get("DOCKER_PORT", "").strip()
    found = []
    if host and "://" not in host:
        name, number = _split_address(host)
        found += [("DOCKER_HOST", "host", name), ("DOCKER_HOST", "port", number)]
    if port:
        found.append(("DOCKER_PORT", "port", port))
    if found:
        timeout = environ.get("DOCKER_TIMEOUT", "").strip()
        found.append(("DOCKER_TIMEOUT", "start_timeout", timeout))
    return found


def _split_address(text: str) -> tuple[str, str]:
    match = _SERVER.fullmatch(text)
    if match is None:
        raise SettingError(
            f"DOCKER_HOST is {text!r}",
            "that is neither a host's name nor an engine's address",
            f"for an engine's socket write DOCKER_HOST=unix://{text}"
            if text.startswith("/")
            else "write NAME or NAME:PORT for a running server, or unset it for a new container",
        )
    return match[1] or match[2] or match[4], match[3] or ""
