"""Why an engine can't be reached: each case on every machine, and errors as they really come."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import docker_kernel.backends.docker
from docker_kernel.backends.docker import Engine
from docker_kernel.backends.hints import Facts, classify, is_remote
from docker_kernel.deadline import Deadline
from docker_kernel.errors import (
    EngineDenied,
    EngineError,
    EngineNotFound,
    EngineNotRunning,
    StartTimeout,
)

LINUX = Facts("unix:///var/run/docker.sock", "", "missing", "no such file", "linux")
MAC = replace(LINUX, platform="darwin")
WINDOWS = replace(LINUX, platform="win32", url="npipe:////./pipe/docker_engine")
WSL = replace(LINUX, wsl=True)
NAMED = replace(LINUX, named="DOCKER_HOST", url="tcp://far.away:2375")


@pytest.mark.parametrize(
    ("facts", "kind", "words"),
    [
        (LINUX, EngineNotFound, "apt install docker.io"),
        (MAC, EngineNotFound, "install Docker Desktop"),
        (WINDOWS, EngineNotFound, "install Docker Desktop"),
        (WSL, EngineNotFound, "WSL integration"),
        (replace(LINUX, cli=True), EngineNotRunning, "systemctl start docker"),
        (replace(LINUX, desktop=True), EngineNotRunning, "--user start docker-desktop"),
        (replace(MAC, cli=True), EngineNotRunning, "open -a Docker"),
        (replace(MAC, desktop=True), EngineNotRunning, "open -a Docker"),
        (replace(WINDOWS, desktop=True), EngineNotRunning, "Start menu"),
        (replace(WSL, cli=True), EngineNotFound, "WSL integration"),
        (replace(WSL, desktop=True), EngineNotFound, "WSL integration"),
        (replace(LINUX, trouble="refused"), EngineNotRunning, "systemctl start docker"),
        (replace(MAC, trouble="refused"), EngineNotRunning, "open -a Docker"),
        (replace(WSL, trouble="refused", desktop=True), EngineNotRunning, "on Windows"),
        (replace(LINUX, trouble="denied"), EngineDenied, "usermod -aG docker"),
        (replace(LINUX, trouble="denied", listed_in_group=True), EngineDenied, "log out and in"),
        (replace(MAC, trouble="denied"), EngineDenied, "as the user"),
        (replace(WINDOWS, trouble="denied"), EngineDenied, "docker-users"),
        (NAMED, EngineNotFound, "unset DOCKER_HOST"),
        (replace(NAMED, trouble="refused"), EngineNotRunning, "firewall"),
        (
            replace(NAMED, named="the Docker context far"),
            EngineNotFound,
            "docker context ls",
        ),
        (replace(LINUX, trouble="other", cli=True), EngineNotRunning, "systemctl start docker"),
    ],
)
def test_each_case_has_its_own_hint(facts: Facts, kind: type[EngineError], words: str) -> None:
    error = classify(facts)
    assert type(error) is kind
    assert words in error.remedy
    assert facts.detail in str(error)


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("unix:///var/run/docker.sock", False),
        ("npipe:////./pipe/docker_engine", False),
        ("tcp://localhost:2375", False),
        ("tcp://127.0.0.1:2375", False),
        ("https://[::1]:2376", False),
        ("tcp://10.0.0.7:2375", True),
        ("ssh://me@there", True),
        ("ssh://localhost", True),
    ],
)
def test_which_engines_are_on_another_machine(url: str, remote: bool) -> None:
    assert is_remote(url) is remote


# -- as it really comes


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="dk-") as name:
        yield Path(name)


def connect(url: str, seconds: float = 20) -> None:
    Engine({"DOCKER_HOST": url}, Deadline(seconds)).close()


def test_no_socket(place: Path) -> None:
    with pytest.raises(EngineNotFound, match="DOCKER_HOST names it") as caught:
        connect(f"unix://{place}/no.sock")
    assert str(place) in caught.value.what


def test_a_socket_that_nobody_listens_on(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{place}/dead.sock")
    with pytest.raises(EngineNotRunning, match="refused"):
        connect(f"unix://{place}/dead.sock")


def test_a_port_that_nobody_listens_on(free_port: int) -> None:
    with pytest.raises(EngineNotRunning, match="refused"):
        connect(f"tcp://127.0.0.1:{free_port}")


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(EngineNotFound, match="name is unknown"):
        connect("tcp://nowhere.invalid:2375")


@pytest.mark.skipif(os.getuid() == 0, reason="root is denied nothing")
def test_a_socket_of_somebody_else(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{place}/own.sock")
        server.listen()
        Path(f"{place}/own.sock").chmod(0)
        with pytest.raises(EngineDenied):
            connect(f"unix://{place}/own.sock")


def test_an_engine_that_never_answers(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{place}/mute.sock")
        server.listen()
        with pytest.raises(StartTimeout, match="connecting to the engine"):
            connect(f"unix://{place}/mute.sock", 1)


def test_something_that_is_no_engine(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{place}/odd.sock")
        server.listen()

        def answer() -> None:
            asked = b""
            while not asked:  # at first somebody only knocks
                stream, _ = server.accept()
                with stream:
                    asked = stream.recv(65536)
                    if asked:
                        stream.sendall(b"220 mail.example ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(EngineNotRunning):
            connect(f"unix://{place}/odd.sock")
        thread.join()


def test_an_address_that_is_none() -> None:
    with pytest.raises(EngineError):
        connect("gopher://x")


def test_a_bare_docker_host_is_never_shown_to_the_sdk(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(place))
    monkeypatch.setattr(docker_kernel.backends.docker, "_default_url", lambda: f"unix://{place}/d")
    with pytest.raises(EngineError) as caught:
        Engine({"DOCKER_HOST": "localhost"}, Deadline(20))
    assert str(place) in caught.value.what


def test_a_context_that_is_not_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(place))
    with pytest.raises(EngineError, match="no Docker context 'far'"):
        Engine({"DOCKER_CONTEXT": "far"}, Deadline(20))
