"""Every setting, once: its name, help, default and environment name.

The order is: command line > environment > Jupyter's config files > default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traitlets import (
    Bool,
    CaselessStrEnum,
    Dict,
    Float,
    Integer,
    TraitError,
    TraitType,
    Unicode,
    validate,
)
from traitlets.config import Config, Configurable

from .errors import SettingError

ENV_PREFIX = "DOCKER_KERNEL_"
DEFAULT_SERVER_HOST = "localhost"
DEFAULT_SERVER_PORT = 8000
MIN_MEMORY_BYTES = 64 * 1024**2

_MEMORY = re.compile(r"(\d+)\s*([bkmgt]?)b?", re.IGNORECASE)
_USER = re.compile(r"(\d+|[a-z_][\w.-]*)(:(\d+|[a-z_][\w.-]*))?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class Settings(Configurable):
    """The settings of one kernel. Make it with `Settings.load`, which knows the order."""

    mode = CaselessStrEnum(
        ["", "docker", "local", "attached"],
        default_value="",
        help="Where code runs. docker: in a new container. attached: on a running server (see host "
        "and port) or in a running container. local: on this machine, WITHOUT a container. Empty: "
        "attached where a host, a port or a container is given, else docker.",
    ).tag(config=True)
    image = Unicode(
        "",
        help="The image, any that has Python 3.8 or later. Empty: python:X.Y-slim as here.",
    ).tag(config=True)
    pull = CaselessStrEnum(
        ["missing", "always", "never"],
        default_value="missing",
        help="When to pull the image: where it is missing, at each start, or never.",
    ).tag(config=True)
    memory = Unicode("2g", help="The container's memory limit, such as 512m or 2g.").tag(
        config=True
    )
    cpus = Float(0.0, help="How many CPUs the container may use, such as 1.5. 0: no limit.").tag(
        config=True
    )
    pids = Integer(512, help="How many processes and threads the container may have.").tag(
        config=True
    )
    network = Unicode(
        "bridge",
        help="The container's network: bridge, none, or the name of a network of the engine's.",
    ).tag(config=True)
    user = Unicode(
        "", help="The container's user, UID or UID:GID. Empty: the caller, and never root."
    ).tag(config=True)
    workspace = Unicode(
        "", help="The folder that the container sees as /workspace. Empty: the current folder."
    ).tag(config=True)
    mount_workspace = Bool(
        True, help="Whether the container sees the workspace folder at all."
    ).tag(config=True)
    env = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="Environment variables for the code, NAME=VALUE; in DOCKER_KERNEL_ENV "
        "{'NAME': 'VALUE'}.",
    ).tag(config=True)
    container = Unicode(
        "",
        help="A running container to use, by name or id, for mode attached: the server is brought "
        "into it, and it goes on when the kernel ends.",
    ).tag(config=True)
    host = Unicode("", help="Where the running server is, for mode attached.").tag(config=True)
    port = Integer(0, help="The running server's port, for mode attached; 0 means 8000.").tag(
        config=True
    )
    secret_file = Unicode(
        "", help="A file with the running server's secret, for mode attached."
    ).tag(config=True)
    start_timeout = Float(120.0, help="Seconds that a start may take; a pull doesn't count.").tag(
        config=True
    )
    lease = Float(
        120.0, help="Seconds after which a server that no client talks to ends by itself."
    ).tag(config=True)

    @classmethod
    def load(
        cls,
        config: Config | None = None,
        command_line: Config | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """The settings in force. Raises SettingError that says what would be right.

        `config` is what Jupyter's config files say, with or without the command line merged in;
        `command_line` is what the command line says alone (an Application's `cli_config`);
        `environ` is os.environ where it is None.
        """
        environ = os.environ if environ is None else environ
        merged = Config()
        for part in (config, _from_environment(environ), command_line):
            # Only our own section: a front end's config is large, and none of the rest is ours.
            if part is not None and cls.__name__ in part:
                merged.merge(Config({cls.__name__: part[cls.__name__]}))
        try:
            return cls(config=merged)
        except TraitError as exc:
            raise SettingError("a setting has a wrong value", str(exc), _HELP) from exc

    def resolved_mode(self) -> str:
        """docker, local or attached: `mode`, or what the other settings ask for."""
        if not self.mode:
            return "attached" if self.host or self.port or self.container else "docker"
        return str(self.mode)

    def server_address(self) -> tuple[str, int]:
        """Host and port of the running server, for mode attached."""
        return self.host or DEFAULT_SERVER_HOST, self.port or DEFAULT_SERVER_PORT

    def workspace_folder(self) -> Path:
        """The workspace as an absolute path with symbolic links resolved. Raises SettingError."""
        try:
            folder = Path(self.workspace or os.curdir).expanduser().resolve(strict=True)
        except (OSError, RuntimeError) as exc:
            where = self.workspace or "the current folder"
            raise SettingError(f"the workspace {where} can't be used", str(exc), _HELP) from exc
        if not folder.is_dir():
            raise SettingError(f"the workspace {folder} is not a folder", "", "name a folder")
        return folder

    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return parse_memory(self.memory)

    def as_arguments(self) -> list[str]:
        """What of this isn't default, as arguments for a kernelspec's argv."""
        arguments = []
        for name, trait in sorted(self.traits(config=True).items()):
            value = getattr(self, name)
            if value == trait.default():
                continue
            if isinstance(value, dict):
                arguments += [f"--Settings.{name}={key}={item}" for key, item in value.items()]
            else:
                arguments.append(f"--Settings.{name}={value}")
        return arguments

    @validate("memory")
    def _check_memory(self, proposal: dict[str, Any]) -> str:
        if parse_memory(proposal["value"]) < MIN_MEMORY_BYTES:
            raise SettingError(
                f"memory is {proposal['value']}, which is too little",
                "Python with IPython needs some 64 MB",
                "write a number and a unit, such as --Settings.memory=2g",
            )
        return str(proposal["value"])

    @validate("cpus", "pids", "port", "start_timeout", "lease")
    def _check_number(self, proposal: dict[str, Any]) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise SettingError(
                f"{name} is {value}", f"it must be from {low} to {high}", f"set {_env_name(name)}"
            )
        return float(value) if isinstance(value, float) else int(value)

    @validate("user")
    def _check_user(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] and not _USER.fullmatch(proposal["value"]):
            raise SettingError(
                f"user is {proposal['value']!r}",
                "that is neither UID nor UID:GID",
                "write for instance --Settings.user=1000:1000, or leave it empty for the caller",
            )
        return str(proposal["value"])

    @validate("network")
    def _check_network(self, proposal: dict[str, Any]) -> str:
        value = str(proposal["value"])
        if not value or value == "host" or value.startswith("container:"):
            raise SettingError(
                f"network is {value!r}",
                "it would not keep the code apart from the network of others"
                if value
                else "a network needs a name",
                "use bridge, none or the name of a network of yours (docker network ls)",
            )
        return value

    @validate("env")
    def _check_env(self, proposal: dict[str, Any]) -> dict[str, str]:
        for name in proposal["value"]:
            if not name or "=" in name or "\0" in name:
                raise SettingError(
                    f"env has a variable named {name!r}", "", "write --Settings.env=NAME=VALUE"
                )
        return dict(proposal["value"])


_HELP = "see `jupyter docker-kernel install --help-all` for all settings"
_RANGES = {
    "cpus": (0, 1024),
    "pids": (16, 4_194_304),
    "port": (0, 65535),
    "start_timeout": (1, 86400),
    "lease": (5, 604800),
}


def parse_memory(text: str) -> int:
    """Bytes from 512m, 2g, 2gb … Raises SettingError."""
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        raise SettingError(
            f"memory is {text!r}",
            "that isn't a size",
            "write a number and a unit, such as --Settings.memory=2g",
        )
    return int(match[1]) * _UNITS[match[2].lower()]


def engine_url(environ: Mapping[str, str]) -> str:
    """DOCKER_HOST where it names an engine (it has a scheme), else "" for the default engine."""
    value = environ.get("DOCKER_HOST", "").strip()
    return value if "://" in value else ""


def _env_name(trait: str) -> str:
    return ENV_PREFIX + trait.upper()


def _from_environment(environ: Mapping[str, str]) -> Config:
    """The environment as a config: DOCKER_HOST and the like, and over them DOCKER_KERNEL_*."""
    found: dict[str, Any] = _running_server(environ)
    for name, trait in Settings.class_traits(config=True).items():
        text = environ.get(_env_name(name), "")
        # Set to nothing means not set, as usual: `DOCKER_KERNEL_CPUS= jupyter lab`.
        if text:
            found[name] = _parse(trait, _env_name(name), text)
    return Config({Settings.__name__: found}) if found else Config()


def _parse(trait: TraitType[Any, Any], source: str, text: str) -> Any:
    try:
        return trait.from_string(text)
    except (TraitError, ValueError, SyntaxError) as exc:
        kind = trait.info()
        raise SettingError(
            f"{source} is {text!r}", f"it must be {kind}", f"change {source}"
        ) from exc


def _running_server(environ: Mapping[str, str]) -> dict[str, Any]:
    """A running server that DOCKER_HOST, DOCKER_PORT and DOCKER_TIMEOUT name, else nothing.

    A DOCKER_HOST with a scheme is the engine's address and none of our business.
    """
    found: dict[str, Any] = {}
    host = environ.get("DOCKER_HOST", "").strip()
    if host and "://" not in host:
        found |= _split_address(host)
    if port := environ.get("DOCKER_PORT", "").strip():
        found["port"] = _parse(Settings.class_traits()["port"], "DOCKER_PORT", port)
    if found and (timeout := environ.get("DOCKER_TIMEOUT", "").strip()):
        trait = Settings.class_traits()["start_timeout"]
        found["start_timeout"] = _parse(trait, "DOCKER_TIMEOUT", timeout)
    return found


def _split_address(text: str) -> dict[str, Any]:
    if "/" in text or "\\" in text:
        raise SettingError(
            f"DOCKER_HOST is {text!r}",
            "that is neither a host's name nor an engine's address",
            f"for an engine's socket write DOCKER_HOST=unix://{text}",
        )
    name, colon, port = text.rpartition(":")
    if colon and ":" not in name and port.isdigit():
        return {"host": name, "port": int(port)}
    return {"host": text.strip("[]")}
