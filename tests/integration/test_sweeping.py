"""What a killed process leaves on the engine ends by itself or is swept; what is in use stays."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from docker_kernel.backends import sweeping
from docker_kernel.backends.container import DockerBackend
from docker_kernel.backends.labels import PREFIX, labels
from docker_kernel.backends.owners import Owner, unmark_taken
from docker_kernel.cli import main
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.sandbox import Sandbox
from system import wait_until

PRUNE = "import sys; from docker_kernel.cli import main; sys.exit(main(['prune', '--json']))"

HOST = """
import sys
from docker_kernel.config import Settings
from docker_kernel.sandbox import Sandbox
sandbox = Sandbox(Settings.load())
sandbox.client()
print(sandbox.handover(), flush=True)
sys.stdin.read()
"""


def settings(image: str, **more: str) -> Settings:
    chosen = {"mode": "docker", "image": image, "mount_workspace": "false", **more}
    return Settings.load(environ={f"DOCKER_KERNEL_{k.upper()}": v for k, v in chosen.items()})


@contextmanager
def host(image: str, lease: str) -> Iterator[dict[str, str]]:
    """A process with a container; killed with kill -9 at the end. Gives its handover."""
    environ = {
        **os.environ,
        "DOCKER_KERNEL_IMAGE": image,
        "DOCKER_KERNEL_MOUNT_WORKSPACE": "false",
        "DOCKER_KERNEL_LEASE": lease,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", HOST],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield ast.literal_eval(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def orphan(image: str, docker_client: docker.DockerClient) -> Iterator[dict[str, str]]:
    """The handover of a running container with a long lease, whose process was killed."""
    with host(image, lease="3600") as note:
        pass
    assert wait_until(lambda: is_alone(docker_client, note["container"]), 60)
    yield note
    with suppress(NotFound):
        docker_client.containers.get(note["container"]).remove(force=True)


@pytest.fixture(scope="module")
def dead() -> Owner:
    """A process of this machine and user that has ended."""
    tell = "from docker_kernel.backends.owners import Owner; print(Owner.me().words())"
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    owner = Owner.read(ast.literal_eval(done.stdout))
    assert owner is not None
    return owner


@pytest.fixture
def made(image: str, docker_client: docker.DockerClient) -> Iterator[Callable[..., str]]:
    """Makes containers that are not started: named, and with the labels of an owner."""
    ids: list[str] = []

    def create(name: str, owner: Owner | None, **more: str) -> str:
        marks = dict(more)
        if owner is not None:
            words = {f"{PREFIX}owner.{key}": value for key, value in owner.words().items()}
            marks = {**labels("kernel", name), **words, **marks}
        ids.append(docker_client.api.create_container(image, "true", name=name, labels=marks)["Id"])
        return name

    yield create
    for item in ids:
        with suppress(NotFound):
            docker_client.api.remove_container(item, force=True)


def prune(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[str, str]]:
    """What prune says: outcome and reason by name."""
    capsys.readouterr()
    assert main(["prune", "--json", *words]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["dry_run"] == ("--dry-run" in words)
    return {item["name"]: (item["outcome"], item["why"]) for item in said["items"]}


def is_there(client: docker.DockerClient, name: str) -> bool:
    try:
        client.api.inspect_container(name)
    except NotFound:
        return False
    return True


def is_alone(client: docker.DockerClient, name: str) -> bool:
    """Whether its server has told that the killed process's client is gone."""
    words = client.api.logs(name, tail=2).decode().splitlines()
    return words[0].startswith("a client is here") and words[-1].startswith("no client:")


def wait_removed(client: docker.DockerClient, name: str) -> None:
    """Until it is removed. Raises where that takes a minute."""
    with suppress(NotFound):
        client.api.wait(name, timeout=60, condition="removed")


# -- a killed process


def test_the_lease_ends_the_container_of_a_killed_process(
    image: str, docker_client: docker.DockerClient
) -> None:
    """E8: nobody else has to do anything."""
    with host(image, lease="5") as note:
        assert is_there(docker_client, note["container"])
    wait_removed(docker_client, note["container"])
    assert not is_there(docker_client, note["container"])


