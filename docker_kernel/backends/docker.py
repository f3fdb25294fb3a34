"""The Docker engine: the only module that knows the Docker SDK, and where its errors become
ours."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker  # type: ignore[import-untyped,unused-ignore]
import docker.constants  # type: ignore[import-untyped,unused-ignore]
import docker.context.config  # type: ignore[import-untyped,unused-ignore]
import docker.errors  # type: ignore[import-untyped,unused-ignore]
import docker.utils  # type: ignore[import-untyped,unused-ignore]
import requests.exceptions  # type: ignore[import-untyped,unused-ignore]
import urllib3.exceptions

from ..deadline import Deadline
from ..errors import EngineError, EngineRefused
from ..sources import engine_url
from . import hints

_DEFAULT_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
FRAME = struct.Struct(">BxxxL")
"""What stands before each piece of a program's output: which stream, and how many bytes."""

_RECEIVE_BYTES = 65536


class _Client(docker.APIClient):  # type: ignore[misc,unused-ignore]
    """The SDK's, with a timeout for every call: when it attaches, pulls or looks at events it would
    wait for ever."""

    def request(self, *arguments: Any, **keys: Any) -> Any:
        keys["timeout"] = keys.get("timeout") or self.timeout
        return super().request(*arguments, **keys)


class Engine:
    """A connection to the engine that DOCKER_HOST, the Docker context, or the default names.

    `api` is the SDK's low-level client (one method for one call of the engine's API). Use it inside
    `calling`, which maps its errors.
    """

    def __init__(self, environ: Mapping[str, str], deadline: Deadline) -> None:
        """Connect. Raises EngineNotFound, EngineNotRunning, EngineDenied, EngineError."""
        arguments, self._named = _address(environ)
        self.url = str(arguments.get("base_url") or _default_url())
        if hints.is_remote(self.url):
            raise hints.remote(self.url, self._named)
        with ExitStack() as undo:
            with self._mapped("connecting to the engine", deadline):
                timeout = _whole_seconds(deadline)
                version = self._api_version(arguments, timeout)
                self.api = _Client(**arguments, version=version, timeout=timeout)
                undo.callback(self.api.close)
            undo.pop_all()

    @contextmanager
    def calling(self, what: str, deadline: Deadline, counted: bool = True) -> Iterator[Any]:
        """Give the client for calls of one step; `what` names it: "creating the container".

        Raises EngineRefused where the engine answers with an error, another EngineError where it
        can't be reached, StartTimeout where it is too slow.
        """
        with self._mapped(what, deadline, counted):
            self.api.timeout = _whole_seconds(deadline)
            yield self.api

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        self.api.close()

    @property
    def sockets(self) -> list[Path]:
        """The sockets of engines on this machine, resolved: this one's and the default ones."""
        found = [Path(path) for path in _DEFAULT_SOCKETS]
        parts = urlsplit(self.url)
        if parts.scheme in ("unix", "http+unix"):
            found.append(Path(_socket_path(self.url)))
        return [path.resolve() for path in found if path.exists()]

    def attach(self, container: str, deadline: Deadline) -> Attachment:
        """Attach to the streams of a container that was created, but not yet started."""
        with ExitStack() as undo:
            with self.calling("attaching to the container", deadline) as api:
                which = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
                attachment = Attachment(api.attach_socket(container, which))
                undo.callback(attachment.close)
            undo.pop_all()
        return attachment

    def _api_version(self, arguments: dict[str, Any], timeout: int) -> str:
        """The version of its API that the engine speaks: old and new ones share few."""
        # The SDK can ask by itself, and leaves a connection open where that fails.
        version = docker.constants.DEFAULT_DOCKER_API_VERSION
        with closing(docker.APIClient(**arguments, version=version, timeout=timeout)) as api:
            try:
                answer: Any = api.version(api_version=False)
            except (docker.errors.APIError, KeyError) as exc:
                # The SDK stumbles over an error without the key "message".
                raise hints.no_engine(self.url, self._named, str(exc.__context__ or exc)) from exc
        if not isinstance(answer, dict) or "ApiVersion" not in answer:
            raise hints.no_engine(self.url, self._named, "it has no version of the engine's API")
        return str(answer["ApiVersion"])

    @contextmanager
    def _mapped(self, what: str, deadline: Deadline, counted: bool = True) -> Iterator[None]:
        with deadline.step(what, counted):
            try:
                _knock(self.url, _whole_seconds(deadline))
                yield
            except docker.errors.APIError as exc:
                status = int(exc.status_code or 0)
                raise EngineRefused(f"{what} failed", _words(exc), status=status) from exc
            except (
                docker.errors.DockerException,
                requests.exceptions.RequestException,
                urllib3.exceptions.HTTPError,
                OSError,
            ) as exc:
                if _is_timeout(exc):
                    raise deadline.timeout() from exc
                raise hints.classify(hints.gather(self.url, self._named, exc)) from exc


