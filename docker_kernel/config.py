"""Every setting, once: its name, type, help and default.

What a value must be stands in checks.py, where it comes from in sources.py.
"""

from __future__ import annotations

import os
import sys
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
    List,
    TraitError,
    TraitType,
    Unicode,
    validate,
)
from traitlets.config import Config, Configurable

from .checks import CHECKS, parse_size, split_server
from .errors import SettingError
from .pinned import Pin, read_pins
from .sources import SECTION, gather

DEFAULT_SERVER_HOST = "localhost"
DEFAULT_SERVER_PORT = 8000
_ANOTHER_FOLDER = "name another: DOCKER_KERNEL_WORKSPACE=/path/to/a/folder"


class Texts(List[str]):
    """Some texts; where they come as one, there is a comma between them."""

    def __init__(self, **keys: Any) -> None:
        super().__init__(Unicode(), **keys)

    def from_string(self, s: str) -> list[str]:
        """From an environment variable."""
        return [part for part in (part.strip() for part in s.split(",")) if part]


class Settings(Configurable):
    """The settings of one kernel. Make it with `Settings.load`, which knows the order.

    `origins` says where those stand that aren't default, by name; `notices` has what the person
    must be told: names that don't exist.
    """

    def __init__(self, **keys: Any) -> None:
        self.origins: dict[str, str] = {}
        self.notices: list[str] = []
        super().__init__(**keys)

    mode = CaselessStrEnum(
        ["", "docker", "local", "attached", "auto"],
        default_value="",
        help="Where code runs. docker: in a new container. attached: on a running server (see host "
        "and port) or in a running container. local: on this machine, WITHOUT a container. auto, "
        "for demonstrations: docker where an engine answers, else local. Empty: attached where a "
        "host, a port or a container is given, else docker.",
    ).tag(config=True)
    allow_local = Bool(
        True,
        help="Whether mode local may be chosen. Who administers a machine can pin it to False; see "
        "docs/security.md.",
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
    gpus = Unicode(
        "",
        help="The GPUs that the container gets: all, a number, device=0,1 for those with these "
        "numbers or UUIDs, or auto for all where the engine has any. Empty: none.",
    ).tag(config=True)
    shm_size = Unicode(
        "", help="The size of /dev/shm, such as 1g; it counts as memory. Empty: the engine's, 64m."
    ).tag(config=True)
    tmp_size = Unicode(
        "",
        help="The size of /tmp, with the home folder and what pip installs in it: it is then kept "
        "in memory, and counts as such. Empty: on the container's disk, or half of the memory "
        "where the container is read-only.",
    ).tag(config=True)
    disk_size = Unicode(
        "",
        help="How much the container may write to its own disk, such as 10g, where the engine's "
        "storage can bound that. Empty: no bound.",
    ).tag(config=True)
    nofile = Integer(
        0,
        help="How many files and connections each process of the container may have open at a "
        "time. 0: as many as the engine gives.",
    ).tag(config=True)
    read_only = Bool(
        False,
        help="Whether the container's own disk is read-only; /tmp, with the home folder in it, is "
        "then in memory.",
    ).tag(config=True)
    seccomp = Unicode(
        "",
        help="A file with a seccomp profile (JSON) instead of the engine's own: which system calls "
        "the container may make.",
    ).tag(config=True)
    runtime = Unicode(
        "",
        help="What runs the container, such as runsc (gVisor), where the engine knows it. Empty: "
        "the engine's default.",
    ).tag(config=True)
    userns = CaselessStrEnum(
        ["", "host"],
        default_value="",
        help="The container's user namespace. host: this machine's, where the engine is set up to "
        "give containers another one (userns-remap), so that users are the same in there as here. "
        "Empty: as the engine is set up.",
    ).tag(config=True)
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
    mounts = Texts(
        help="Further files and folders that the container sees, each HOST:CONTAINER, or "
        "HOST:CONTAINER:ro to read alone; in DOCKER_KERNEL_MOUNTS with a comma between them.",
    ).tag(config=True)
    allow_dangerous_mount = Bool(
        False,
        help="Whether what gives this machine away may be mounted: the whole file system, a home "
        "folder, the engine's socket, or a folder with one of these in it.",
    ).tag(config=True)
    env = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="Environment variables for the code, NAME=VALUE; in DOCKER_KERNEL_ENV "
        "{'NAME': 'VALUE'}.",
    ).tag(config=True)
    extra_ca = Unicode(
        "",
        help="A PEM file with certificates of further authorities, such as a company's: pip, "
        "requests, curl, git, Node.js and Python's ssl trust them in the container, too.",
    ).tag(config=True)
    container = Unicode(
        "",
        help="A running container to use, by name or id, for mode attached: the server is brought "
        "into it, and it goes on when the kernel ends.",
    ).tag(config=True)
    host = Unicode(
        "", help="Where the running server is, HOST or HOST:PORT, for mode attached."
    ).tag(config=True)
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
    warm = Integer(
        0,
        help="How many containers are kept started ahead: the next kernel with the same settings, "
        "image and folder takes one, and starts faster. Each ends by itself after half an hour "
        "without a kernel. 0: none.",
    ).tag(config=True)
    allowed_modules = Texts(
        help="Verification of code, which is advice and no fence: the only modules that cells may "
        "import. Empty: any.",
    ).tag(config=True)
    blocked_functions = Texts(
        help="Verification of code: functions that cells may not name, such as eval, os.system or "
        "subprocess.*. Empty: none.",
    ).tag(config=True)
    audit_log = Unicode(
        "",
        help="A file to which a line is added for each request when it's sent, and when it has "
        "ended: its time, id, kind, hash, status and duration, no code. Empty: no log.",
    ).tag(config=True)

    @classmethod
    def load(
        cls,
        config: Config | None = None,
        command_line: Config | None = None,
        environ: Mapping[str, str] | None = None,
        pins: Mapping[str, Pin] | None = None,
    ) -> Settings:
        """The settings in force. Raises SettingError that says what would be right.

        `config` is what Jupyter's config files say, with or without the command line merged in;
        `command_line` is what the command line says alone (an Application's `cli_config`);
        `environ` is os.environ where it is None; `pins` is what an administrator has pinned, where
        it isn't given.
        """
        environ = os.environ if environ is None else environ
        if pins is None:
            pins = read_pins(config)
        found = gather(cls.class_traits(config=True), config, environ, command_line)
        for name, value in found.values.get(SECTION, {}).items():
            cls._check(name, value, found.origins[name])
        settings = cls(config=found.values)
        settings.origins, settings.notices = found.origins, found.unknown
        for name, pin in pins.items():
            settings._pin(name, pin, found.origins)
        if settings.resolved_mode() == "local" and not settings.allow_local:
            raise SettingError(
                "local mode is not allowed here",
                f"allow_local is False ({found.origins['allow_local']})",
                f"leave out {found.origins['mode']}: code then runs in a container",
            )
        return settings

    def _pin(self, name: str, pin: Pin, origins: dict[str, str]) -> None:
        """Take a value that is pinned. Raises SettingError where another one was asked for."""
        if name not in self.trait_names(config=True):
            raise SettingError(
                f"there is no setting {name!r}",
                f"{pin.file} pins it",
                f"correct {pin.origin(name)}",
            )
        self._check(name, pin.value, pin.origin(name))
        value = getattr(type(self)(config=Config({SECTION: {name: pin.value}})), name)
        mine = getattr(self, name)
        if name in origins and mine != value:
            raise SettingError(
                f"{name} is {mine}", f"{pin.file} pins it to {value}", f"leave out {origins[name]}"
            )
        setattr(self, name, value)
        origins[name] = pin.origin(name)

    @classmethod
    def _check(cls, name: str, value: Any, source: str) -> None:
        """Raise a SettingError that names the source of a value that is wrong."""
        try:
            cls(config=Config({SECTION: {name: value}}))
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
        """docker, local or attached: `mode`, or what the other settings ask for. For auto, docker
        until a start has found out."""
        if self.mode in ("", "auto"):
            return "attached" if self.host or self.port or self.container else "docker"
        return str(self.mode)

    def server_address(self) -> tuple[str, int]:
        """Host and port of the running server, for mode attached."""
        host, port = split_server("host", self.host or DEFAULT_SERVER_HOST)
        return host, int(port or self.port or DEFAULT_SERVER_PORT)

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

    def image_name(self) -> str:
        """The image, the default one where none is named."""
        version = sys.version_info
        return str(self.image) or f"python:{version.major}.{version.minor}-slim"

    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return parse_size("memory", self.memory)

    def tmp_bytes(self) -> int | None:
        """The size of /tmp where it's in memory, else None."""
        if self.tmp_size:
            return parse_size("tmp_size", self.tmp_size)
        return self.memory_bytes() // 2 if self.read_only else None

    def as_arguments(self) -> list[str]:
        """What of this isn't default, as arguments for a kernelspec's argv."""
        arguments = []
        for name, trait in sorted(self.traits(config=True).items()):
            value = getattr(self, name)
            if value == trait.default():
                continue
            if isinstance(value, list):
                arguments += [f"--Settings.{name}={item}" for item in value]
            elif isinstance(value, dict):
                arguments += [f"--Settings.{name}={key}={item}" for key, item in value.items()]
            else:
                arguments.append(f"--Settings.{name}={value}")
        return arguments

    @validate(*CHECKS)
    def _check_value(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        CHECKS[name](name, value)
        return value


def _kind(trait: TraitType[Any, Any]) -> str:
    """What a setting must be, in a form for people."""
    if isinstance(trait, Enum):
        *most, last = [value for value in trait.values or [] if value]
        return f"it must be {', '.join(most)} or {last}" if most else f"it must be {last}"
    kinds = {
        Bool: "True or False",
        Integer: "a whole number",
        Float: "a number",
        Texts: "a list, such as ['/data:/data:ro']",
        Dict: "names and values, such as {'NAME': 'VALUE'}",
    }
    return f"it must be {kinds.get(type(trait)) or trait.info()}"
