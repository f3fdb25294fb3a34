"""Where the settings come from: config files, the environment, the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from traitlets.config import Config
from traitlets.config.loader import DeferredConfigString

from .checks import split_server
from .errors import SettingError

ENV_PREFIX = "DOCKER_KERNEL_"
CONFIG_NAME = "docker_kernel_config"
"""docker_kernel_config.py or .json, in any of the folders of `jupyter --paths`."""

SECTION = "Settings"
"""The settings' part of a config: c.Settings in a file, --Settings on the command line."""

_ALIKE = 0.8
"""How much a section's name is like ours where ours is meant: a file may have others, too."""

_NO_SETTINGS = (f"{ENV_PREFIX}COMMAND", f"{ENV_PREFIX}TEST_")
"""Variables by which a server knows the processes of a command, and tests know theirs."""


@dataclass(frozen=True)
class Found:
    """What is set: the section's values, the strongest of each, and by the settings' names where
    they stand, in words for "correct ..."; and what counts for nothing, a sentence or two each."""

    values: Config
    origins: dict[str, str]
    unknown: list[str]


def gather(
    names: Iterable[str],
    config: Config | None,
    environ: Mapping[str, str],
    command_line: Config | None,
) -> Found:
    """Merge the sources in their order: command line > environment > config files."""
    known = list(names)
    merged, origins, unknown = Config(), {}, {}
    for origin, part in (
        (f"c.{SECTION}.{{}} in {CONFIG_NAME}", config),
        *_from_environment(known, environ),
        (f"--{SECTION}.{{}}", command_line),
    ):
        # Only our own section: a front end's config is large, and none of the rest is ours.
        found = part.get(SECTION) if part is not None else None
        if found:
            merged.merge(Config({SECTION: {name: found[name] for name in known if name in found}}))
            origins.update({name: origin.format(name) for name in known if name in found})
            wrong = [name for name in found if name not in known]
            unknown.update({name: _nothing(origin, name, known) for name in wrong})
    for section in config or ():
        if section != SECTION and get_close_matches(section, [SECTION], 1, _ALIKE):
            unknown[section] = _nothing(f"c.{{}} in {CONFIG_NAME}", section, [SECTION])
    return Found(merged, origins, [*_unknown_variables(known, environ), *unknown.values()])


def _unknown_variables(known: list[str], environ: Mapping[str, str]) -> Iterator[str]:
    names = [name.upper() for name in known]
    for variable, text in environ.items():
        name = variable.removeprefix(ENV_PREFIX)
        ours = name != variable and not variable.startswith(_NO_SETTINGS)
        if text and ours and name not in names:
            yield _nothing(f"{ENV_PREFIX}{{}}", name, names)


def _nothing(origin: str, name: str, known: list[str]) -> str:
    """That a name is unknown, and which may be meant."""
    what = f"{origin.format(name)} counts for nothing: there is no such setting"
    by_capitals = {item.upper(): item for item in known}
    if near := get_close_matches(name.upper(), by_capitals, 1):
        return f"{what}; did you mean {origin.format(by_capitals[near[0]])}?"
    return f"{what}; see docker-kernel config --show"


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
    try:
        return split_server("DOCKER_HOST", text)
    except SettingError as exc:
        if text.startswith("/"):
            remedy = f"for an engine's socket write DOCKER_HOST=unix://{text}"
        else:
            remedy = f"{exc.remedy}, or unset it for a new container"
        why = "that is neither a host's name nor an engine's address"
        raise SettingError(exc.what, why, remedy) from exc
