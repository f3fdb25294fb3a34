"""TLS between a client and a server: true certificates, true servers."""

from __future__ import annotations

import hashlib
import random
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from docker_kernel import lifeline, transport
from docker_kernel.backends.attached import AttachedBackend
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import NotAServer, ServerNotTrusted, SettingError
from docker_kernel.tls import Trust
from docker_kernel_server.messages import Chunk, Event, OpenSession, Run
from kernels import Kernel
from proxy import Fate, Proxy, cutting
from wire import PATIENCE, SCRIPT, Server

SECRET = "an example secret"


@dataclass
class Files:
    """A server's certificate with its key, that of its authority, and the fingerprint."""

    server: Path
    authority: Path
    fingerprint: str

    @property
    def arguments(self) -> list[str]:
        return ["--tls-cert", str(self.server)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    made.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    certificate = made.cert_chain_pems[0].bytes().decode()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
    return Files(folder / "server.pem", folder / "authority.pem", digest)


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("work")
    with Server(folder, secret=SECRET, args=files.arguments) as running:
        yield running


def endpoint(port: int, tls: str, host: str = "localhost") -> Endpoint:
    return Endpoint(host, port, SECRET.encode(), ours=False, tls=tls)


def text_of(client: Client, command: str) -> str:
    events: list[Event] = []
    call = client.request(Run(client.new_id(), command), events.append)
    assert call.result(PATIENCE).status == 0
    return "".join(event.data for event in events if isinstance(event, Chunk))


def trusts(files: Files) -> list[str]:
    digits = files.fingerprint
    pairs = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    return [str(files.authority), digits, pairs]


@pytest.mark.parametrize("which", range(3), ids=["authority", "fingerprint", "with colons"])
def test_whom_to_trust(server: Server, files: Files, which: int) -> None:
    client = Client(endpoint(server.port, trusts(files)[which]), Deadline(10))
    assert text_of(client, "echo hello") == "hello\n"
    client.close()


def test_the_server_prints_its_fingerprint(each_python: str, files: Files, tmp_path: Path) -> None:
    with Server(tmp_path, python=each_python, args=files.arguments) as server:
        assert files.fingerprint in server.log()


def test_much_at_once_in_both_directions(server: Server, files: Files) -> None:
    """O4: one thread reads while others write."""
    client = Client(endpoint(server.port, files.fingerprint), Deadline(10))
    client.ask(OpenSession("open", "main"), PATIENCE)
    events: list[Event] = []
    command = "head -c 20000000 /dev/zero | tr '\\0' x"
    call = client.request(Run("much", command), events.append)
    for _ in range(20):
        sent = client.request(Run(client.new_id(), "wc -c", stdin="y" * 1_000_000))
        assert sent.result(PATIENCE).status == 0
    assert call.result(PATIENCE).status == 0
    assert sum(len(event.data) for event in events if isinstance(event, Chunk)) == 20_000_000
    client.close()


def test_a_lost_connection_comes_back(server: Server, files: Files) -> None:
    """P12"""
    chance = random.Random(1)  # noqa: S311  (no secret)
    with Proxy(server.port) as proxy:
        client = Client(endpoint(proxy.port, files.fingerprint), Deadline(10))
        proxy.to_client = cutting([chance.randrange(3_000_000) for _ in range(10)], chance)
        found = text_of(client, "seq 300000")
        assert found == "".join(f"{number}\n" for number in range(1, 300_001))
        assert proxy.connections > 5
        client.close()


def test_a_server_that_is_not_the_one(server: Server, files: Files) -> None:
    """P6: nothing is sent to it, not even a proof."""
    other = files.fingerprint[::-1]
    with pytest.raises(ServerNotTrusted, match=files.fingerprint):
        Client(endpoint(server.port, other), Deadline(10))
    with pytest.raises(ServerNotTrusted, match="DOCKER_KERNEL_TLS"):
        Client(endpoint(server.port, "system"), Deadline(10))
    with pytest.raises(ServerNotTrusted, match=r"127\.0\.0\.1"):
        Client(endpoint(server.port, str(files.authority), host="127.0.0.1"), Deadline(10))


def test_one_side_without_tls(server: Server, files: Files, tmp_path: Path) -> None:
    with pytest.raises(NotAServer):
        Client(endpoint(server.port, ""), Deadline(10))
    with Server(tmp_path, secret=SECRET) as plain, pytest.raises(NotAServer, match="--tls-cert"):
        Client(endpoint(plain.port, files.fingerprint), Deadline(10))
    client = Client(endpoint(server.port, files.fingerprint), Deadline(10))
    assert text_of(client, "echo alive") == "alive\n"
    client.close()


def test_a_kernel_over_tls(server: Server, files: Files, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    arguments = (f"--port={server.port}", f"--secret-file={secret}", f"--tls={files.fingerprint}")
    with Kernel("--mode=attached", *arguments, folder=tmp_path) as kernel:
        cell = kernel.run("6 * 7")
        assert (cell.result, cell.text("stderr")) == ("42", "")


@pytest.mark.parametrize(
    ("host", "told"), [("localhost", False), ("127.0.0.7", False), ("::1", False), ("far", True)]
)
def test_another_machine_without_tls_is_warned_of(host: str, told: bool, files: Files) -> None:
    notices = AttachedBackend(Settings(mode="attached", host=host)).notices
    assert bool(notices) == told
    assert not AttachedBackend(Settings(host=host, tls=files.fingerprint)).notices


@pytest.mark.parametrize("text", ["/nowhere", "abc", __file__])
def test_a_setting_of_no_use(text: str) -> None:
    with pytest.raises(SettingError, match="fingerprint"):
        Trust(text)


@pytest.mark.parametrize(
    "arguments",
    [["--tls-cert", "/nowhere"], ["--tls-cert", __file__], ["--tls-key", "/nowhere"]],
)
def test_a_server_with_certificates_of_no_use(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--workplace", str(tmp_path), "--port", "0"]
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--tls-cert" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_bytes_that_are_damaged_cost_the_connection_alone(
    server: Server, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P12: both directions; who sends just then gets no error of TLS's."""
    # A damaged length has the other end wait for bytes that never come.
    monkeypatch.setattr(lifeline, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(lifeline, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(transport, "HELLO_SECONDS", 1.0)
    chance = random.Random(2)  # noqa: S311  (no secret)

    def damaging(data: bytes) -> Fate:
        if chance.random() < 0.1:
            at = chance.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return Fate(data)

    def echo(client: Client, number: int) -> Run:
        return Run(client.new_id(), f"echo {number} {'#' * 5000}")

    with Proxy(server.port) as proxy:
        client = Client(endpoint(proxy.port, files.fingerprint), Deadline(10))
        proxy.to_client = proxy.to_server = damaging
        calls = [client.request(echo(client, number)) for number in range(60)]
        finals = [call.result(PATIENCE) for call in calls]
        # Into how many pieces the proxy reads them, and so how many are damaged, is chance.
        while proxy.connections <= 3:
            finals.append(client.request(echo(client, 60)).result(PATIENCE))
        client.close()
    assert {final.status for final in finals} == {0}
