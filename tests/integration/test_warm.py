"""Containers that are started ahead: who takes them, and what becomes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound

from docker_kernel.backends import sweeping, warm
from docker_kernel.backends.owners import unmark_taken
from docker_kernel.cli import main
from docker_kernel.config import Settings
from docker_kernel.sandbox import Sandbox
from docker_kernel_server.messages import Execute, OpenSession
from system import wait_until

PATIENCE = 60

HOST = """
import sys
from docker_kernel.backends import warm
from docker_kernel.config import Settings
from docker_kernel.sandbox import Sandbox
warm.REST_SECONDS = 0.0
sandbox = Sandbox(Settings.load())
sandbox.client()
print(sandbox.container, flush=True)
sys.stdin.read()
sandbox.stop()
"""

Make = Callable[..., Sandbox]


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the notes, which is this test's own."""
    folder = tmp_path / "runtime"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    monkeypatch.setattr(warm, "REST_SECONDS", 0.0)
    return folder


def kept(notes: Path) -> list[str]:
    """The containers that wait, by their notes."""
    found = []
    for path in sorted(notes.glob("docker-kernel-warm-*.docker-kernel")):
        with suppress(OSError, ValueError):  # it is being taken
            found.append(json.loads(path.read_text())["container"])
    return found


@pytest.fixture
def make(image: str, notes: Path, docker_client: docker.DockerClient) -> Iterator[Make]:
    """Makes sandboxes, which end with the test, as do the containers that wait then."""
    made: list[Sandbox] = []

    def sandbox(**more: object) -> Sandbox:
        keys = {"image": image, "mount_workspace": False, "warm": 1, **more}
        made.append(Sandbox(Settings(**keys)))
        return made[-1]

    yield sandbox
    for each in made:
        each.stop()
    for name in kept(notes):
        with suppress(NotFound):
            docker_client.api.remove_container(name, force=True)


def answer(sandbox: Sandbox) -> str:
    """What a cell says in it."""
    client = sandbox.client()
    client.ask(OpenSession(client.new_id(), "main"), PATIENCE)
    said: list[object] = []
    call = client.request(Execute(client.new_id(), "main", "print(6 * 7)"), said.append)
    assert call.result(PATIENCE).status == 0
    return str(said)


def test_the_next_kernel_takes_what_was_started_ahead(make: Make, notes: Path) -> None:
    """E3: it is of the same settings, runs cells, and ends with its kernel; another one follows."""
    first = make()
    first.client()
    assert wait_until(lambda: len(kept(notes)) == 1, PATIENCE)
    (waiting,) = kept(notes)
    assert waiting != first.container
    (note,) = notes.iterdir()
    assert note.stat().st_mode & 0o777 == 0o600
    second = make()
    assert "42" in answer(second)
    assert second.container == waiting
    assert wait_until(lambda: len(kept(notes)) == 1, PATIENCE)
    assert kept(notes) != [waiting]
    # Of other settings, and so not for this one.
    other = make(memory="1g", warm=0)
    assert "42" in answer(other)
    assert other.container not in (*kept(notes), waiting)


def test_one_that_is_gone_costs_nothing(
    make: Make, notes: Path, docker_client: docker.DockerClient
) -> None:
    """E3: as when its lease has ended it. The note goes with it."""
    make().client()
    assert wait_until(lambda: len(kept(notes)) == 1, PATIENCE)
    (gone,) = kept(notes)
    docker_client.api.remove_container(gone, force=True)
    second = make()
    assert "42" in answer(second)
    assert second.container != gone
    assert wait_until(lambda: len(kept(notes)) == 1, PATIENCE)
    assert kept(notes) != [gone]


def test_it_outlives_its_maker_until_it_was_used(
    make: Make,
    image: str,
    notes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """E8: prune leaves it to its lease, and takes it where its kernel was killed."""
    environ = {
        **os.environ,
        "DOCKER_KERNEL_IMAGE": image,
        "DOCKER_KERNEL_MOUNT_WORKSPACE": "false",
        "DOCKER_KERNEL_WARM": "1",
    }
    command = [sys.executable, "-c", HOST]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert wait_until(lambda: len(kept(notes)) == 1, PATIENCE)
        process.communicate()
    (waiting,) = kept(notes)

    def prune() -> tuple[str, str]:
        capsys.readouterr()
        assert main(["prune", "--json"]) == 0
        items = json.loads(capsys.readouterr().out)["items"]
        found = ((item["outcome"], item["why"]) for item in items if item["name"] == waiting)
        return next(found, ("removed", "by who sweeps this engine meanwhile"))

    assert prune() == (
        "kept",
        "it was started ahead and waits for a kernel; else its lease ends it",
    )
    taker = make()
    assert "42" in answer(taker)
    assert taker.container == waiting
    assert prune()[0] == "kept"
    # As if this process were dead, too.
    taker.leave()
    unmark_taken(waiting)
    monkeypatch.setattr(sweeping, "RESTART_SECONDS", 0.0)
    assert wait_until(lambda: prune()[0] == "removed", PATIENCE)
