"""A true server process, and a client of it that is written from docs/protocol.md alone.

The project's own client isn't used here: what the page says has to be enough.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from system import end, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

SCRIPT = Path(__file__).parents[1] / "container" / "tcp_server.py"
MARK = "DOCKER_KERNEL_TEST_SERVER"
PATIENCE = 60.0
"""Seconds for what should take much less: a loaded machine is slow, and a hang must end."""

Json = dict[str, Any]


class Server:
    """A server on loopback, from `__enter__` to `__exit__`; its processes end with it."""

    def __init__(
        self,
        folder: Path,
        *,
        secret: str | None = None,
        python: str = sys.executable,
        port: int = 0,
        args: Sequence[str] = (),
        script: Path = SCRIPT,
    ) -> None:
        self.folder = folder
        self.secret = secret
        self.python = python
        self.mark = uuid.uuid4().hex
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        command = [python, "-I", "-S", str(script), "--workplace", str(folder)]
        command += ["--port", str(port), "--python", python, *args]
        if secret is not None:
            command.append("--secret-from-stdin")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if secret is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, MARK: self.mark},
        )
        if self.process.stdin is not None:
            self.process.stdin.write(f"{secret}\n".encode())
            self.process.stdin.close()
        self.port = 0

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        match = re.search(r"(\d+)\s*$", line)
        if match is None:
            self.kill()
            log = self.log()
            self.__exit__()
            raise AssertionError(f"the server did not start: {line}{log}")
        self.port = int(match.group(1))
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask the server to stop; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End the server, whatever state it's in, and all that it started."""
        end(self.process)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        """What the server has written to stderr."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def processes(self, containing: str = "") -> list[int]:
        """The living processes that the server started, itself included."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environ = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if self.mark.encode() in environ and containing in command:
                found.append(int(entry.name))
        return found

    def connect(self, **kwargs: Any) -> Wire:
        """A client that has held the handshake."""
        return Wire(self.port, self.secret, **kwargs)


@dataclass
class Answer:
    """The events of one request, and its final."""

    events: list[Json] = field(default_factory=list)
    final: Json = field(default_factory=dict)

    @property
    def status(self) -> int:
        status: int = self.final["status"]
        return status

    @property
    def reason(self) -> str:
        return str(self.final.get("reason", "ok"))

    @property
    def ending(self) -> tuple[int, str]:
        """Status and reason."""
        return self.status, self.reason

    @property
    def result(self) -> Any:
        return self.final.get("result")

    @property
    def seconds(self) -> float:
        seconds: float = self.final["seconds"]
        return seconds

    def of(self, kind: str) -> list[Json]:
        """The events of this type."""
        return [event for event in self.events if event["type"] == kind]

    def text(self, stream: str | None = None) -> str:
        """The output of one stream, or of both in the order in which it came."""
        return "".join(
            event["data"]
            for event in self.of("chunk")
            if stream in (None, event.get("stream", "stdout"))
        )

    @property
    def value(self) -> str | None:
        """The plain text of the last expression's value."""
        results = self.of("result")
        return results[-1]["data"]["text/plain"] if results else None

    @property
    def error(self) -> str | None:
        """The class of the exception."""
        errors = self.of("error")
        return errors[-1]["ename"] if errors else None


class Lines:
    """A connection, and the objects that come over it."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection((host, port), PATIENCE)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def receive(self) -> Json:
        """The next object; EOFError where the server has closed."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                message = json.loads(line)
                assert isinstance(message, dict)
                return message
            searched = len(self._buffer)
            data = self.sock.recv(1 << 18)
            if not data:
                raise EOFError(bytes(self._buffer))
            self._buffer += data

    def is_closed(self) -> bool:
        """Whether the server closes, with nothing more to say."""
        try:
            return not self._buffer and not self.sock.recv(1)
        except ConnectionError:
            return True

    def abort(self) -> None:
        """Hang up as a process that is killed does: with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def answer(self) -> Answer:
        """What comes until a final."""
        answer = Answer()
        while not answer.final:
            message = self.receive()
            if message["type"] == "final":
                answer.final = message
            else:
                answer.events.append(message)
        return answer


class Raw(Lines):
    """A client that knows nothing of the protocol: it sends a command, and reads until final."""

    def run(self, command: bytes | Iterable[bytes], *, half_close: bool = False) -> Answer:
        """Send a command, in pieces if it's a list, and wait for its end."""
        for piece in [command] if isinstance(command, bytes) else command:
            self.sock.sendall(piece)
        if half_close:
            self.sock.shutdown(socket.SHUT_WR)
        return self.answer()


def make_nonce() -> str:
    return secrets.token_hex(32)


