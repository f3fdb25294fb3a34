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
    Enum,
    Float,
    Integer,
    TraitError,
    TraitType,
    Unicode,
    validate,
)
from traitlets.config import Config, Configurable
from traitlets.config.loader import DeferredConfigString

from .errors import SettingError

ENV_PREFIX = "DOCKER_KERNEL_"
CONFIG_NAME = "docker_kernel_config"
"""docker_kernel_config.py or .json, in any of the folders of `jupyter --paths`."""

DEFAULT_SERVER_HOST = "localhost"
DEFAULT_SERVER_PORT = 8000
MIN_MEMORY_BYTES = 64 * 1024**2

_MEMORY = re.compile(r"(\d+)\s*([bkmgt]?)b?", re.IGNORECASE)
_USER = re.compile(r"(\d+|[a-z_][\w.-]*)(:(\d+|[a-z_][\w.-]*))?", re.IGNORECASE)
# name, [address], either with :port; or an IPv6 address as it is
_SERVER = re.compile(
    r"(?:\[([^][/\s]+)\]|([^][/\\:\s]+))(?::(\d+))?|([0-9a-f:.]*:[0-9a-f.]*:[0-9a-f:.]*(?:%\w+)?)",
    re.IGNORECASE,
)
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
    tls = Unicode(
        "",
        help="For a running server that speaks TLS, whom to trust: the SHA-256 fingerprint of its "
        "certificate, a file with the certificate of its authority, or system for the authorities "
        "that this machine trusts. Empty: no TLS.",
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
        merged, sources = Config(), {}
        for source, part in (
            (f"c.Settings.{{}} in {CONFIG_NAME}", config),
            *_from_environment(environ),
            ("--Settings.{}", command_line),
        ):
            # Only our own section: a front end's config is large, and none of the rest is ours.
            found = part.get(cls.__name__) if part is not None else None
            if found:
                merged.merge(Config({cls.__name__: found}))
                sources.update({name: source.format(name) for name in found})
        for name, value in merged.get(cls.__name__, {}).items():
            cls._check(name, value, sources[name])
        return cls(config=merged)

    @classmethod
    def _check(cls, name: str, value: Any, source: str) -> None:
        """Raise a SettingError that names the source of a value that is wrong."""
        try:
            cls(config=Config({cls.__name__: {name: value}}))
        except TraitError as exc:
            what, why, right = f"{name} is {value!s:.100}", _kind(cls.class_traits()[name]), ""
            cause: Exception = exc
        except SettingError as exc:
            what, why, right, cause = exc.what, exc.why, exc.remedy, exc
        else:
            return
        remedy = f"correct {source}" + (f": {right}" if right else "")
        raise SettingError(what, why, remedy) from cause

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
            raise SettingError(
                f"the workspace {where} can't be used",
                getattr(exc, "strerror", None) or str(exc),
                _ANOTHER_FOLDER,
            ) from exc
        if not folder.is_dir():
            raise SettingError(f"the workspace {folder} is not a folder", "", _ANOTHER_FOLDER)
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

    # What is wrong and what would be right; `_check` says where it stands.

    @validate("memory")
    def _check_memory(self, proposal: dict[str, Any]) -> str:
        if parse_memory(proposal["value"]) < MIN_MEMORY_BYTES:
            raise SettingError(
                f"memory is {proposal['value']}, which is too little",
                "Python with IPython needs some 64 MB",
                _A_SIZE,
            )
        return str(proposal["value"])

    @validate("cpus", "pids", "port", "start_timeout", "lease")
    def _check_number(self, proposal: dict[str, Any]) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise SettingError(f"{name} is {value}", f"it must be from {low} to {high}")
        return float(value) if isinstance(value, float) else int(value)

    @validate("user")
    def _check_user(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] and not _USER.fullmatch(proposal["value"]):
            raise SettingError(
                f"user is {proposal['value']!r}",
                "that is neither UID nor UID:GID",
                "write for instance 1000:1000, or leave it empty for the caller",
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
                "use bridge, none, or the name of a network of yours (docker network ls)",
            )
        return value

    @validate("env")
    def _check_env(self, proposal: dict[str, Any]) -> dict[str, str]:
        for name in proposal["value"]:
            if not name or "=" in name or "\0" in name:
                raise SettingError(
                    f"env has a variable named {name!r}",
                    "that can't be a variable's name",
                    "write NAME=VALUE",
                )
        return dict(proposal["value"])


_ANOTHER_FOLDER = "name another: DOCKER_KERNEL_WORKSPACE=/path/to/a/folder"
_A_SIZE = "write a number and a unit, such as 2g"
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
        raise SettingError(f"memory is {text!r}", "that isn't a size", _A_SIZE)
    return int(match[1]) * _UNITS[match[2].lower()]


def engine_url(environ: Mapping[str, str]) -> str:
    """DOCKER_HOST where it names an engine (it has a scheme), else "" for the default engine."""
    value = environ.get("DOCKER_HOST", "").strip()
    return value if "://" in value else ""


def _kind(trait: TraitType[Any, Any]) -> str:
    """What a setting must be, in a form for people."""
    if isinstance(trait, Enum):
        *most, last = [value for value in trait.values or [] if value]
        return f"it must be {', '.join(most)} or {last}"
    kinds = {
        Bool: "True or False",
        Integer: "a whole number",
        Float: "a number",
        Dict: "names and values, such as {'NAME': 'VALUE'}",
    }
    return f"it must be {kinds.get(type(trait)) or trait.info()}"


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, Config]]:
    """What the environment says, and by which variable; DOCKER_KERNEL_* comes last, and wins."""
    found = _running_server(environ)
    for name in Settings.class_traits(config=True):
        variable = ENV_PREFIX + name.upper()
        found.append((variable, name, environ.get(variable, "")))
    # Set to nothing means not set, as usual: `DOCKER_KERNEL_CPUS= jupyter lab`.
    return [
        (variable, Config({Settings.__name__: {name: DeferredConfigString(text)}}))
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
