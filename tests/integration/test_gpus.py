"""GPUs, on an engine that most likely has none (E6)."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from docker_kernel.backends.container import DockerBackend
from docker_kernel.backends.creation import Plan, creation
from docker_kernel.backends.docker import Engine as Connection
from docker_kernel.backends.gpus import NO_GPUS_HERE, device_requests
from docker_kernel.backends.labels import unique_name
from docker_kernel.backends.probing import ImagePython
from docker_kernel.backends.workspace import User
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import EngineRefused
from engine import Engine

PYTHON = ImagePython("python3", "3.11.2", "cpython-311", writable=False, venv=False)


@pytest.fixture(autouse=True)
def no_gpus(docker_client: docker.DockerClient) -> None:
    """These are about their absence."""
    if device_requests("auto", docker_client.info()):
        pytest.skip("the engine has GPUs")


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    found = Connection({"DOCKER_HOST": engine.host}, Deadline(30))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("wanted", "count", "devices"), [("all", -1, []), ("2", 2, []), ("device=0,1", 0, ["0", "1"])]
)
def test_they_show_in_docker_inspect(
    connection: Connection, image: str, wanted: str, count: int, devices: list[str]
) -> None:
    with connection.calling("the test", Deadline(30)) as api:
        asked = device_requests(wanted, api.info())
        plan = Plan(image, image, {}, PYTHON, [], [], asked, None, User("1000"))
        name = unique_name()
        try:
            api.create_container(name, creation(plan, Settings(gpus=wanted), name))
            (found,) = api.inspect_container(name)["HostConfig"]["DeviceRequests"]
        finally:
            api.remove_container(name)
    assert (found["Count"], found["DeviceIDs"] or []) == (count, devices)
    assert found["Capabilities"] == [["gpu"]]


def test_all_of_none_is_an_error_that_says_what_to_install(image: str) -> None:
    """In the engine's own words, with a remedy; nothing is left."""
    backend = DockerBackend(Settings(image=image, gpus="all", mount_workspace=False))
    with pytest.raises(EngineRefused, match="could not select device driver") as caught:
        backend.start(Deadline(60), print)
    assert "Container Toolkit" in caught.value.remedy
    assert "DOCKER_KERNEL_GPUS=auto" in caught.value.remedy
    backend.stop()


def test_auto_goes_without_and_says_so(image: str, docker_client: docker.DockerClient) -> None:
    backend = DockerBackend(Settings(image=image, gpus="auto", mount_workspace=False))
    try:
        backend.start(Deadline(60), print)
        name = (backend.handover() or {})["container"]
        assert not docker_client.api.inspect_container(name)["HostConfig"]["DeviceRequests"]
        assert backend.notices == [NO_GPUS_HERE]
        assert "GPUs: auto" in backend.describe()
    finally:
        backend.stop()
