"""Engines on other machines: over TCP, TLS and ssh, named by DOCKER_HOST or by a Docker context.

The engine is that of the other tests; the ways to it are real, and lead to an address that isn't
loopback, or through an sshd.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import docker
import pytest

from conftest import or_give_up
from docker_kernel import files
from docker_kernel.backends import calls
from docker_kernel.backends.docker import Engine as OurEngine
from docker_kernel.cli import main
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import (
    EngineDenied,
    EngineError,
    EngineNotFound,
    EngineNotRunning,
    ImageNotFound,
)
from docker_kernel.manage import copying
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire
from engine import Engine
from far import Certificates, FarDockerd, Front, Sshd, make_context, outer_address
from kernels import PATIENCE, Kernel
from system import CannotError

T = TypeVar("T", bound=Callable[..., Any])
NAMING = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


@pytest.fixture(scope="module")
def path(engine: Engine) -> str:
    """The path of the engine's socket."""
    with or_give_up():
        if not engine.host.startswith("unix://"):
            raise CannotError("the tests' engine has no Unix socket on this machine")
    return engine.host.removeprefix("unix://")


@pytest.fixture(scope="module")
def host(docker_client: docker.DockerClient) -> str:
    """An address that isn't loopback."""
    with or_give_up():
        return outer_address(docker_client)


