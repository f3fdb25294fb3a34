"""What a setting's value must be: each check returns the value, or says what would be right."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import SettingError

Check = Callable[[str, Any], None]
"""Takes a setting's name and its value. Raises SettingError; where the setting stands is added."""

_SIZE = re.compile(r"(\d+)\s*([bkmgt]?)b?", re.IGNORECASE)
_USER = re.compile(r"(\d+|[a-z_][\w.-]*)(:(\d+|[a-z_][\w.-]*))?", re.IGNORECASE)
# name, [address], either with :port; or an IPv6 address as it is
_SERVER = re.compile(
    r"(?:\[([^][/\s]+)\]|([^][/\\:\s]+))(?::(\d+))?|([0-9a-f:.]*:[0-9a-f.]*:[0-9a-f:.]*(?:%\w+)?)",
    re.IGNORECASE,
)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_A_SIZE = "write a number and a unit, such as 2g"
_NETWORK = re.compile(r"\w[\w.-]*")
_WORD = re.compile(r"\w[\w.:@/-]*")
_A_PROFILE = (
    "name a JSON file such as the engine's own: https://docs.docker.com/engine/security/seccomp/"
)
_GPUS = re.compile(r"[1-9]\d{0,2}|device=[\w:.-]+(?:,[\w:.-]+)*")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_A_BUNDLE = (
    "name a PEM file with the certificates of your authorities; one in DER becomes PEM by: "
    "openssl x509 -inform der -in FILE -out FILE.pem"
)
_MOUNT = re.compile(r"(.+):(/[^:]*)(?::(ro|rw))?", re.DOTALL)
_A_MOUNT = "write HOST:CONTAINER or HOST:CONTAINER:ro, such as /data:/data:ro"


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


def size(least: int, why: str, optional: bool = False) -> Check:
    """A size that is large enough, or "" where it's optional; `why` says what needs so much."""

    def check(name: str, value: Any) -> None:
        if (value or not optional) and parse_size(name, value) < least:
            raise SettingError(f"{name} is {value}, which is too little", why, _A_SIZE)

    return check


def files(name: str, value: Any) -> None:
    """Room for what Python itself opens; 0 is none of our business."""
    if value:
        number(256, 1 << 30)(name, value)


def profile(name: str, value: Any) -> None:
    """A file with a seccomp profile."""
    if value:
        read_profile(name, value)


def read_profile(name: str, path: str) -> str:
    """The profile in a file, as one line. Raises SettingError."""
    try:
        found = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError) as exc:
        what, why = f"{name} is {path}, which can't be read", getattr(exc, "strerror", None) or exc
        raise SettingError(what, str(why), _A_PROFILE) from exc
    if not isinstance(found, dict) or "defaultAction" not in found:
        raise SettingError(
            f"{name} is {path}, which is no seccomp profile", "it has no defaultAction", _A_PROFILE
        )
    return json.dumps(found, separators=(",", ":"))


def certificates(name: str, value: Any) -> None:
    """A file with certificates of authorities."""
    if value:
        read_certificates(name, value)


def read_certificates(name: str, path: str) -> bytes:
    """The certificates in a PEM file, and nothing else of it: a key, say. Raises SettingError."""
    import ssl  # slow, and hardly ever needed

    try:
        found = _CERTIFICATE.findall(Path(path).expanduser().read_bytes())
        for certificate in found:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=certificate.decode("ascii"))
    except (OSError, RuntimeError, ValueError) as exc:
        what, why = f"{name} is {path}, which can't be read", getattr(exc, "strerror", None) or exc
        raise SettingError(what, str(why), _A_BUNDLE) from exc
    if not found:
        raise SettingError(f"{name} is {path}", "there is no certificate in it", _A_BUNDLE)
    return b"".join(certificate + b"\n" for certificate in found)


def word(name: str, value: Any) -> None:
    """A name, as the engine has them."""
    if value and not _WORD.fullmatch(value):
        raise SettingError(
            f"{name} is {value!r}", "a name has letters, digits, and ._:@/- between them"
        )


def mounts(name: str, value: Any) -> None:
    """HOST:CONTAINER or HOST:CONTAINER:ro."""
    seen = set()
    for text in value:
        target = parse_mount(name, text)[1]
        if target in seen:
            raise SettingError(f"{name} has {target} twice", "", "mount one of them elsewhere")
        seen.add(target)


def parse_mount(name: str, text: str) -> tuple[str, str, bool]:
    """The place on this machine, the one in the container, and whether it's read-only. Raises
    SettingError."""
    # On Windows, a drive's name ends with a colon.
    match = _MOUNT.fullmatch(text)
    if match is None:
        raise SettingError(f"{name} has {text!r}", "that names no two places", _A_MOUNT)
    return match[1], posixpath.normpath(match[2]), match[3] == "ro"


def log_file(name: str, value: Any) -> None:
    """A whole path: where a kernel runs is the notebook's folder."""
    if value and not Path(value).expanduser().is_absolute():
        raise SettingError(
            f"{name} is {value}", "that depends on the folder", "write a whole path, or ~/NAME.log"
        )


def gpus(name: str, value: Any) -> None:
    """Which GPUs, in one of the ways that there are."""
    if value:
        parse_gpus(name, value)


def parse_gpus(name: str, text: str) -> tuple[int, list[str]]:
    """How many, -1 for all of them; and which, [] for any. Raises SettingError."""
    if text in ("all", "auto"):
        return -1, []
    if not _GPUS.fullmatch(text):
        raise SettingError(
            f"{name} is {text!r}",
            "that names no GPUs",
            "write all, auto, a number, or device=0,1 with their numbers or UUIDs",
        )
    _, chosen, devices = text.partition("device=")
    return (0, devices.split(",")) if chosen else (int(text), [])


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
    # container:NAME, and ns:PATH of Podman, are no names, but the network of another.
    shared = value.strip().lower() == "host" or ":" in value
    if shared or not _NETWORK.fullmatch(value):
        raise SettingError(
            f"{name} is {value!r}",
            "it would not keep the code apart from the network of others"
            if shared
            else "a network needs a name of letters, digits and _.-",
            "use bridge, none, or the name of a network of yours (docker network ls)",
        )


def server(name: str, value: Any) -> None:
    """A server's host, with or without its port."""
    if value:
        number(1, 65535)(f"the port of {name}", int(split_server(name, value)[1] or 1))


def split_server(name: str, text: str) -> tuple[str, str]:
    """Host and port of a server; the port is "" where there is none. Raises SettingError."""
    match = _SERVER.fullmatch(text)
    if match is None:
        raise SettingError(
            f"{name} is {text!r}",
            "that is not a host's name or address",
            "write NAME or NAME:PORT for a running server",
        )
    return match[1] or match[2] or match[4], match[3] or ""


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
    "audit_log": log_file,
    "cpus": number(0, 1024),
    "disk_size": size(64 << 20, "the packages that pip installs go there", optional=True),
    "env": variables,
    "extra_ca": certificates,
    "gpus": gpus,
    "host": server,
    "lease": number(5, 604800),
    "memory": size(64 << 20, "Python with IPython needs some 64 MB"),
    "mounts": mounts,
    "network": network,
    "nofile": files,
    "pids": number(16, 4_194_304),
    "port": number(0, 65535),
    "runtime": word,
    "seccomp": profile,
    "shm_size": size(64 << 10, "a page or two are needed", optional=True),
    "start_timeout": number(1, 86400),
    "tmp_size": size(16 << 20, "the home folder is in it", optional=True),
    "user": user,
    "warm": number(0, 8),
}
"""By the setting's name. What has no check takes whatever its type does."""
