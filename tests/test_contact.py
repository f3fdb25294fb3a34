"""Without a container (A2), and clients: made, chosen, closed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from docker_kernel import aio, commands, tools
from docker_kernel.commands import Command
from docker_kernel.contact import ContainerClient, NotConnected
from docker_kernel.errors import SettingError
from docker_kernel.sockets import TcpStream
from system import alive, wait_until
from tooling import CALLS, LOGGER, SURFACE, names, unreachable, using
from wire import PATIENCE, Server, gone


@pytest.fixture
def client(server: Server) -> Iterator[ContainerClient]:
    """A client of the server, and in use."""
    with using(server.port) as made:
        yield made


# ---- no container (A2)


def no_process(*_args: object, **_keys: object) -> None:
    raise AssertionError("a process was started on this machine")


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, from which no process can be started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", no_process)
    monkeypatch.setattr(os, "system", no_process)
    (tmp_path / "made.py").write_text("open('made', 'w')")
    return tmp_path


@pytest.mark.parametrize("name", CALLS)
def test_nobody_listens(
    name: str, outside: Path, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A2"""
    with using(free_port):
        assert getattr(tools, name)(*CALLS[name]) == unreachable("localhost", free_port)

        async def call() -> Any:
            return await getattr(aio, name)(*CALLS[name])

        assert asyncio.run(call()) == unreachable("localhost", free_port)
    assert names(outside) == ["made.py"]
    (first, second) = caplog.records
    assert (first.name, first.levelno) == (LOGGER, logging.WARNING)
    assert "To mend it" in first.getMessage() == second.getMessage()