@pytest.fixture(scope="module")
def certificates(host: str, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"), host)


@pytest.fixture(scope="module")
def plain(path: str, host: str) -> Iterator[Front]:
    with Front(host, path) as front:
        yield front


@pytest.fixture(scope="module")
def encrypted(path: str, host: str, certificates: Certificates) -> Iterator[Front]:
    with Front(host, path, certificates.context()) as front:
        yield front


@pytest.fixture(scope="module")
def far(path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with or_give_up():
        made = Sshd(tmp_path_factory.mktemp("ssh"), f"unix://{path}")
        made.start()
    yield made
    made.stop()


@pytest.fixture
def tcp(plain: Front) -> dict[str, str]:
    return {"DOCKER_HOST": plain.url}


@pytest.fixture
def tls(encrypted: Front, certificates: Certificates) -> dict[str, str]:
    return {
        "DOCKER_HOST": encrypted.url,
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(certificates.folder),
        # A company's own authority, for other programs.
        "REQUESTS_CA_BUNDLE": os.devnull,
    }


@pytest.fixture
def tls_context(encrypted: Front, certificates: Certificates, tmp_path: Path) -> dict[str, str]:
    make_context(tmp_path, "far", encrypted.url, certificates.folder)
    return {"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(tmp_path)}


@pytest.fixture
def ssh(far: Sshd) -> dict[str, str]:
    return {"DOCKER_HOST": far.url, "PATH": f"{far.bin}:{os.environ['PATH']}"}


@pytest.fixture
def ssh_context(far: Sshd, tmp_path: Path) -> dict[str, str]:
    make_context(tmp_path, "far", far.url)
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    return {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{far.bin}:{os.environ['PATH']}"}


@pytest.fixture
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The way of this name, in the environment; and no other."""
    environ: dict[str, str] = request.getfixturevalue(request.param)
    for name in NAMING:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


def text_of(client: Client, command: str, stdin: str = "") -> str:
    events: list[wire.Event] = []
    request = wire.Run(client.new_id(), command, stdin=stdin)
    assert client.request(request, events.append).result(PATIENCE).status == 0
    return "".join(event.data for event in events if isinstance(event, wire.Chunk))


def by_way(*names: str) -> Callable[[T], T]:
    """Run a test once by each of these ways."""

    def mark(test: T) -> T:
        marked: T = pytest.mark.usefixtures("by")(
            pytest.mark.parametrize("by", names, indirect=True)(test)
        )
        return marked

    return mark


@by_way("tcp", "tls_context", "ssh")
def test_a_container_over_there(
    by: dict[str, str], image: str, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    """E1, E5, E7: no port is published, no folder is mounted, and what this means is told."""
    sandbox = Sandbox(Settings(image=image, workspace=str(tmp_path)))
    try:
        client = sandbox.client()
        name = text_of(client, "cat /etc/hostname").strip()
        found = docker_client.api.inspect_container(name)
        assert not found["NetworkSettings"]["Ports"]
        assert [m["Type"] for m in found["Mounts"]] == ["volume", "volume"]
        assert text_of(client, "id -u; pwd; touch mine") == "1000\n/workspace\n"
        told = " ".join(sandbox.notices)
        assert "on another machine" in told
        assert "%docker put" in told
        assert ("not encrypted" in told) == by.get("DOCKER_HOST", "").startswith("tcp")
        data = os.urandom(3_000_000)
        files.put(client, data, "/workspace/data")
        assert files.get(client, "/workspace/data") == data
        (tmp_path / "here").write_bytes(data)
        for path in (tmp_path, tmp_path / "here"):  # of an ordinary user, as the container is
            os.chown(path, 1000, 1000)
        copying.put(sandbox, "here", "there", print)
        copying.get(sandbox, "there", "again", print)
        assert (tmp_path / "again").read_bytes() == data
        assert text_of(client, "seq 100000") == "".join(f"{n}\n" for n in range(1, 100_001))
    finally:
        sandbox.stop()
    assert not docker_client.containers.list(all=True, filters={"name": found["Name"]})


@by_way("tls", "ssh_context")
def test_a_kernel(image: str, tmp_path: Path) -> None:
    """K9, C3: cells, and a restart that takes the container over."""
    folder = tmp_path / "kernel"
    folder.mkdir()
    with Kernel(f"--image={image}", "--no-mount-workspace", folder=folder) as kernel:
        cell = kernel.run("import socket; socket.gethostname()")
        assert "another machine" not in cell.text("stderr")
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=PATIENCE)
        assert kernel.run("import socket; socket.gethostname()").result == cell.result


@by_way("tcp")
def test_a_script(image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its text goes there, as no folder of this machine is seen."""
    (tmp_path / "a.py").write_text("import sys\nprint(__file__, sys.argv)\nsys.exit(3)")
    assert main(["run", "--image", image, str(tmp_path / "a.py"), "--b"]) == 3
    said = capsys.readouterr()
    assert said.out == "/workspace/a.py ['a.py', '--b']\n"
    assert "on another machine" in said.err


@by_way("tcp")
def test_a_lost_connection_comes_back(image: str, plain: Front) -> None:
    """P12"""
    sandbox = Sandbox(Settings(image=image, mount_workspace=False))
    try:
        client = sandbox.client()
        events: list[wire.Event] = []

        def cut(event: wire.Event) -> None:
            events.append(event)
            if len(events) in (1, 20, 60):
                plain.cut()

        request = wire.Run(client.new_id(), "seq 200000")
        assert client.request(request, cut).result(PATIENCE).status == 0
        found = "".join(event.data for event in events if isinstance(event, wire.Chunk))
        assert found == "".join(f"{n}\n" for n in range(1, 200_001))
        assert sandbox.notices == [note for note in sandbox.notices if "not encrypted" in note]
    finally:
        sandbox.stop()


# -- what goes wrong (E2): each for real


def connect() -> None:
    OurEngine(os.environ, Deadline(20)).close()


@by_way("tls")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("stranger", "certificate verify failed|self-signed|unable to get local issuer"),
        ("other name", "certificate is for another name"),
        ("no tls there", "speaks no TLS"),
    ],
)
def test_tls_that_does_not_fit(
    fault: str,
    words: str,
    certificates: Certificates,
    plain: Front,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault == "stranger":
        elsewhere = Certificates(tmp_path / "elsewhere", "elsewhere")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(elsewhere.folder))
    elif fault == "no tls there":
        monkeypatch.setenv("DOCKER_HOST", plain.url)
    with Front("localhost", "/nowhere", certificates.context()) as front:
        if fault == "other name":
            monkeypatch.setenv("DOCKER_HOST", front.url)
        with pytest.raises(EngineDenied, match=words):
            connect()


@by_way("tls")
def test_no_certificate_for_an_engine_that_wants_one(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text((certificates.folder / "ca.pem").read_text())
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(EngineError) as caught:
        connect()
    assert "cert.pem and key.pem" in caught.value.remedy


@by_way("tcp")
def test_plain_words_to_a_port_with_tls(encrypted: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", encrypted.url)
    with pytest.raises(EngineError) as caught:
        connect()
    assert "DOCKER_TLS_VERIFY" in caught.value.remedy


@by_way("tcp")
def test_a_host_that_does_not_answer(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://nowhere.invalid:2376")
    with pytest.raises(EngineNotRunning, match="the name is unknown") as caught:
        connect()
    assert "ssh://" in caught.value.remedy
    with socket.create_server((host, 0), backlog=0) as full:
        port = full.getsockname()[1]
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{host}:{port}")
        monkeypatch.setattr(calls, "CONNECT_SECONDS", 0.3)
        # The system takes one connection for who doesn't, and says nothing to others.
        with (
            socket.create_connection((host, port)),
            pytest.raises(EngineNotRunning, match="nothing answers there") as caught,
        ):
            connect()
        assert "firewall" in caught.value.remedy
    with pytest.raises(EngineNotRunning, match="refused"):
        connect()


def test_a_dockerd_with_a_network_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: in its own words; nothing of it is at hand here but the one port."""
    with tempfile.TemporaryDirectory(prefix="dk-") as short, contextlib.ExitStack() as stack:
        with or_give_up():
            dockerd = stack.enter_context(FarDockerd(Path(short)))
        for name in NAMING:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("DOCKER_HOST", dockerd.url)
        with pytest.raises(EngineDenied, match="wants TLS") as caught:
            connect()
        assert "DOCKER_CERT_PATH" in caught.value.remedy
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        (tmp_path / "ca.pem").write_text((dockerd.certificates.folder / "ca.pem").read_text())
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
        with pytest.raises(EngineDenied, match="certificate") as caught:
            connect()
        assert "cert.pem and key.pem" in caught.value.remedy
        monkeypatch.setenv("DOCKER_CERT_PATH", str(dockerd.certificates.folder))
        connect()
        with pytest.raises(ImageNotFound, match="no image nothing"):
            Sandbox(Settings(image="nothing", pull="never")).client()


@by_way("ssh")
def test_ssh_that_does_not_know_the_machine(far: Sshd) -> None:
    try:
        far.trust("")
        with pytest.raises(EngineDenied, match="ssh doesn't know the machine") as caught:
            connect()
        assert f"ssh -p {far.port} far" in caught.value.remedy
        far.trust("other_host")
        with pytest.raises(EngineDenied, match="not the one that it was") as caught:
            connect()
        assert "ssh-keygen -R" in caught.value.remedy
    finally:
        far.trust("host")


@by_way("ssh")
def test_ssh_that_is_not_let_in(far: Sshd) -> None:
    try:
        far.allow(key="other_host")
        with pytest.raises(EngineDenied, match="doesn't let you in") as caught:
            connect()
        assert "ssh-copy-id" in caught.value.remedy
    finally:
        far.allow()


@by_way("ssh")
@pytest.mark.parametrize(
    ("there", "kind", "words"),
    [
        ("PATH=/nowhere", EngineNotFound, "no program docker"),
        ("DOCKER_HOST=unix:///nowhere", EngineNotRunning, "not to its Docker engine"),
    ],
)
def test_ssh_to_a_machine_without_an_engine(
    there: str, kind: type[EngineError], words: str, far: Sshd
) -> None:
    try:
        far.allow(f'command="{there}; export PATH DOCKER_HOST; eval $SSH_ORIGINAL_COMMAND"')
        with pytest.raises(kind, match=words) as caught:
            connect()
        assert f"ssh -p {far.port} far docker" in caught.value.remedy
    finally:
        far.allow()


@by_way("ssh")
def test_ssh_to_nobody(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"ssh://far:{free_port}")
    with pytest.raises(EngineNotRunning, match="refused"):
        connect()
    monkeypatch.setenv("DOCKER_HOST", "ssh://nowhere.invalid")
    with pytest.raises(EngineNotFound, match=r"nowhere\.invalid"):
        connect()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineNotFound, match="no program ssh") as caught:
        connect()
    assert "openssh-client" in caught.value.remedy
