"""The engine's API: the calls that each start and each end of a container need, and the SDK's.

Those few are a request and an answer in JSON each, so they are made here. The Docker SDK takes
0.1 s to import, before an engine could begin its work; so it comes in with the first call of
another kind (sdk.py). Paths, names and answers are those of https://docs.docker.com/engine/api/.
"""

from __future__ import annotations

import http.client
import json
import selectors
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from .address import Address
from .streams import dial, words_of

if TYPE_CHECKING:
    from .sdk import Client

CONNECT_SECONDS = 10.0
"""How long an engine may take to accept a connection; its answer may take longer."""

Json = dict[str, Any]

_NOTHING_CHANGED = http.client.NOT_MODIFIED


class Refused(Exception):
    """The engine has answered with an error: its status, and its own words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status = status
        self.words = words


class Calls:
    """Calls of one engine's API. Any thread may make them.

    What isn't here is the Docker SDK's method of that name. Raises Refused, OSError, HTTPException,
    and the SDK's own errors.
    """

    def __init__(self, address: Address, timeout: int) -> None:
        self.timeout = timeout
        """How many seconds a connection or an answer may take."""
        self.api_version = ""
        """That of the API which is spoken."""
        self._address = address
        self._idle: deque[_Connection] = deque()
        self._closed = False
        self._sdk: Client | None = None
        self._making = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if self._address.socket:
            # The SDK would find out for itself whether somebody listens, and leave a socket open.
            dial(self._address, self.timeout).close()
        with self._making:
            if self._sdk is None:
                from .sdk import Client  # slow

                self._sdk = Client(self._address, self.api_version, self.timeout)
        self._sdk.timeout = self.timeout
        return getattr(self._sdk, name)

    def close(self) -> None:
        """Close the connections; a call that comes later makes a new one for itself."""
        self._closed = True
        self._let_go()
        with self._making:
            if self._sdk is not None:
                self._sdk.close()

    def _let_go(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def engine_version(self) -> Any:
        """What the engine says of its own version."""
        return self._call("GET", "/version", spoken=False)

    def containers(
        self,
        *,
        filters: Mapping[str, list[str]],
        all: bool = False,  # noqa: A002 - the API's word
        size: bool = False,
    ) -> list[Json]:
        """The containers that run, or all, that fit; ``size``: with what they take on the disk."""
        query = {"all": int(all), "size": int(size), "filters": json.dumps(filters)}
        found: list[Json] = self._call("GET", "/containers/json", query)
        return found

    def inspect_container(self, name: str) -> Json:
        """All that is known of a container."""
        return self._object(f"/containers/{_quoted(name)}/json")

    def inspect_image(self, name: str) -> Json:
        """All that is known of an image."""
        return self._object(f"/images/{_quoted(name)}/json")

    def inspect_volume(self, name: str) -> Json:
        """All that is known of a volume."""
        return self._object(f"/volumes/{_quoted(name)}")

    def create_container(self, name: str, config: Json) -> None:
        """Make a container. `config` is as the API has it, with its HostConfig."""
        self._call("POST", "/containers/create", {"name": name}, config)

    def put_archive(self, name: str, folder: str, tar: bytes) -> None:
        """Unpack a tar into a folder of a container."""
        self._call("PUT", f"/containers/{_quoted(name)}/archive", {"path": folder}, tar)

    def start(self, name: str) -> None:
        """Start a container."""
        self._call("POST", f"/containers/{_quoted(name)}/start")

    def remove_container(self, name: str) -> None:
        """Remove a container, also one that runs, with its nameless volumes."""
        self._call("DELETE", f"/containers/{_quoted(name)}", {"force": 1, "v": 1})

    def _object(self, path: str) -> Json:
        found = self._call("GET", path)
        if not isinstance(found, dict):
            raise http.client.HTTPException(f"what came for {path} is no object")
        return found

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        spoken: bool = True,
    ) -> Any:
        """One request, and its answer; None where that is empty."""
        version = f"/v{self.api_version}" if spoken else ""
        target = f"{self._address.prefix}{version}{path}"
        if query:
            target = f"{target}?{urlencode(query)}"
        headers = {"Content-Type": "application/json"}
        if isinstance(body, bytes):
            headers = {"Content-Type": "application/x-tar"}
        elif body is not None:
            body = json.dumps(body).encode()
        with self._connection() as connection:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        # To start what runs already changes nothing, and is no error.
        if answer.status >= http.client.MULTIPLE_CHOICES and answer.status != _NOTHING_CHANGED:
            raise Refused(answer.status, words_of(content) or answer.reason)
        try:
            return json.loads(content) if content else None
        except ValueError as exc:
            raise http.client.HTTPException(f"what came for {path} is no JSON: {exc}") from exc

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """A connection for one request: one that is there, or a new one."""
        connection = self._take()
        try:
            connection.wait_at_most(self.timeout)
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        if self._closed:
            self._let_go()

    def _take(self) -> _Connection:
        while True:
            try:
                found = self._idle.pop()
            except IndexError:
                return _Connection(self._address)
            if not found.dropped():
                return found
            found.close()


class _Connection(http.client.HTTPConnection):
    """A connection to an engine, whichever way leads there."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.host or "docker", address.parts.port)
        self._address = address
        self._seconds = CONNECT_SECONDS

    def wait_at_most(self, seconds: float) -> None:
        """How long the connection, and then each step of an answer, may take."""
        self._seconds = seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = _dial(self._address, min(CONNECT_SECONDS, self._seconds))
        self.sock.settimeout(self._seconds)

    def dropped(self) -> bool:
        """Whether the engine has closed it meanwhile: nothing else is to be read now."""
        if self.sock is None:
            return True
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(self.sock, selectors.EVENT_READ)
            except ValueError:  # a pipe of Windows can't be asked
                return False
            return bool(selector.select(0))


def _dial(address: Address, seconds: float) -> Any:
    """A socket to an engine."""
    plain = dial(address, seconds)
    if address.tls is None:
        return plain
    try:
        return address.tls.context().wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _quoted(name: str) -> str:
    return quote(name, safe="/:")
