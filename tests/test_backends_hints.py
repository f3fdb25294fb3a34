"""Why an engine can't be reached: each case on every machine, and errors as they really come."""

from __future__ import annotations

import gc
import os
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import docker_kernel.backends.address
from docker_kernel.backends.docker import Engine
from docker_kernel.backends.hints import Facts, classify
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
NAMED = replace(LINUX, named="DOCKER_HOST", url="unix:///else/where.sock")
CONTEXT = replace(NAMED, named="the Docker context rootless")
DESKTOP = replace(NAMED, named="the Docker context desktop-linux")


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
        (replace(NAMED, trouble="refused"), EngineNotRunning, "unset DOCKER_HOST"),
        (replace(NAMED, trouble="denied"), EngineDenied, "usermod -aG docker"),
        (CONTEXT, EngineNotFound, "docker context ls"),
        (replace(CONTEXT, trouble="refused"), EngineNotRunning, "docker context ls"),
        (DESKTOP, EngineNotRunning, "--user start docker-desktop"),
        (replace(DESKTOP, trouble="refused", platform="darwin"), EngineNotRunning, "open -a"),
        (replace(LINUX, trouble="other", cli=True), EngineNotRunning, "systemctl start docker"),
    ],
)
def test_each_case_has_its_own_hint(facts: Facts, kind: type[EngineError], words: str) -> None:
    error = classify(facts)
    assert type(error) is kind
    assert words in error.remedy
    assert facts.detail in str(error)


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


@contextmanager
def answering(place: Path, *answers: bytes) -> Iterator[str]:
    """A socket where each request gets the next answer, and nobody listens after the last."""
    path = place / "engine.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            waiting = list(answers)
            while waiting:
                stream, _ = server.accept()
                with stream:
                    if stream.recv(65536):  # before a request somebody only knocks
                        stream.sendall(waiting.pop(0))
            server.close()

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"unix://{path}"
        thread.join()


def http(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"220 mail.example ready\r\n", EngineNotRunning, "220 mail.example"),
        (http("404 Not Found", "{}"), EngineNotFound, "no Docker engine"),
        (http("200 OK", '{"version": 3}'), EngineNotFound, "no Docker engine"),
    ],
)
def test_something_that_is_no_engine(
    answer: bytes, kind: type[EngineError], words: str, place: Path
) -> None:
    with answering(place, answer) as url, pytest.raises(kind, match=words) as caught:
        connect(url)
    assert "unset DOCKER_HOST" in caught.value.remedy


def test_an_engine_that_goes_away_leaves_no_socket_open(place: Path) -> None:
    version = http("200 OK", '{"ApiVersion": "1.44"}')
    with answering(place, version) as url:
        engine = Engine({"DOCKER_HOST": url}, Deadline(20))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(EngineNotRunning), engine.calling("asking", Deadline(20)) as api:
            api.ping()
        engine.close()
        gc.collect()
    assert [str(warning.message) for warning in warned] == []


@pytest.mark.parametrize(
    "url", ["foo://bar", "tcp://", "tcp://localhost", "tcp://localhost:x", "fd://", "npipe:////./x"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(EngineError, match="can't be a Docker engine's address") as caught:
        connect(url)
    assert url in caught.value.what
    assert "unix:///" in caught.value.remedy


def test_a_bare_docker_host_is_never_shown_to_the_sdk(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = docker_kernel.backends.address
    monkeypatch.setattr(address, "default_url", lambda: f"unix://{place}/d")
    with pytest.raises(EngineError) as caught:
        Engine({"DOCKER_HOST": "localhost", "DOCKER_CONFIG": str(place)}, Deadline(20))
    assert str(place) in caught.value.what
