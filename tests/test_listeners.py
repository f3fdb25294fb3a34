"""A frontend finds a port that is listened on before the kernel has its channels."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from docker_kernel.listeners import CHANNELS, Listeners, connection_file
from kernels import PATIENCE
from ports import spare_port

IP = "127.0.0.1"


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    made = Listeners()
    yield made
    made.close()


def write(folder: Path, **changed: object) -> tuple[str, list[int]]:
    """A connection file, and its ports."""
    ports = [spare_port() for _ in CHANNELS]
    path = folder / "kernel.json"
    data = {"ip": IP, "transport": "tcp", **dict(zip(CHANNELS, ports, strict=True)), **changed}
    path.write_text(json.dumps(data))
    return str(path), ports


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((IP, port)) == 0


def test_zeromq_takes_over_what_has_connected_and_sent_already(
    tmp_path: Path, listeners: Listeners
) -> None:
    path, (port, *_) = write(tmp_path)
    listeners.open(path)
    with zmq.Context() as context, context.socket(zmq.DEALER) as frontend:
        frontend.linger = 0
        frontend.rcvtimeo = int(PATIENCE * 1000)
        # It won't try a second time.
        frontend.reconnect_ivl = -1
        with frontend.get_monitor_socket(zmq.EVENT_CONNECTED) as watch:
            frontend.connect(f"tcp://{IP}:{port}")
            frontend.send(b"who are you?")
            assert watch.poll(int(PATIENCE * 1000))
            frontend.disable_monitor()
        with context.socket(zmq.ROUTER) as channel:
            channel.linger = 0
            channel.rcvtimeo = int(PATIENCE * 1000)
            taken = listeners.take(IP, port)
            assert taken is not None
            channel.setsockopt(zmq.USE_FD, taken)
            channel.bind(f"tcp://{IP}:{port}")
            name, question = channel.recv_multipart()
            assert question == b"who are you?"
            channel.send_multipart([name, b"a kernel"])
            assert frontend.recv() == b"a kernel"


def test_each_channel_is_taken_once_and_the_rest_closed(
    tmp_path: Path, listeners: Listeners
) -> None:
    path, ports = write(tmp_path)
    listeners.open(path)
    assert all(map(listens, ports))
    taken = listeners.take(IP, ports[0])
    assert taken is not None
    assert listeners.take(IP, ports[0]) is None
    assert (os.get_blocking(taken), os.get_inheritable(taken)) == (False, False)
    with socket.socket(fileno=taken):
        listeners.close()
        assert [listens(port) for port in ports] == [True, False, False, False]


def test_another_address_of_the_same_port_can_be_bound(
    tmp_path: Path, listeners: Listeners
) -> None:
    path, (port, *_) = write(tmp_path)
    listeners.open(path)
    assert listeners.take("0.0.0.0", port) is None  # noqa: S104
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))  # noqa: S104


def test_nothing_is_opened_that_its_taker_would_miss(tmp_path: Path, listeners: Listeners) -> None:
    path, ports = write(tmp_path)
    assert listeners.take(IP, ports[0]) is None
    listeners.open(path)
    assert not any(map(listens, ports))


def test_a_port_that_is_taken_is_left_to_who_can_say_so(
    tmp_path: Path, listeners: Listeners
) -> None:
    path, (port, *_) = write(tmp_path)
    with socket.socket() as stranger:
        stranger.bind((IP, port))
        stranger.listen()
        listeners.open(path)
        assert listeners.take(IP, port) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"transport": "ipc"},
        {"ip": "nowhere.invalid"},
        {"ip": ""},
        {"ip": "*"},
        {"shell_port": "a"},
        {"shell_port": None},
        {"shell_port": 0, "iopub_port": 0, "stdin_port": 0, "control_port": 0},
        {"shell_port": 70_000},
    ],
)
def test_what_can_not_be_listened_on_is_left_alone(
    tmp_path: Path, listeners: Listeners, changed: dict[str, object]
) -> None:
    path, ports = write(tmp_path, **changed)
    listeners.open(path)
    assert not listens(ports[0])


@pytest.mark.parametrize("text", ["", "[]", "{}", '"tcp"', "null", "\ud800"])
def test_a_file_that_is_none_is_no_news(tmp_path: Path, listeners: Listeners, text: str) -> None:
    path = tmp_path / "kernel.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    listeners.open(str(path))
    listeners.open(str(tmp_path / "none.json"))
    assert listeners.take(IP, 1) is None


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (["-f", "a.json"], "a.json"),
        (["--memory=1g", "-f=a.json"], "a.json"),
        (["--f", "a.json", "--memory=1g"], "a.json"),
        (["--IPKernelApp.connection_file=a b.json"], "a b.json"),
        (["-f"], ""),
        (["--memory", "1g"], ""),
        ([], ""),
    ],
)
def test_the_connection_file_on_a_command_line(argv: list[str], found: str) -> None:
    assert connection_file(argv) == found


def test_a_kernel_listens_before_its_slow_imports() -> None:
    """Else a frontend that connects at once tries again only 0.1 to 0.2 s later."""
    slow = {"traitlets", "zmq", "docker_kernel.launcher"}
    code = f"import docker_kernel.launch, sys; print({slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
