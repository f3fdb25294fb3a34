"""The question whether a server is well, as the image's HEALTHCHECK asks it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trustme

from docker_kernel_server import health
from wire import Server

SECRET = "a secret of the tests"


def ask(port: int) -> tuple[int, str]:
    """The exit status, and what was printed, as in a container."""
    command = [sys.executable, "-I", "-S", str(health.__file__), str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_server_is_well_and_takes_nobody_for_a_client(tmp_path: Path, secret: str | None) -> None:
    """The lease goes on, or a server that nobody uses would never end."""
    with Server(tmp_path, secret=secret, args=["--lease", "60"]) as server:
        assert ask(server.port) == (0, "")
        server.stop()
        assert server.process.stdout is not None
        assert b"a client is here" not in server.process.stdout.read()
        status, words = ask(server.port)
    assert status == 1
    assert "refused" in words


def test_a_server_with_tls(tmp_path: Path) -> None:
    made = trustme.CA().issue_cert("localhost")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    args = ["--tls-cert", str(tmp_path / "server.pem")]
    with Server(tmp_path, secret=SECRET, args=args) as server:
        assert ask(server.port) == (0, "")


@pytest.mark.parametrize("answer", [b"", b"220 mail\r\n", b'{"type":"final"}\n', b"{}\n"])
def test_something_else_on_the_port(answer: bytes) -> None:
    def serve() -> None:
        for _ in range(1 if answer.startswith(b"{") else 2):  # once more in TLS
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        assert health.main(listener.getsockname()[1])
        thread.join()


def test_a_server_that_has_stopped_answering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert "timed out" in health.main(listener.getsockname()[1])