def prove(secret: str, role: str, client_nonce: str, server_nonce: str) -> str:
    text = f"docker-kernel 1\n{role}\n{client_nonce}\n{server_nonce}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class Wire(Lines):
    """A client of protocol 1."""

    def __init__(self, port: int, secret: str | None = None, host: str = "127.0.0.1") -> None:
        super().__init__(port, host)
        self._prefix = uuid.uuid4().hex[:8]
        self._count = 0
        self._answers: dict[str, Answer] = {}
        self.loose: list[Json] = []
        """Events of no request, or of one that has ended."""
        try:
            self._shake_hands(secret)
        except BaseException:
            self.sock.close()
            raise

    def _shake_hands(self, secret: str | None) -> None:
        nonce = make_nonce()
        self.send({"type": "hello", "id": "hello", "protocol": 1, "nonce": nonce})
        self.hello = self.receive()
        if self.hello["type"] != "hello":
            raise ConnectionError(self.hello)
        self._expect_ok("hello")
        if secret is not None:
            assert self.hello["proof"] == prove(secret, "server", nonce, self.hello["nonce"])
            proof = prove(secret, "client", nonce, self.hello["nonce"])
            self.send({"type": "auth", "id": "auth", "proof": proof})
            self._expect_ok("auth")

    def _expect_ok(self, name: str) -> None:
        final = self.receive()
        if final != {"type": "final", "id": name, "status": 0}:
            raise ConnectionError(final)

    def send(self, message: Json) -> None:
        """Send one object as a line."""
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def begin(self, kind: str, **keys: Any) -> str:
        """Send a request; its id."""
        self._count += 1
        # A session's late events may meet the ids of another connection: they must differ.
        name = f"{self._prefix}-{self._count}"
        self._answers[name] = Answer()
        self.send({"type": kind, "id": name, **keys})
        return name

    def step(self) -> Json:
        """Take the next event, and put it where it belongs."""
        message = self.receive()
        answer = self._answers.get(message["id"])
        if answer is None or answer.final:
            assert message["type"] != "final", f"a second final: {message}"
            self.loose.append(message)
        elif message["type"] == "final":
            answer.final = message
        else:
            answer.events.append(message)
        return message

    def finish(self, name: str) -> Answer:
        """Wait for the request's final."""
        while not self._answers[name].final:
            self.step()
        return self._answers[name]

    def so_far(self, name: str) -> Answer:
        """What has come for a request."""
        return self._answers[name]

    def wait_for_text(self, name: str, text: str) -> None:
        """Until the request's output has this text."""
        while text not in self._answers[name].text():
            assert not self._answers[name].final, self._answers[name]
            self.step()

    def late_text(self, name: str, chars: int) -> str:
        """So much output of a request that has ended."""

        def text() -> str:
            return "".join(event["data"] for event in self.loose if event["id"] == name)

        while len(text()) < chars:
            self.step()
        return text()

    def wait_for(self, name: str, kind: str) -> Json:
        """Until the request has an event of this type."""
        while not self._answers[name].of(kind):
            assert not self._answers[name].final, self._answers[name]
            self.step()
        return self._answers[name].of(kind)[-1]

    def ask(self, kind: str, **keys: Any) -> Answer:
        """Send a request and wait for its final."""
        return self.finish(self.begin(kind, **keys))

    def run(self, command: str, **keys: Any) -> Answer:
        """Run a shell command."""
        return self.ask("run", command=command, **keys)

    def open(self, name: str | None = None) -> Session:
        """Open a session; under a new name if none is given."""
        session = Session(self, name or uuid.uuid4().hex)
        session.opened = self.ask("open_session", session=session.name)
        assert session.opened.status == 0, session.opened
        return session


class Session:
    """A session as one client sees it."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.wire = wire
        self.name = name
        self.opened = Answer()

    def begin(self, code: str, **keys: Any) -> str:
        """Send a cell; its id."""
        return self.wire.begin("execute", session=self.name, code=code, **keys)

    def execute(self, code: str, **keys: Any) -> Answer:
        """Run a cell to its end."""
        return self.wire.finish(self.begin(code, **keys))

    def ok(self, code: str, **keys: Any) -> Answer:
        """Run a cell that must not fail."""
        answer = self.execute(code, **keys)
        assert answer.ending == (0, "ok"), answer
        return answer

    def ask(self, kind: str, **keys: Any) -> Answer:
        """Another request to the session."""
        return self.wire.ask(kind, session=self.name, **keys)

    def interrupt(self) -> Answer:
        return self.ask("interrupt")

    def reply(self, cell: str, value: str) -> None:
        """Answer the question of a cell."""
        assert self.ask("input_reply", request=cell, value=value).status == 0


def gone(server: Server, containing: str = "") -> bool:
    """Whether the server's processes end, or those whose command line has this text."""
    return wait_until(lambda: not server.processes(containing), 20)


def stalled(pid: int) -> None:
    """Wait until a process writes no more, or has ended."""
    seen = [-1, -2, -3]

    def still() -> bool:
        seen.pop(0)
        try:
            text = Path(f"/proc/{pid}/io").read_text()
            seen.append(int(text.split("wchar: ")[1].split()[0]))
        except (OSError, IndexError):
            return True
        return len(set(seen)) == 1

    assert wait_until(still, PATIENCE)
