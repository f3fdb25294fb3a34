"""A container that somebody else runs: the server is brought into it, and it goes on (E3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from conftest import or_give_up
from docker_kernel.config import Settings
from docker_kernel.errors import ImageHasNoPython, ServerNotThere
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire
from engine import Engine
from far import Certificates, Front, outer_address
from kernels import PATIENCE, Kernel, OrdinaryKernel
from system import wait_until


@pytest.fixture(scope="module")
def theirs(image: str, docker_client: docker.DockerClient) -> Iterator[Container]:
    """A running container, of an ordinary user, with a folder of its own."""
    container = docker_client.containers.run(
        image, ["sleep", "600"], detach=True, user="1000:1000", working_dir="/srv", init=True
    )
    yield container
    container.remove(force=True)


def servers(container: Container) -> list[str]:
    """The command lines of our processes in it."""
    lines = [" ".join(process) for process in container.top()["Processes"] or []]
    return [line for line in lines if "tcp_server.py" in line]


def test_a_kernel_joins_a_running_container(theirs: Container, tmp_path: Path) -> None:
    for _ in range(2):  # the second finds what the first has brought
        with Kernel(f"--container={theirs.name}", folder=tmp_path) as kernel:
            here = kernel.run("import os, socket; socket.gethostname(), os.getcwd(), os.getuid()")
            assert here.result == f"('{theirs.short_id}', '/srv', 1000)"
            assert kernel.run("get_ipython().__class__.__name__").result == "'ZMQInteractiveShell'"
            kernel.run("x = 1")
            assert str(theirs.name) in str(kernel.ask("kernel_info")["banner"])
            kernel.manager.restart_kernel()
            kernel.client.wait_for_ready(timeout=60)
            assert kernel.run("'x' in globals()").result == "False"
            assert len(servers(theirs)) == 1
        assert wait_until(lambda: servers(theirs) == [], 10)
        theirs.reload()
        assert theirs.status == "running"


def test_a_running_container_of_an_engine_elsewhere(
    theirs: Container,
    engine: Engine,
    docker_client: docker.DockerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """E3: over TLS, and its network is out of reach."""
    with or_give_up():
        host = outer_address(docker_client)
    certificates = Certificates(tmp_path, host)
    with Front(host, engine.host.removeprefix("unix://"), certificates.context()) as front:
        monkeypatch.setenv("DOCKER_HOST", front.url)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates.folder))
        sandbox = Sandbox(Settings(container=str(theirs.name)))
        try:
            client = sandbox.client()
            request = wire.Run(client.new_id(), "test -d /srv")
            assert client.request(request).result(PATIENCE).status == 0
        finally:
            sandbox.stop()
        assert wait_until(lambda: servers(theirs) == [], 10)


def test_magics_join_a_running_container(theirs: Container, image: str, tmp_path: Path) -> None:
    """M5."""
    with OrdinaryKernel(folder=tmp_path, env={"DOCKER_KERNEL_IMAGE": image}) as kernel:
        kernel.run("%load_ext docker_kernel")
        said = kernel.run(f"%docker connect {theirs.name}")
        assert str(theirs.name) in said.text("stderr")
        cell = kernel.run("%%docker\nimport socket; socket.gethostname()")
        assert cell.result == f"'{theirs.short_id}'"
        assert kernel.run("%docker reset").status == "error"
        kernel.run("%docker stop")
        assert wait_until(lambda: servers(theirs) == [], 10)
    theirs.reload()
    assert theirs.status == "running"


def test_a_killed_host_leaves_nothing_in_it(theirs: Container, tmp_path: Path) -> None:
    """E8."""
    with Kernel(f"--container={theirs.name}", folder=tmp_path) as kernel:
        kernel.run("1")
        os.kill(kernel.pid, 9)
        assert wait_until(lambda: servers(theirs) == [], 10)


def start(name: str) -> None:
    sandbox = Sandbox(Settings(container=name))
    try:
        client = sandbox.client()
        client.ask(wire.Status(client.new_id()))
    finally:
        sandbox.stop()


def test_what_cannot_be_joined(
    theirs: Container, nopython_image: str, docker_client: docker.DockerClient
) -> None:
    with pytest.raises(ServerNotThere, match="docker ps --all"):
        start("no-such-container")
    theirs.pause()
    with pytest.raises(ServerNotThere, match="docker unpause"):
        start(str(theirs.name))
    theirs.unpause()
    theirs.stop(timeout=0)
    with pytest.raises(ServerNotThere, match="docker start"):
        start(str(theirs.name))
    without_python = docker_client.containers.run(nopython_image, ["sleep", "600"], detach=True)
    try:
        with pytest.raises(ImageHasNoPython, match="no Python was found in the container"):
            start(str(without_python.name))
    finally:
        without_python.remove(force=True)


def test_a_container_without_a_network(image: str, docker_client: docker.DockerClient) -> None:
    """E3: through the engine."""
    alone = docker_client.containers.run(image, ["sleep", "600"], detach=True, network_mode="none")
    sandbox = Sandbox(Settings(container=alone.name))
    try:
        client = sandbox.client()
        client.ask(wire.OpenSession(client.new_id(), "main"), PATIENCE)
        call = client.request(wire.Execute(client.new_id(), "main", "1 / 0"))
        assert call.result(PATIENCE).reason == "error"
    finally:
        sandbox.stop()
        alone.remove(force=True)
