"""Which engine, and how it is reached: DOCKER_HOST, a Docker context, or this machine's own.

In the order of Docker's own program: DOCKER_HOST, DOCKER_CONTEXT, and what was chosen last by
`docker context use`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from ..errors import EngineError
from ..sources import engine_url

if TYPE_CHECKING:
    import ssl

UNIX = ("unix", "http+unix")
"""How the address of a Unix socket begins."""

CONTEXT = "the Docker context"
"""How what names an engine begins, where it isn't DOCKER_HOST."""

_OVER_TCP = ("tcp", "http", "https")
_DEFAULT = "default"
_PROXIES = (
    ("httpProxy", "http_proxy"),
    ("httpsProxy", "https_proxy"),
    ("ftpProxy", "ftp_proxy"),
    ("noProxy", "no_proxy"),
)
_RIGHT_TLS = "set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH right, or unset both"


@dataclass(frozen=True)
class Tls:
    """How TLS is spoken with an engine. The three are files, "" for none."""

    authority: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """The same for Python's own TLS. Raises OSError."""
        import ssl  # few need it

        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not self.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        elif self.authority:
            made.load_verify_locations(self.authority)
        else:
            made.load_default_certs()
        if self.certificate:
            made.load_cert_chain(self.certificate, self.key)
        return made


@dataclass(frozen=True)
class Address:
    """Where an engine listens."""

    url: str
    named: str = ""
    """What names it ("DOCKER_HOST", "the Docker context far"); "" for the machine's default."""
    tls: Tls | None = None

    @property
    def parts(self) -> SplitResult:
        """The address in its parts."""
        return urlsplit(self.url)

    @property
    def over_tcp(self) -> bool:
        """Whether it is a host and a port."""
        return self.parts.scheme in _OVER_TCP

    @property
    def host(self) -> str:
        """The name or the address of its machine, "" for this one's own socket."""
        return self.parts.hostname or ""

    @property
    def socket(self) -> str:
        """The path of a Unix socket, "" for another kind of address."""
        parts = self.parts
        return f"/{parts.netloc}{parts.path}" if parts.scheme in UNIX else ""

    @property
    def prefix(self) -> str:
        """What stands before each path of the API, "" in most cases."""
        return self.parts.path.rstrip("/") if self.over_tcp else ""

    @property
    def remote(self) -> bool:
        """Whether the engine is on another machine, so that neither its ports nor its folders are
        ours."""
        return not _is_here(self.host) if self.over_tcp else self.parts.scheme == "ssh"

    @property
    def unsafe(self) -> str:
        """What is wrong with the way to another machine, "" where nothing is."""
        if not self.remote or self.parts.scheme == "ssh":
            return ""
        if self.tls is None:
            return "is not encrypted: who is on the way can read and change what runs"
        return "" if self.tls.verify else "goes to whoever answers: its certificate is not checked"


def find(environ: Mapping[str, str]) -> Address:
    """The engine that is meant. Raises EngineError."""
    if url := engine_url(environ):
        named = "DOCKER_HOST"
        _check(url, named)
        return Address(url, named, _tls_of_environment(environ) if _has_tls(url) else None)
    folder = _config_folder(environ)
    name = environ.get("DOCKER_CONTEXT") or _current_context(folder)
    return Address(default_url()) if name == _DEFAULT else _of_context(folder, name)


