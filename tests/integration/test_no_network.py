"""A container without any network: the kernel talks to it through the engine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.contact import create_docker_client
from docker_kernel.sandbox import Sandbox
from docker_kernel.tools import run_shell_command, set_docker_client
from docker_kernel_server import messages as wire
from kernels import PATIENCE, Kernel


@pytest.fixture(scope="module")
def sandbox(image: str) -> Iterator[Sandbox]:
    made = Sandbox(Settings(image=image, mount_workspace=False, network="none"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Client:
    return sandbox.client()


def run(client: Client, command: str, stdin: str = "") -> str:
    events: list[wire.Event] = []
    request = wire.Run(client.new_id(), command, stdin=stdin)
    assert client.request(request, events.append).result(PATIENCE).status == 0
    return "".join(event.data for event in events if isinstance(event, wire.Chunk))


def test_there_is_nothing_but_loopback(
    client: Client, sandbox: Sandbox, docker_client: docker.DockerClient
) -> None:
    """E6, E7: and no port."""
    assert run(client, "ls /sys/class/net").split() == ["lo"]
    name = run(client, "cat /etc/hostname").strip()
    found = docker_client.api.inspect_container(name)
    assert found["HostConfig"]["NetworkMode"] == "none"
    assert not found["NetworkSettings"]["Ports"]
    assert "network none" in sandbox.describe()


def test_much_comes_whole_both_ways(client: Client) -> None:
    """O4"""
    lines = 300_000
    assert run(client, f"seq {lines}") == "".join(f"{n}\n" for n in range(1, lines + 1))
    text = "".join(random.Random(1).choices("abc\n", k=2_000_000))  # noqa: S311  (no secret)
    assert run(client, "cat", text) == text


def test_a_connection_needs_no_further_thread(sandbox: Sandbox, client: Client) -> None:
    """Code that has used up all processes locks nobody out."""
    code = "import threading\nended = threading.Event()\n"
    code += "while True: threading.Thread(target=ended.wait).start()"
    client.ask(wire.OpenSession(client.new_id(), "threads"), PATIENCE)
    full = client.request(wire.Execute(client.new_id(), "threads", code)).result(PATIENCE)
    assert full.reason == "error"
    with closing(sandbox.connection()) as another:
        assert another.ask(wire.Status(another.new_id()), PATIENCE)["sessions"]
    client.ask(wire.CloseSession(client.new_id(), "threads"), PATIENCE)


KILLING = """
import os, signal, time
for number in range(20):
    print(number, flush=True)
    time.sleep(0.05)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = open(f"/proc/{pid}/cmdline").read().split("\\0")
        if any(word.endswith("docker_kernel_server/relay.py") for word in words):
            os.kill(int(pid), signal.SIGKILL)
"""


def test_a_lost_stream_comes_back(client: Client) -> None:
    """P12: the program in between is one of the user's, and the code kills it again and again."""
    found = run(client, "cat > /tmp/killing.py; python3 /tmp/killing.py", KILLING)
    assert found.split() == [str(number) for number in range(20)]


def test_a_kernel(image: str, tmp_path: Path) -> None:
    """K9, C3: cells, a restart and an interrupt."""
    with Kernel(f"--image={image}", "--network=none", folder=tmp_path) as kernel:
        assert kernel.run("n = 6 * 7; n").result == "42"
        before = kernel.run("import socket; socket.gethostname()").result
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=PATIENCE)
        assert kernel.run("'n' in globals()").result == "False"
        assert kernel.run("import socket; socket.gethostname()").result == before


def test_tools(image: str) -> None:
    with create_docker_client(image=image, mount_workspace=False, network="none") as made:
        set_docker_client(made)
        try:
            assert run_shell_command("echo hello")["stdout"] == "hello\n"
        finally:
            set_docker_client(None)
