"""Podman's Docker-compatible socket: what docs/engines.md says of it, seen for real."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from conftest import or_give_up
from docker_kernel import files
from docker_kernel.backends.committing import COMMITTED
from docker_kernel.backends.docker import Engine as OurEngine
from docker_kernel.backends.sweeping import _seconds_without_client as without_client
from docker_kernel.backends.sweeping import look
from docker_kernel.backends.volumes import LIKE_LABEL
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import ConnectionLost
from docker_kernel.manage import keeping
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire
from kernels import PATIENCE, Kernel
from podman import Podman
from system import wait_until
from wheels import wheel


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    made = Podman()
    with or_give_up():
        running = made.running()
        running.__enter__()
    yield made
    running.__exit__(None, None, None)


@pytest.fixture(scope="module")
def there(podman: Podman, image: str, docker_client: docker.DockerClient) -> str:
    """The image's name in there."""
    return podman.bring(image, docker_client)


@pytest.fixture(autouse=True)
def by_podman(podman: Podman, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", podman.host)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("folder")
    os.chown(made, 1000, 1000)
    return made


@pytest.fixture(scope="module")
def sandbox(podman: Podman, there: str, folder: Path) -> Iterator[Sandbox]:
    """One container for many looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", podman.host)
        made = Sandbox(Settings(image=there, workspace=str(folder)))
        made.client()
    yield made
    made.stop()


def text_of(sandbox: Sandbox, command: str) -> str:
    events: list[wire.Event] = []
    client = sandbox.client()
    request = wire.Run(client.new_id(), command)
    assert client.request(request, events.append).result(PATIENCE).status == 0
    return "".join(event.data for event in events if isinstance(event, wire.Chunk))


def test_it_is_as_hard_to_get_out_as_elsewhere(sandbox: Sandbox) -> None:
    """E7"""
    status = text_of(sandbox, "cat /proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert text_of(sandbox, "id -u; cat /proc/1/comm").split()[0] == "1000"
    limits = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>/dev/null || cat "
    limits += "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max"
    assert text_of(sandbox, limits).split() == ["2147483648", "512"]
    assert text_of(sandbox, "touch /opt/docker-kernel/x 2>&1; echo $?").split()[-1] == "1"


def test_files_belong_to_the_caller_and_the_port_to_this_machine(
    sandbox: Sandbox, folder: Path
) -> None:
    """E5, E7"""
    text_of(sandbox, "echo made > made")
    assert (folder / "made").stat().st_uid == 1000
    assert stat.S_ISREG((folder / "made").stat().st_mode)
    endpoint = sandbox.endpoint
    assert endpoint is not None
    assert endpoint.host == "127.0.0.1"
    data = os.urandom(2_000_000)
    files.put(sandbox.client(), data, "/workspace/data")
    assert (folder / "data").read_bytes() == data


def test_a_kernel(there: str, tmp_path: Path) -> None:
    """K9: also without a network, and its restart keeps the container."""
    with Kernel(
        f"--image={there}",
        "--network=none",
        "--no-mount-workspace",
        folder=tmp_path,
    ) as kernel:
        before = kernel.run("import socket; socket.gethostname()").result
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=PATIENCE)
        assert kernel.run("import socket; socket.gethostname()").result == before


def test_what_is_left_is_found(there: str) -> None:
    """E8: by labels, and by the log and the clock of Podman."""
    made = Sandbox(Settings(image=there, mount_workspace=False, network="none"))
    try:
        made.client()
        name = (made.handover() or {})["container"]
        with closing(OurEngine(os.environ, Deadline(10))) as engine:
            (found,) = [item for item in look(engine, Deadline(10)) if item.name == name]
            assert found.why == f"its process {os.getpid()} lives"
            made.leave()
            assert wait_until(lambda: without_client(engine, name, Deadline(10)) is not None, 20)
    finally:
        made._backend().stop()


def test_why_it_ended(there: str) -> None:
    """E1: the exit status, from Podman's own events."""
    made = Sandbox(Settings(image=there, mount_workspace=False, network="none"))
    try:
        client = made.client()
        name = (made.handover() or {})["container"]
        request = client.request(wire.Run(client.new_id(), "sleep 100"))
        engine = OurEngine(os.environ, Deadline(10))
        with closing(engine), engine.calling("killing", Deadline(10)) as api:
            api.kill(name)
        with pytest.raises(ConnectionLost, match="ended with status 137"):
            request.result(PATIENCE)
    finally:
        made.stop()


def test_what_is_kept_of_a_container(sandbox: Sandbox, folder: Path) -> None:
    """An image, and what is written down."""
    package = wheel(folder, "kept_one").name
    text_of(sandbox, f"python3 -m pip install -q --no-index ./{package}")
    assert "kept_one 1.0 came from file:" in keeping.freeze(sandbox, print, force=True)
    with closing(docker.DockerClient(os.environ["DOCKER_HOST"])) as client:
        nameless = client.images.list(filters={"dangling": True})
    said = keeping.commit(sandbox, f"podman-{folder.parent.name}".lower(), print, "use")
    name = said.split()[2]
    with closing(docker.DockerClient(os.environ["DOCKER_HOST"])) as client:
        try:
            config = client.images.get(name).attrs["Config"]
            assert not config["Entrypoint"]
            assert (config["Cmd"], config["User"]) == (["python3"], "0")
            labels = {key for key, value in config["Labels"].items() if value}
            assert labels == {COMMITTED, LIKE_LABEL}
            assert client.images.list(filters={"dangling": True}) == nameless
            look = ["python3", "-c", "import kept_one; print(kept_one.name)"]
            assert client.containers.run(name, look, remove=True) == b"kept_one\n"
        finally:
            client.images.remove(name)