class Attachment:
    """The streams of a container: its stdin to write to, and stdout and stderr, joined, to read."""

    def __init__(self, stream: Any) -> None:
        # The SDK gives a file for a Unix socket, and a socket or an ssh channel otherwise.
        self._keep = stream
        self._socket = getattr(stream, "_sock", stream)
        with suppress(AttributeError):
            self._socket.settimeout(None)

    def send_line(self, line: bytes, *, last: bool = True) -> None:
        """Write a line to stdin; close it if it's the last. Raises EngineError."""
        try:
            self._socket.sendall(line + b"\n")
            if not last:
                return
            # TLS and a Windows pipe have no half to close; the line is all that is awaited anyway.
            if not isinstance(self._socket, ssl.SSLSocket):
                with suppress(AttributeError):
                    self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:
            raise EngineError(
                "the container takes no input", str(exc), "run it again: that starts a new one"
            ) from exc

    def chunks(self) -> Iterator[bytes]:
        """What the container prints, until it ends or `close` is called. Raises OSError."""
        while header := self._exactly(FRAME.size):
            _, size = FRAME.unpack(header)
            while size:
                data = self._socket.recv(min(size, _RECEIVE_BYTES))
                if not data:
                    return
                size -= len(data)
                yield data

    def close(self) -> None:
        """Let go of the container; wakes whoever reads `chunks`."""
        with suppress(OSError, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for item in (self._keep, self._socket):
            with suppress(OSError):
                item.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                return b""
            data += more
        return data


def _address(environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The arguments for the SDK's client, and what named the engine. Raises EngineError."""
    # A DOCKER_HOST without a scheme names a server of ours; the SDK fails on it.
    visible = {name: value for name, value in environ.items() if name != "DOCKER_HOST"}
    if url := engine_url(environ):
        _check(url, "DOCKER_HOST")
        visible["DOCKER_HOST"] = url
        with _reading("set DOCKER_TLS_VERIFY and DOCKER_CERT_PATH right, or unset both"):
            return dict(docker.utils.kwargs_from_env(environment=visible)), "DOCKER_HOST"
    with _reading("see the contexts that there are: docker context ls"):
        name = str(
            visible.get("DOCKER_CONTEXT") or docker.context.config.get_current_context_name()
        )
        context = None if name == "default" else docker.context.ContextAPI.get_context(name)
    if name == "default":
        return {}, ""
    if context is None:
        raise EngineError(
            f"there is no Docker context {name!r}",
            "DOCKER_CONTEXT or the last `docker context use` names it",
            "choose another: docker context ls, docker context use NAME",
        )
    url = context.Host or _default_url()
    _check(url, f"{hints.CONTEXT} {name}")
    arguments: dict[str, Any] = {"base_url": url}
    if context.TLSConfig is not None:
        arguments["tls"] = context.TLSConfig
    return arguments, f"{hints.CONTEXT} {name}"


@contextmanager
def _reading(remedy: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.DockerException as exc:
        raise EngineError("the Docker engine's address can't be read", str(exc), remedy) from exc


def _check(url: str, named: str) -> None:
    """Raise EngineError where this can't be an engine's address on this machine."""
    schemes = ["unix", "tcp", "http", "https", "ssh", *(["npipe"] if os.name == "nt" else [])]
    scheme = url.partition("://")[0].lower()
    if scheme not in schemes:
        known = ", ".join(f"{name}://" for name in schemes)
        raise hints.unreadable(url, named, f"it begins with none of {known}")
    try:
        docker.utils.parse_host(url, os.name == "nt")
    except (docker.errors.DockerException, ValueError) as exc:
        raise hints.unreadable(url, named, str(exc)) from exc


def _knock(url: str, timeout: float) -> None:
    """Raise OSError where nobody listens on a Unix socket.

    Before every call, as the SDK would find out for itself, and leave a socket open.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("unix", "http+unix"):
        return
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.settimeout(timeout)
        knocking.connect(_socket_path(url))


def _socket_path(url: str) -> str:
    """The path in the address of a Unix socket."""
    parts = urlsplit(url)
    return f"/{parts.netloc}{parts.path}"


def _whole_seconds(deadline: Deadline) -> int:
    # The SDK takes no fractions, and 0 for no time at all.
    return max(1, round(deadline.remaining()))


def _is_timeout(error: Exception) -> bool:
    """Whether an answer took too long to begin, or to go on, which the SDK calls a lost
    connection."""
    kinds = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    return any(isinstance(item, kinds) for item in (error, *error.args))


def _default_url() -> str:
    return str(docker.utils.parse_host(None, os.name == "nt")).replace("http+unix", "unix")


def _words(error: Any) -> str:
    """The engine's own words."""
    return str(error.explanation or error).strip()
