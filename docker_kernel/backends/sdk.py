"""The Docker SDK's client and errors: the only module that knows the SDK.

It is imported for the first call that calls.py doesn't make, as the SDK takes 0.1 s.
"""

from __future__ import annotations

import http.client
from typing import Any

import docker  # type: ignore[import-untyped,unused-ignore]
import docker.credentials.errors  # type: ignore[import-untyped,unused-ignore]
import docker.errors  # type: ignore[import-untyped,unused-ignore]
import docker.tls  # type: ignore[import-untyped,unused-ignore]
import requests.adapters
import requests.exceptions  # type: ignore[import-untyped,unused-ignore]
import urllib3
import urllib3.connection
import urllib3.exceptions

from ..errors import ConnectionLost
from .address import Address
from .calls import CONNECT_SECONDS
from .ssh import SshSocket
from .streams import SilentEngine

Refused: type[Exception] = docker.errors.APIError
"""The engine has answered with an error."""

FAILURES: tuple[type[Exception], ...] = (
    docker.errors.DockerException,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionLost,
    OSError,
)
"""All else that goes wrong."""

_TIMEOUTS = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


class Client(docker.APIClient):  # type: ignore[misc,unused-ignore]
    """The SDK's, by our ways to an engine, and with a timeout for every call: when it attaches,
    pulls or looks at events it would wait for ever."""

    def __init__(self, address: Address, version: str, timeout: int) -> None:
        if address.parts.scheme == "ssh":
            super().__init__("http://ssh:22", version=version, timeout=timeout)
            self.mount("http://", _SshAdapter(address.url, CONNECT_SECONDS))
        else:
            super().__init__(address.url, version=version, timeout=timeout, tls=_tls(address))
        # No proxy is on the way to an engine, as on that of the calls which aren't the SDK's.
        self.trust_env = False

    def request(self, *arguments: Any, **keys: Any) -> Any:
        """As any session's of requests."""
        timeout = keys.get("timeout") or self.timeout
        keys["timeout"] = (min(CONNECT_SECONDS, timeout), timeout)
        # Said with the request: else REQUESTS_CA_BUNDLE replaces the engine's own authority.
        keys.setdefault("verify", self.verify)
        return super().request(*arguments, **keys)

    def _set_auth_headers(self, headers: dict[str, str]) -> None:
        """For a build: the SDK would send every login that there is. A base is here by then."""


def open_pipe(address: Address, seconds: float) -> Any:
    """A named pipe of Windows, at which an engine is, as something like a socket."""
    from docker.transport.npipesocket import NpipeSocket  # there on Windows alone

    pipe: Any = NpipeSocket()
    pipe.settimeout(seconds)
    pipe.connect(address.parts.path)
    return pipe


def is_slow_answer(error: Exception) -> bool:
    """Whether an answer took too long to begin, or to go on, which the SDK calls a lost
    connection."""
    if isinstance(error, (requests.exceptions.ConnectTimeout, SilentEngine)):
        return False
    return any(isinstance(item, _TIMEOUTS) for item in (error, error.__cause__, *error.args))


def login_trouble(error: Exception) -> str:
    """Why the login for a registry could not be had; "" where that isn't what went wrong."""
    cause = error.__cause__
    return str(cause) if isinstance(cause, docker.credentials.errors.StoreError) else ""


def status(error: Any) -> int:
    """The status of an answer that is an error, 0 for none."""
    return int(error.status_code or 0)


def words(error: Any) -> str:
    """The engine's own words."""
    return str(error.explanation or error).strip()


def _tls(address: Address) -> Any:
    """The address's TLS as the SDK wants it."""
    tls = address.tls
    if tls is None:
        return False
    pair = (tls.certificate, tls.key) if tls.certificate else None
    return docker.tls.TLSConfig(pair, tls.authority or None, tls.verify)


# -- its own way by ssh needs a further package


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, *arguments: Any, url: str, connect_seconds: float, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        self._url = url
        self._connect_seconds = connect_seconds

    def connect(self) -> None:
        self.sock = SshSocket(self._url, self._connect_seconds)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SshAdapter(requests.adapters.HTTPAdapter):
    """Lets a session of requests speak to the engine at an ssh:// address."""

    def __init__(self, url: str, connect_seconds: float) -> None:
        super().__init__()
        self._pool = _Pool("ssh", url=url, connect_seconds=connect_seconds)

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        """The one pool; requests before 2.32 ask so."""
        return self._pool

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        """The one pool."""
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        """The path alone: no proxy is on this way."""
        return str(request.path_url)

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._pool.close()