@pytest.mark.parametrize(
    ("environ", "host", "port", "why"),
    [
        ({"DOCKER_HOST": "127.0.0.1", "DOCKER_PORT": "PORT"}, "127.0.0.1", None, "no server"),
        ({"DOCKER_HOST": "127.0.0.1:PORT"}, "127.0.0.1", None, "no server"),
        ({"DOCKER_PORT": "PORT", "DOCKER_TIMEOUT": "5"}, "localhost", None, "no server"),
        ({"DOCKER_HOST": "unix:///nowhere.sock"}, "localhost", 8000, "no Docker engine"),
        ({"DOCKER_PORT": "many"}, "localhost", 8000, "correct DOCKER_PORT"),
        ({"DOCKER_KERNEL_MEMORY": "little"}, "localhost", 8000, "memory is 'little'"),
    ],
)
def test_what_the_environment_names_is_not_there(
    environ: dict[str, str],
    host: str,
    port: int | None,
    why: str,
    outside: Path,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A2: the cause is in the log, and whole in test_docker_connection."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value.replace("PORT", str(free_port)))
    tools.set_docker_client(None)
    port = port or free_port
    assert tools.run_python_code("open('made', 'w')") == unreachable(host, port)
    assert why in caplog.text
    result = tools.test_docker_connection()
    assert set(result) == SURFACE["test_docker_connection"][1]
    assert (result["success"], result["host"], result["port"]) == (False, host, port)
    assert result["message"] == f"Cannot connect to Docker container at {host}:{port}"
    assert why in result["error"]
    assert "To mend it" in result["error"]
    assert names(outside) == ["made.py"]
    tools.set_docker_client(None)


def test_a_server_that_goes_away(tmp_path: Path) -> None:
    """A2, O7: what was printed is there, and what is said is true; the next call is a plain A2."""
    with Server(tmp_path) as server, using(server.port):

        def end(_stream: str, _text: str) -> None:
            server.process.kill()

        result = tools.run_shell_command("echo on; sleep 4321", stream_output=end)
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert result["stdout"] == "on\n"
        assert "not known" in result["error"]
        assert tools.run_shell_command("true") == unreachable("localhost", server.port)


def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    with Server(tmp_path) as server, using(server.port):

        def end(_stream: str, _text: str) -> None:
            server.process.terminate()

        result = tools.run_shell_command("echo on; sleep 4321", stream_output=end)
        assert (result["success"], result["exit_code"]) == (False, -1)
        assert "told to stop" in result["error"] or "not known" in result["error"]


def test_a_server_that_comes_back(tmp_path: Path) -> None:
    with Server(tmp_path) as server, using(server.port):
        assert tools.run_shell_command("true")["success"]
        server.kill()
        assert not tools.run_shell_command("true")["success"]
        with Server(tmp_path, port=server.port):
            assert tools.run_shell_command("true")["success"]


def test_a_server_that_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A4: the call ends all the same, some time after its timeout."""
    monkeypatch.setattr(commands, "LATE_SECONDS", 0.5)
    monkeypatch.setattr(commands, "CANCEL_SECONDS", 0.5)
    with Server(tmp_path) as server, using(server.port):

        def stop(_stream: str, _text: str) -> None:
            server.process.send_signal(signal.SIGSTOP)

        result = tools.run_shell_command("echo on; sleep 4321", timeout=1, stream_output=stop)
        server.process.send_signal(signal.SIGCONT)
        assert (result["exit_code"], result["stdout"]) == (124, "on\n")
        assert "does not answer" in result["error"]
        assert gone(server, "sleep 4321")


# ---- clients


def test_a_client_connects_when_it_is_used(free_port: int, tmp_path: Path) -> None:
    made = tools.create_docker_client("127.0.0.1", free_port, 5)
    assert (made.host, made.port) == ("127.0.0.1", free_port)
    assert made.settings.start_timeout == 5
    with Server(tmp_path, port=free_port), made:
        tools.set_docker_client(made)
        assert tools.get_docker_client() is made
        assert tools.run_shell_command("echo hi")["stdout"] == "hi\n"
    assert made.closed


def test_a_closed_client_is_not_used_any_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "localhost")
    monkeypatch.setenv("DOCKER_PORT", str(server.port))
    tools.set_docker_client(None)
    first = tools.get_docker_client()
    assert tools.get_docker_client() is first
    assert tools.run_shell_command("true")["success"]
    first.close()
    first.close()
    assert tools.run_shell_command("true")["success"]
    second = tools.get_docker_client()
    assert second is not first
    second.close()


def test_whoever_holds_a_closed_client_is_told(server: Server) -> None:
    made = tools.create_docker_client(port=server.port)
    made.close()
    with pytest.raises(NotConnected) as raised:
        made.run(Command("true"))
    assert "create_docker_client()" in str(raised.value.__cause__)


def test_a_client_closed_while_it_is_used(server: Server) -> None:
    """Its commands end, and say why."""
    with using(server.port) as made:

        def close(_stream: str, _text: str) -> None:
            threading.Thread(target=made.close).start()

        result = tools.run_shell_command("echo on; sleep 1; echo off", stream_output=close)
        assert result["stdout"].startswith("on\n")


def test_only_one_default_client_is_made(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_PORT", str(server.port))
    tools.set_docker_client(None)
    with ThreadPoolExecutor(16) as pool:
        (one,) = set(pool.map(lambda _: tools.get_docker_client(), range(64)))
    one.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"imge": "python:3.12"}, "did you mean image?"),
        ({"memory": "much"}, "memory is 'much'"),
        ({"port": 70000}, "port is 70000"),
    ],
)
def test_a_setting_that_is_wrong(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words.replace("?", r"\?")):
        tools.create_docker_client(**settings)


def test_jupyters_files_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E12: arguments > environment > files."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    (tmp_path / "docker_kernel_config.py").write_text(
        "c.Settings.image = 'file'; c.Settings.memory = '1g'; c.Settings.pids = 100"
    )
    monkeypatch.setenv("DOCKER_KERNEL_MEMORY", "3g")
    monkeypatch.setenv("DOCKER_KERNEL_PIDS", "300")
    settings = tools.create_docker_client(pids=400).settings
    assert (settings.image, settings.memory, settings.pids) == ("file", "3g", 400)


def test_a_server_with_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """P6"""
    (tmp_path / "secret").write_text("an example secret\n")
    with Server(tmp_path, secret="an example secret") as server:
        with using(server.port, secret_file=str(tmp_path / "secret")):
            assert tools.run_shell_command("echo hi")["stdout"] == "hi\n"
        with using(server.port):
            assert tools.run_shell_command("touch in") == unreachable("localhost", server.port)
    assert "secret" in caplog.text
    assert not (tmp_path / "in").exists()


def test_each_command_has_its_own_connection(
    client: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And closes it."""
    opened: list[TcpStream] = []
    make = TcpStream.__init__

    def note(self: TcpStream, *args: Any) -> None:
        make(self, *args)
        opened.append(self)

    assert tools.run_shell_command("true")["success"]
    monkeypatch.setattr(TcpStream, "__init__", note)
    for _ in range(3):
        assert tools.run_shell_command("true")["success"]
    assert len(opened) == 3
    assert all(stream.socket.fileno() == -1 for stream in opened)
    assert not client.closed


LOCAL = """
import logging, sys
from docker_kernel import run_python_code, get_environment_info
logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s", level=logging.WARNING)
print(run_python_code("import os; print(os.getppid())")["stdout"])
print(get_environment_info()["execution_mode"])
"""


def test_the_end_of_the_program_ends_its_server(tmp_path: Path) -> None:
    """E10: without a container only where that was asked for, with a loud warning."""
    done = subprocess.run(
        [sys.executable, "-c", LOCAL],
        cwd=tmp_path,
        env={**os.environ, "DOCKER_KERNEL_MODE": "local"},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    warning, pid, _, mode = done.stdout.splitlines()
    assert warning.startswith(f"{LOGGER} THERE IS NO CONTAINER")
    assert mode == "This machine, without a container"
    assert wait_until(lambda: not alive(int(pid)), PATIENCE)
