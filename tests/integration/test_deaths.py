"""Each part dies at each moment, and nobody has to guess: what is told, what goes on, what is left.

The scenarios are in ../deaths.py. reliability.py runs all of them and measures; here are those that
differ in what they go through.
"""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

import deaths
from conftest import make_image, or_give_up
from deaths import (
    BLOWS,
    ENGINE,
    IDLE,
    IN_A_CELL,
    IN_INPUT,
    JUPYTER,
    KERNEL,
    STARTING,
    STREAMING,
    Scene,
    complaints,
)
from docker_kernel import absence, lifeline, sandbox, transport
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.errors import ConnectionLost
from docker_kernel.sandbox import Sandbox
from docker_kernel.session import Session
from docker_kernel_server.messages import Chunk, Event, Execute
from dockerd import cannot_start, connect
from kernels import Kernel
from system import wait_until


def owned(path: Path) -> Path:
    """A notebook's folder, of an ordinary user: the tests may run as root."""
    os.chown(path, 1000, 1000)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return owned(tmp_path_factory.mktemp("deaths"))


@pytest.fixture(scope="module")
def kernel(image: str, folder: Path) -> Iterator[Kernel]:
    """One kernel for many deaths."""
    with Kernel(f"--image={image}", folder=folder) as running:
        yield running


@pytest.fixture
def scene(docker_client: docker.DockerClient, folder: Path) -> Scene:
    return Scene(docker_client, folder)


@pytest.mark.parametrize(
    ("part", "moment"),
    [
        ("worker", IDLE),
        ("worker", IN_A_CELL),
        ("worker", IN_INPUT),
        ("worker", STREAMING),
        ("keeper", IDLE),
        ("keeper", IN_A_CELL),
        ("zygote", IN_INPUT),
        ("zygote", STREAMING),
        ("server", IDLE),
        ("server", IN_A_CELL),
        ("server", IN_INPUT),
        ("server", STREAMING),
        ("container: docker kill", IN_A_CELL),
        ("container: docker rm -f", IDLE),
        ("container: docker rm -f", STREAMING),
    ],
)
def test_a_part_dies_and_the_kernel_lives(
    kernel: Kernel, scene: Scene, part: str, moment: str
) -> None:
    """C5: told with its cause; the next cell works and says what was lost; nothing is left."""
    assert complaints(part, moment, deaths.die(kernel, scene, part, moment)) == []


@pytest.mark.parametrize("part", ["worker", "server", "container: docker rm -f"])
def test_a_part_dies_while_the_kernel_starts(
    image: str, docker_client: docker.DockerClient, tmp_path: Path, part: str
) -> None:
    """E1, C5"""
    assert part in BLOWS
    starting = Kernel(f"--image={image}", folder=owned(tmp_path))
    outcome = deaths.die_starting(starting, Scene(docker_client, tmp_path), part)
    assert complaints(part, STARTING, outcome) == []


@pytest.mark.parametrize("moment", [IDLE, IN_A_CELL, STREAMING])
def test_the_kernels_own_process_dies(kernel: Kernel, scene: Scene, moment: str) -> None:
    """E8: Jupyter starts it again; the container and its files are the same."""
    outcome = deaths.kill_kernel(kernel, scene, moment)
    assert complaints(KERNEL, moment, outcome) == []
    assert "the same container" in outcome.after


def test_nobody_starts_it_again(
    image: str, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """E8: the container goes with its lease."""
    kernel = Kernel(f"--image={image}", "--lease=5", folder=owned(tmp_path))
    assert deaths.lease_seconds(kernel, Scene(docker_client, tmp_path)) > 0


@pytest.mark.parametrize("moment", [STARTING, IN_A_CELL])
def test_jupyter_dies(
    image: str, docker_client: docker.DockerClient, tmp_path: Path, moment: str
) -> None:
    """E8: the kernel notices, and its container goes with it."""
    scene = Scene(docker_client, owned(tmp_path))
    outcome = deaths.kill_jupyter(scene, moment, f"--image={image}")
    assert complaints(JUPYTER, moment, outcome) == []


@pytest.mark.skipif(cannot_start() is not None, reason="only root on Linux can start an engine")
def test_the_engine_is_restarted(tmp_path: Path) -> None:
    """C5, E8: containers end with it; the same kernel works again when the engine does."""
    with (
        or_give_up(),
        deaths.own_engine() as engine,
        contextlib.closing(connect(engine.host)) as client,
    ):
        image = make_image("base", client)
        there = {"DOCKER_HOST": engine.host}
        with Kernel(f"--image={image}", folder=owned(tmp_path), env=there) as kernel:
            scene = Scene(client, tmp_path)
            outcome = deaths.restart_engine(kernel, scene, engine, IN_A_CELL)
            assert complaints(ENGINE, IN_A_CELL, outcome) == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed sooner."""
    monkeypatch.setattr(lifeline, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(lifeline, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(lifeline, "KEEP_SECONDS", 0.05)
    monkeypatch.setattr(absence, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(absence, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(transport, "HELLO_SECONDS", 0.5)
    monkeypatch.setattr(sandbox, "RETURN_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_the_container_is_paused(
    image: str, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """E8: the person is told what to type; nothing is removed, and after it nothing is missing."""
    chosen = {"mode": "docker", "image": image, "workspace": str(owned(tmp_path))}
    environ = {f"DOCKER_KERNEL_{name.upper()}": value for name, value in chosen.items()}
    notices: queue.Queue[str] = queue.Queue()
    place = Sandbox(Settings.load(environ=environ), on_notice=notices.put)
    try:
        session = Session(place, "main")
        client = session.client()
        execute(client, "kept = 42")
        container = Scene(docker_client, tmp_path).container()
        words = f"{container.name} is paused; type: docker unpause {container.name}"
        deaths.freeze(container)
        events: list[Event] = []
        call = client.request(Execute(client.new_id(), "main", "print(kept)"), events.append)
        assert words in notices.get(timeout=deaths.PATIENCE)
        for _ in range(2):
            with pytest.raises(ConnectionLost, match=words):
                session.client()
        container.unpause()
        assert call.result(deaths.PATIENCE).status == 0
        assert [event.data for event in events if isinstance(event, Chunk)] == ["42\n"]
        # The same where the person has given up, and this side has no connection at all.
        deaths.freeze(container)
        assert wait_until(lambda: client.give_up("you did"), deaths.PATIENCE)
        assert wait_until(lambda: client.lost, deaths.PATIENCE)
        with pytest.raises(ConnectionLost, match=words):
            session.client()
        container.unpause()
        assert execute(session.client(), "print(kept)") == "42\n"
        assert Scene(docker_client, tmp_path).container().id == container.id
    finally:
        place.stop()


def execute(client: Client, code: str) -> str:
    """Run a cell to its end; what it has printed."""
    events: list[Event] = []
    call = client.request(Execute(client.new_id(), "main", code), events.append)
    assert call.result(deaths.PATIENCE).status == 0
    return "".join(event.data for event in events if isinstance(event, Chunk))


def test_a_paused_container_goes_with_its_kernel(
    image: str, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """E8"""
    scene = Scene(docker_client, owned(tmp_path))
    with Kernel(f"--image={image}", folder=tmp_path) as kernel:
        kernel.run("1")
        deaths.freeze(scene.container())
    assert wait_until(lambda: not scene.containers(), deaths.PATIENCE)
