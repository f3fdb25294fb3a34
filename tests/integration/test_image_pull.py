"""Pulling an image, from a registry that the test serves itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound as NoSuchImage

from docker_kernel.backends import images
from docker_kernel.backends.docker import Engine as Connection
from docker_kernel.backends.images import ensure_image
from docker_kernel.deadline import Deadline
from docker_kernel.errors import ImageNotFound, StartTimeout
from engine import Engine
from kernels import PATIENCE
from registry import Registry, digest
from terminal import on_terminal

PROGRAM = "import sys; from docker_kernel.cli import main; sys.exit(main(['pull', *sys.argv[1:]]))"
COMMAND = [sys.executable, "-c", PROGRAM]


@pytest.fixture
def registry(docker_client: docker.DockerClient) -> Iterator[Registry]:
    """A registry that serves, and whose images are gone from the engine afterwards."""
    found = Registry("one")
    try:
        yield found
    finally:
        found.close()
        for item in docker_client.images.list(name=f"{found.host}/box"):
            docker_client.images.remove(str(item.id), force=True)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    found = Connection({"DOCKER_HOST": engine.host}, Deadline(30))
    yield found
    found.close()


def ensure(connection: Connection, name: str, policy: str) -> tuple[Any, list[str]]:
    """What the engine says of the image, and the lines of progress."""
    lines: list[str] = []
    return ensure_image(connection, name, policy, Deadline(60), lines.append), lines


def test_a_missing_image_is_pulled_with_progress_and_then_it_is_here(
    connection: Connection, registry: Registry
) -> None:
    name = f"{registry.host}/box:1"
    found, lines = ensure(connection, name, "missing")
    assert found["Id"] in registry.blobs
    assert lines[0] == f"pulling the image {name}"
    assert lines[-1] == f"pulled the image {name}"
    registry.put("two")
    # A local image is never replaced behind the person's back …
    again, lines = ensure(connection, name, "missing")
    assert (again["Id"], lines) == (found["Id"], [])
    assert ensure(connection, name, "never")[0]["Id"] == found["Id"]
    # … unless they ask for it.
    newer, lines = ensure(connection, name, "always")
    assert newer["Id"] in registry.blobs
    assert newer["Id"] != found["Id"]
    assert lines


def test_an_image_by_digest(connection: Connection, registry: Registry) -> None:
    name = f"{registry.host}/box@{digest(registry.manifest)}"
    assert ensure(connection, name, "missing")[0]["Id"] in registry.blobs


@pytest.mark.parametrize(
    ("name", "words"),
    [("box:2", "check the name and the tag"), ("private:1", "docker login")],
)
def test_what_cannot_be_pulled_has_its_own_remedy(
    connection: Connection, registry: Registry, name: str, words: str
) -> None:
    with pytest.raises(ImageNotFound) as caught:
        ensure(connection, f"{registry.host}/{name}", "missing")
    assert words in caught.value.remedy
    assert caught.value.why


def test_a_registry_that_is_away(
    connection: Connection, free_port: int, docker_client: docker.DockerClient
) -> None:
    name = f"127.0.0.1:{free_port}/box:1"
    with pytest.raises(ImageNotFound, match="check the network"):
        ensure(connection, name, "missing")
    with pytest.raises(ImageNotFound, match="never"):
        ensure(connection, name, "never")
    with pytest.raises(NoSuchImage):
        docker_client.images.get(name)


def test_a_pull_that_fails_leaves_the_local_image_alone(
    connection: Connection, registry: Registry
) -> None:
    name = f"{registry.host}/box:1"
    before, _ = ensure(connection, name, "missing")
    registry.blobs.clear()
    registry.manifest = b"{}"
    with pytest.raises(ImageNotFound):
        ensure(connection, name, "always")
    assert ensure(connection, name, "missing")[0]["Id"] == before["Id"]


def test_names_without_a_tag_mean_latest(connection: Connection, registry: Registry) -> None:
    with pytest.raises(ImageNotFound, match="manifest unknown"):
        ensure(connection, f"{registry.host}/box", "missing")


def test_a_pull_of_which_nothing_is_heard(
    connection: Connection, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E1: the time of a pull is the line's; but one that has come to a halt ends."""
    monkeypatch.setattr(images, "PULL_SILENCE_SECONDS", 2.0)
    registry.serving.clear()
    name = f"{registry.host}/box:1"
    with pytest.raises(StartTimeout, match="came to a halt") as caught:
        ensure(connection, name, "missing")
    assert f"docker pull {name}" in caught.value.remedy
    registry.serving.set()
    assert ensure(connection, name, "missing")[0]["Id"] in registry.blobs


# -- the command


def pull(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_command_pulls_and_says_what_is_here(
    registry: Registry, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E4: also where an older one is here, for then somebody has asked for it."""
    name = f"{registry.host}/box:1"
    done = pull(name, "--json")
    assert done.returncode == 0, done.stderr
    found = docker_client.images.get(name)
    size = found.attrs["Size"]
    said = {"image": name, "id": found.id, "size_bytes": size, "changed": True}
    assert json.loads(done.stdout) == said
    # The image of the settings, where none is named.
    monkeypatch.setenv("DOCKER_KERNEL_IMAGE", name)
    done = pull()
    assert done.stdout == f"{name} is here already, and the newest: {str(found.id)[:19]}\n"
    registry.put("two")
    assert json.loads(pull("--json").stdout)["changed"] is True


def test_the_command_says_why_it_can_not(registry: Registry) -> None:
    done = pull(f"{registry.host}/box:2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "can't be pulled" in done.stderr
    assert "check the name and the tag" in done.stderr


def test_the_command_draws_a_bar_on_a_terminal(registry: Registry) -> None:
    registry.put("x", os.urandom(1 << 20))
    code, printed, shown = on_terminal([*COMMAND, f"{registry.host}/box:1"])
    assert code == 0
    assert "is here: sha256:" in printed
    assert b"1 of 1 layers" in shown
    assert b"B/s" in shown
