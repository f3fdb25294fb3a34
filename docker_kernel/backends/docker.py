"""The Docker engine, where the errors of its calls become ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from ..deadline import Deadline
from ..errors import (
    ConnectionLost,
    DockerKernelError,
    EngineError,
    EngineRefused,
    LoginUnreadable,
)
from ..sockets import SocketStream
from . import streams
from .address import find, proxies
from .calls import CONNECT_SECONDS, Calls, Refused
from .streams import STDERR, STDOUT, ProgramStream

_DEFAULT_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")


class Engine:
    """A connection to the engine that DOCKER_HOST, the Docker context, or the default names.

    `api` has one method for one call of the engine's API (calls.py). Use it inside `calling`, which
    maps its errors.
    """

    def __init__(self, environ: Mapping[str, str], deadline: Deadline, version: str = "") -> None:
        """Connect. `version` is that of the engine's API, where it is known already.

        Raises EngineNotFound, EngineNotRunning, EngineDenied, EngineError.
        """
        self.address = find(environ)
        self.url = self.address.url
        self.proxies = proxies(environ, self.url)
        """The variables by which a container finds the network's proxies."""
        self.api = Calls(self.address, _whole_seconds(deadline))
        with ExitStack() as undo:
            undo.callback(self.api.close)
            with self._mapped("connecting to the engine", deadline):
                self.version = self.api.api_version = version or self._ask_version()
            undo.pop_all()

    @property
    def remote(self) -> bool:
        """Whether it is on another machine: neither its ports nor its folders are ours."""
        return self.address.remote

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
        if path := self.address.socket:
            found.append(Path(path))
        return [path.resolve() for path in found if path.exists()]

    def attach(self, container: str, deadline: Deadline) -> Attachment:
        """Attach to the streams of a container that was created, but not yet started."""
        path = f"/containers/{container}/attach?stdin=1&stdout=1&stderr=1&stream=1"
        found = self._stream("attaching to the container", deadline, path)
        return Attachment(ProgramStream(*found, (STDOUT, STDERR)))

    def follow_log(self, container: str, lines: int, deadline: Deadline) -> Attachment:
        """The last lines that a container has printed, and what it prints from now on."""
        path = f"/containers/{container}/logs?stdout=1&stderr=1&follow=1&tail={lines}"
        with self._dialled("reading the log", deadline) as (stream, prefix):
            early = streams.follow(stream, "reading the log", prefix + path)
        return Attachment(ProgramStream(stream, early, (STDOUT, STDERR)))

    def execute(
        self,
        container: str,
        command: list[str],
        deadline: Deadline,
        kinds: tuple[int, ...] = (STDOUT, STDERR),
    ) -> ProgramStream:
        """Start a program in a container, with its streams in our hands; `kinds` are those that
        are read. What goes wrong is as for `calling`."""
        job = self.prepare(container, command, deadline)
        return ProgramStream(*self.begin(job, deadline), kinds)

    def run(self, container: str, command: list[str], deadline: Deadline) -> tuple[int, bytes]:
        """Run a program in a container: its exit status, and what it printed."""
        job = self.prepare(container, command, deadline, stdin=False)
        what = "running a program in the container"
        stream = ProgramStream(*self.begin(job, deadline), (STDOUT, STDERR))
        with closing(stream), self._mapped(what, deadline):
            stream.set_timeout(_whole_seconds(deadline))
            output = b"".join(iter(stream.receive, b""))
        with self.calling(what, deadline) as api:
            return int(api.exec_inspect(job)["ExitCode"] or 0), output

    def prepare(
        self,
        container: str,
        command: list[str],
        deadline: Deadline,
        *,
        stdin: bool = True,
        terminal: bool = False,
    ) -> str:
        """The engine's name for a program that `begin` starts."""
        with self.calling("preparing a program in the container", deadline) as api:
            return str(api.exec_create(container, command, stdin=stdin, tty=terminal)["Id"])

    def begin(
        self, job: str, deadline: Deadline, *, terminal: bool = False
    ) -> tuple[SocketStream, bytes]:
        """Start it: its streams as the engine gives them, in frames where it has no terminal, and
        what came of them already."""
        what = "starting a program in the container"
        body = {"Tty": terminal, "Detach": False}
        return self._stream(what, deadline, f"/exec/{job}/start", body)

    def _stream(
        self, what: str, deadline: Deadline, path: str, body: object = None
    ) -> tuple[SocketStream, bytes]:
        """What the engine gives instead of an answer, and what came of it already; see `calling`
        for what goes wrong."""
        with self._dialled(what, deadline) as (stream, prefix):
            early = streams.upgrade(stream, what, prefix + path, body)
        return stream, early

    @contextmanager
    def _dialled(self, what: str, deadline: Deadline) -> Iterator[tuple[SocketStream, str]]:
        """A connection for a stream, and what stands before the paths of the API. What goes wrong
        is as for `calling`; it is closed then."""
        with ExitStack() as undo:
            with self._mapped(what, deadline):
                stream = streams.connect(self.address, min(CONNECT_SECONDS, deadline.remaining()))
                undo.callback(stream.close)
                stream.set_timeout(_whole_seconds(deadline))
                yield stream, f"{self.address.prefix}/v{self.version}"
                stream.set_timeout(None)
            undo.pop_all()  # also a step that fails at its end leaves no connection

    def _ask_version(self) -> str:
        """The version of its API that the engine speaks: old and new ones share few."""
        try:
            answer = self.api.engine_version()
        except Refused as exc:
            raise self._no_engine(exc.words) from exc
        if not isinstance(answer, dict) or "ApiVersion" not in answer:
            raise self._no_engine("it has no version of the engine's API")
        return str(answer["ApiVersion"])

    def _no_engine(self, why: str) -> EngineError:
        from . import hints  # slow

        return hints.no_engine(self.url, self.address.named, why)

    @contextmanager
    def _mapped(self, what: str, deadline: Deadline, counted: bool = True) -> Iterator[None]:
        with deadline.step(what, counted):
            try:
                with streams.os_errors():
                    yield
            except Refused as exc:
                raise EngineRefused(f"{what} failed", exc.words, status=exc.status) from exc
            except Exception as exc:
                error = self._error(what, exc, deadline)
                if error is None:
                    raise
                raise error from exc

    def _error(self, what: str, exc: Exception, deadline: Deadline) -> DockerKernelError | None:
        """The error of ours for what a call raised; None where it is no call's, or ours already."""
        if isinstance(exc, DockerKernelError) and not isinstance(exc, ConnectionLost):
            return None
        from . import hints, sdk  # slow; it may be one of the SDK's

        if isinstance(exc, sdk.Refused):
            return EngineRefused(f"{what} failed", sdk.words(exc), status=sdk.status(exc))
        if not isinstance(exc, sdk.FAILURES):
            return None
        if why := sdk.login_trouble(exc):
            return _unreadable_login(why)
        if sdk.is_slow_answer(exc):
            return deadline.timeout()
        named, remote = self.address.named, self.address.remote
        return hints.classify(hints.gather(self.url, named, remote, exc))