def proxies(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """The variables that Docker's own program gives each container of this engine, by what
    ~/.docker/config.json says of proxies."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        text = (_config_folder(environ) / "config.json").read_text("utf-8")
        all_of_them = json.loads(text).get("proxies") or {}
        chosen = all_of_them.get(url) or all_of_them.get("default") or {}
        names = {name: str(chosen[key]) for key, name in _PROXIES if chosen.get(key)}
        return {**names, **{name.upper(): value for name, value in names.items()}}
    return {}


def default_url() -> str:
    """Where the engine of this machine itself listens."""
    if sys.platform == "win32":
        return "npipe:////./pipe/docker_engine"
    return "unix:///var/run/docker.sock"


def _config_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        found = ipaddress.ip_address(host)
        return found.is_loopback or found.is_unspecified
    return host == "localhost"


def _has_tls(url: str) -> bool:
    return urlsplit(url).scheme in _OVER_TCP


def _tls_of_environment(environ: Mapping[str, str]) -> Tls | None:
    path, verify = environ.get("DOCKER_CERT_PATH", ""), bool(environ.get("DOCKER_TLS_VERIFY"))
    if path or verify:
        with _reading("the certificates for the Docker engine can't be used", _RIGHT_TLS):
            return _tls_of_folder(Path(path or Path.home() / ".docker"), verify, strict=True)
    return Tls() if urlsplit(engine_url(environ)).scheme == "https" else None


def _tls_of_folder(folder: Path, verify: bool, *, strict: bool) -> Tls:
    """The three files in a folder. Raises ValueError where one is missing that is needed."""
    names = ("ca.pem", "cert.pem", "key.pem")
    authority, certificate, key = (
        str(folder / name) if (folder / name).is_file() else "" for name in names
    )
    if strict and verify and not authority:
        raise ValueError(f"there is no {folder / 'ca.pem'}")
    if bool(certificate) != bool(key):
        raise ValueError(f"{folder} has one of cert.pem and key.pem, and not the other")
    return Tls(authority, certificate, key, verify)


def _current_context(folder: Path) -> str:
    """What `docker context use` has chosen."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((folder / "config.json").read_text("utf-8")).get("currentContext")
        return str(found or _DEFAULT)
    return _DEFAULT


def _of_context(folder: Path, name: str) -> Address:
    named = f"{CONTEXT} {name}"
    key = hashlib.sha256(name.encode()).hexdigest()
    store = folder / "contexts"
    path = store / "meta" / key / "meta.json"
    if not path.is_file():
        from . import hints  # slow

        raise hints.no_context(name, sorted(_contexts(store / "meta")))
    with _reading(f"{named} can't be read", "make it anew: docker context create --help"):
        endpoint = _read_context(path)["Endpoints"]["docker"]
        url = str(endpoint.get("Host") or default_url())
        skip = bool(endpoint.get("SkipTLSVerify"))
        files = store / "tls" / key / "docker"
        tls = None
        if files.is_dir() or skip or urlsplit(url).scheme == "https":
            tls = _tls_of_folder(files, not skip, strict=False)
    _check(url, named)
    return Address(url, named, tls if _has_tls(url) else None)


def _read_context(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _contexts(folder: Path) -> Iterator[str]:
    for path in folder.glob("*/meta.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield str(_read_context(path)["Name"])


@contextmanager
def _reading(what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise EngineError(what, str(exc), remedy) from exc


def _check(url: str, named: str) -> None:
    """Raise EngineError where this can't be an engine's address."""
    windows = sys.platform == "win32"
    # Python has no sockets with a path there.
    schemes = ["npipe" if windows else UNIX[0], *_OVER_TCP, "ssh"]
    parts = urlsplit(url)
    # The error stands in a notebook, for one.
    shown = url.replace(f":{parts.password}@", ":***@") if parts.password else url
    if parts.scheme not in schemes:
        known = ", ".join(f"{name}://" for name in schemes)
        raise _unreadable(shown, named, f"it begins with none of {known}")
    try:
        port = parts.port
    except ValueError as exc:
        raise _unreadable(shown, named, str(exc)) from exc
    why = ""
    if parts.scheme in (*_OVER_TCP, "ssh") and not parts.hostname:
        why = "it names no host"
    elif parts.scheme in _OVER_TCP and not port:
        why = "it names no port; usual are 2376 with TLS, and 2375 without"
    elif parts.scheme == "ssh" and windows:
        why = "on Windows that way isn't there yet; use tcp:// with TLS"
    elif parts.password:
        why = "a password has no place in it; use a key"
    if why:
        raise _unreadable(shown, named, why)


def _unreadable(url: str, named: str, why: str) -> EngineError:
    from . import hints  # slow

    return hints.unreadable(url, named, why)
