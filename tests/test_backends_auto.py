"""Mode auto: a container where there is an engine, else this machine, and the person is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from docker_kernel.config import Settings
from docker_kernel.errors import EngineNotFound, StartTimeout
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire

LOOK = "import docker_kernel_server as lent; lent.__file__.startswith('/opt/docker-kernel')"


class Made:
    """A sandbox in mode auto, and what a cell sees there."""

    def __init__(self, **more: str) -> None:
        given = {"mode": "auto", "mount_workspace": "false", **more}
        environ = {f"DOCKER_KERNEL_{name.upper()}": value for name, value in given.items()}
        self.sandbox = Sandbox(Settings.load(environ=environ))

    def run(self) -> str:
        client = self.sandbox.client()
        client.ask(wire.OpenSession(client.new_id(), "main"))
        seen: list[wire.Event] = []
        request = wire.Execute(client.new_id(), "main", LOOK)
        client.request(request, seen.append).future.result(60)
        (found,) = [event for event in seen if isinstance(event, wire.Result)]
        return str(found.data["text/plain"])


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DOCKER_HOST names a socket that isn't there."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("no_engine")
def test_this_machine_where_no_engine_answers() -> None:
    """E10: it is told which was taken and why, beside local mode's own warning."""
    made = Made()
    assert "a container where there is an engine" in made.sandbox.describe()
    try:
        assert made.run() == "False"
        taken, warning = made.sandbox.notices
        assert taken.startswith("Mode auto has taken this machine itself: no Docker engine")
        assert taken.endswith("For containers alone, set DOCKER_KERNEL_MODE=docker.")
        assert "NO CONTAINER" in warning
        assert made.sandbox.settings.resolved_mode() == "local"
    finally:
        made.sandbox.stop()


@pytest.mark.usefixtures("engine")
def test_a_container_where_an_engine_answers(image: str) -> None:
    made = Made(image=image)
    try:
        assert made.run() == "True"
        assert made.sandbox.notices[0].startswith("Mode auto has taken a container.")
        assert made.sandbox.settings.resolved_mode() == "docker"
    finally:
        made.sandbox.stop()


@pytest.mark.usefixtures("no_engine")
def test_where_local_mode_is_not_allowed_there_is_no_choice() -> None:
    """E10"""
    made = Made(allow_local="false")
    with pytest.raises(EngineNotFound):
        made.run()
    made.sandbox.stop()


@pytest.mark.usefixtures("no_engine")
def test_a_kernel_that_had_a_container_is_not_restarted_on_this_machine() -> None:
    """E10: the code in it may be why no engine answers now."""
    environ = {"DOCKER_KERNEL_MODE": "auto"}
    sandbox = Sandbox(Settings.load(environ=environ), handover={"container": "x", "secret": "y"})
    with pytest.raises(EngineNotFound):
        sandbox.client()
    sandbox.stop()


def test_an_engine_that_is_slow_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """E10: it takes connections, and says nothing."""
    monkeypatch.setattr("docker_kernel.backends.auto.LOOK_SECONDS", 0.5)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/docker.sock")
        silent.listen()
        made = Made()
        with pytest.raises(StartTimeout):
            made.run()
        made.sandbox.stop()


def test_it_is_never_the_default() -> None:
    assert Settings.load(environ={}).mode == ""
    assert Settings.load(environ={}).resolved_mode() == "docker"