def test_the_next_start_sweeps_the_container_of_a_killed_process(
    image: str,
    orphan: dict[str, str],
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """E8: in the background, and not before a restarted kernel would have taken it over."""
    monkeypatch.setattr(sweeping, "RESTART_SECONDS", 3.0)
    sandbox = Sandbox(settings(image))
    try:
        sandbox.client()
        wait_removed(docker_client, orphan["container"])
    finally:
        sandbox.stop()
    assert not is_there(docker_client, orphan["container"])


def test_prune_removes_the_container_of_a_killed_process(
    orphan: dict[str, str],
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = orphan["container"]
    outcome, why = prune(capsys)[name]
    assert outcome == "kept"
    assert "restarted kernel" in why
    monkeypatch.setattr(sweeping, "RESTART_SECONDS", 0.0)
    outcome, why = prune(capsys, "--dry-run")[name]
    assert outcome == "left over"
    assert "is dead, and no client" in why
    assert is_there(docker_client, name)
    assert prune(capsys)[name][0] == "removed"
    assert not is_there(docker_client, name)
    assert name not in prune(capsys)


# -- in use


def test_a_container_that_was_taken_over_is_kept(
    image: str,
    orphan: dict[str, str],
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """E8: its labels name a process that is dead, but another one uses it."""
    monkeypatch.setattr(sweeping, "RESTART_SECONDS", 0.0)
    name = orphan["container"]
    backend = DockerBackend(settings(image), orphan)
    endpoint = backend.start(Deadline(60), print)
    # Also while it has no connection, as after a network's failure.
    outcome, why = prune(capsys)[name]
    assert (outcome, why) == ("kept", f"the process {os.getpid()} has taken it over")
    # And where its mark can't be read, by the client that is connected.
    unmark_taken(name)
    log = docker_client.containers.get(name).logs
    with closing(Client(endpoint, Deadline(60))):
        # The engine has it a moment later.
        wait_until(lambda: log().splitlines()[-1].endswith(b"a client is here"), 20)
        outcome, why = prune(capsys)[name]
        assert outcome == "kept"
        assert "a client is connected" in why
    backend.stop()
    assert not is_there(docker_client, name)


class Halfway(Deadline):
    """A deadline that does something at the beginning of a step."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(120)
        self._name, self._work = name, work

    @contextmanager
    def step(self, name: str, counted: bool = True) -> Iterator[None]:
        if name == self._name:
            self._work()
        with super().step(name, counted):
            yield


def test_prune_leaves_a_start_alone_that_is_under_way(image: str) -> None:
    """E8: the container is created and not yet started, and its process lives."""
    said: list[str] = []

    def prune_elsewhere() -> None:
        said.append(subprocess.check_output([sys.executable, "-c", PRUNE], text=True))

    backend = DockerBackend(settings(image))
    try:
        backend.start(Halfway("starting the container", prune_elsewhere), print)
        note = backend.handover()
        assert note is not None
        items = {item["name"]: item for item in json.loads(said[0])["items"]}
        assert items[note["container"]]["outcome"] == "kept"
        assert items[note["container"]]["why"] == f"its process {os.getpid()} lives"
    finally:
        backend.stop()


def test_a_paused_container_is_kept(
    orphan: dict[str, str],
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its server can't say whether a client is there."""
    monkeypatch.setattr(sweeping, "RESTART_SECONDS", 0.0)
    docker_client.containers.get(orphan["container"]).pause()
    assert prune(capsys)[orphan["container"]] == ("kept", "it is paused")


# -- whose it is


def test_what_is_not_surely_ours_and_dead_is_kept(
    made: Callable[..., str],
    dead: Owner,
    docker_client: docker.DockerClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = made("docker-kernel-dk7e5701", dead)
    kept = {
        made("docker-kernel-dk7e5702", Owner.me()): f"its process {os.getpid()} lives",
        made("docker-kernel-dk7e5703", replace(dead, space="x", host="mars")): "mars",
        made("docker-kernel-dk7e5704", replace(dead, user="somebody")): "somebody",
        made("docker-kernel-dk7e5705", dead, **{f"{PREFIX}owner.start": ""}): "whose it is",
        # As `docker commit` and then `docker run` make it.
        made("docker-kernel-dk7e5706", dead, **{f"{PREFIX}name": gone}): "isn't ours",
    }
    foreign = made("docker-kernel-dk7e5707", None)
    alike = made("docker-kernel-dk7e5708", None, **{"docker-kernel": "kernel", "x.kind": "kernel"})
    found = prune(capsys)
    # Who starts a kernel on this engine meanwhile sweeps it, too.
    assert gone not in found or found[gone][0] == "removed"
    for name, why in kept.items():
        assert found[name][0] == "kept"
        assert why in found[name][1]
    assert not {foreign, alike} & set(found)
    there = [name for name in (*kept, foreign, alike) if is_there(docker_client, name)]
    assert there == [*kept, foreign, alike]
    assert not is_there(docker_client, gone)


def test_helpers_of_dead_processes_are_swept_though_they_run(
    image: str, dead: Owner, docker_client: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that was killed while it filled a volume."""
    name = "docker-kernel-fill-dk7e5709"
    words = {f"{PREFIX}owner.{key}": value for key, value in dead.words().items()}
    marks = {**labels("fill", name), **words}
    docker_client.containers.run(
        image, ["sleep", "600"], name=name, labels=marks, detach=True, init=True
    )
    assert prune(capsys).get(name, ("removed", ""))[0] == "removed"
    assert not is_there(docker_client, name)


def test_two_prunes_at_once(
    made: Callable[..., str], dead: Owner, docker_client: docker.DockerClient
) -> None:
    names = [made(f"docker-kernel-dk7e571{number}", dead) for number in range(6)]

    def run(_: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PRUNE]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, range(2)))
    assert [item.returncode for item in done] == [0, 0], done
    assert not [name for name in names if is_there(docker_client, name)]


def test_prune_removes_volumes_of_images_that_are_gone(
    image: str, docker_client: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"docker-kernel-runtime-dk7e573{number}" for number in range(2)]
    for name in names:
        marks = {f"{PREFIX}kind": "runtime", f"{PREFIX}image": "sha256:gone"}
        docker_client.volumes.create(name, labels=marks)
    mount = {names[1]: {"bind": "/opt/x", "mode": "ro"}}
    user = docker_client.containers.create(image, "true", volumes=mount)
    try:
        assert [prune(capsys, "--dry-run")[name][0] for name in names] == ["left over"] * 2
        found = prune(capsys)
        assert found[names[0]] == ("removed", "its image is gone")
        assert found[names[1]] == ("kept", "its image is gone, but a container uses it")
    finally:
        user.remove()
    assert prune(capsys)[names[1]][0] == "removed"


# -- what prune says


def test_prune_prints_a_line_for_each(
    made: Callable[..., str], dead: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    name, other = made("docker-kernel-dk7e5721", dead), made("docker-kernel-dk7e5722", Owner.me())
    assert main(["prune", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"left over: container {name}: its process is dead" in said
    assert f"kept: container {other}: its process {os.getpid()} lives" in said
    assert main(["prune"]) == 0
    assert f"removed: container {name}: " in capsys.readouterr().out
    assert main(["prune"]) == 0
    assert "There is nothing to remove." in capsys.readouterr().out


def test_prune_without_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert main(["prune", "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "To mend it" in said.err