class Attachment:
    """The streams of a container: its stdin to write to, and stdout and stderr, joined, to read."""

    def __init__(self, stream: ProgramStream) -> None:
        self._stream = stream

    def send_line(self, line: bytes, *, last: bool = True) -> None:
        """Write a line to stdin; close it if it's the last. Raises EngineError."""
        try:
            self._stream.send(line + b"\n")
        except ConnectionLost as exc:
            raise EngineError(
                "the container takes no input", exc.why, "run it again: that starts a new one"
            ) from exc
        if last:
            self._stream.end_input()

    def chunks(self) -> Iterator[bytes]:
        """What the container prints, until it ends or `close` is called. Raises OSError."""
        while data := self._stream.receive():
            yield data

    def close(self) -> None:
        """Let go of the container; wakes whoever reads `chunks`."""
        self._stream.close()


def _whole_seconds(deadline: Deadline) -> int:
    # The SDK takes no fractions, and 0 for no time at all.
    return max(1, round(deadline.remaining()))


def _unreadable_login(why: str) -> LoginUnreadable:
    return LoginUnreadable(
        "what Docker has stored for this registry can't be read",
        why,
        "install that program, which Docker's config.json names (credsStore, credHelpers); or take "
        "its name out of there, and log in again: docker login REGISTRY",
    )
