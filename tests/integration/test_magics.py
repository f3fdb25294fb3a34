"""The magics and their containers: started, reset, stopped, removed.

What needs no container to be shown is in ../test_magics.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from docker_kernel.backends.committing import NAMESPACE
from kernels import Cell, Kernel, OrdinaryKernel
from pip_access import PipAccess
from system import wait_until

PACKAGE = "six"
"""Small, and without needs of its own."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A notebook's folder, of an ordinary user: the tests may run as root."""
    os.chown(tmp_path, 1000, 1000)
    return tmp_path


@pytest.fixture
def kernel(image: str, folder: Path, pip_access: PipAccess) -> Iterator[Kernel]:
    """An ordinary kernel with the magics, and what pip needs in its workspace."""
    env = dict(pip_access.env)
    for path in (path for path in pip_access.mounts if path.is_file()):  # a bundle of certificates
        shutil.copy(path, folder)
        env = {
            key: value.replace(f"{path}", f"/workspace/{path.name}") for key, value in env.items()
        }
    settings = {"DOCKER_KERNEL_IMAGE": image, "DOCKER_KERNEL_ENV": repr(env)}
    with OrdinaryKernel(folder=folder, env=settings) as running:
        assert running.run("%load_ext docker_kernel").status == "ok"
        yield running


def in_container(kernel: Kernel, code: str, options: str = "") -> Cell:
    return kernel.run(f"%%docker {options}\n{code}")


def hostname(kernel: Kernel, options: str = "") -> str:
    return str(in_container(kernel, "import socket; socket.gethostname()", options).result).strip(
        "'"
    )


def running(client: docker.DockerClient) -> set[str]:
    return {container.short_id for container in client.containers.list(ignore_removed=True)}


def test_the_first_cell_starts_a_container(
    kernel: Kernel, image: str, docker_client: docker.DockerClient
) -> None:
    """M1: with a line of progress; the kernel's end removes it."""
    assert "Nothing runs" in str(kernel.run("%docker"))
    cell = in_container(kernel, "import socket; socket.gethostname()")
    assert image in cell.text("stderr")
    container = str(cell.result).strip("'")
    assert container in running(docker_client)
    again = in_container(kernel, "import os; os.getuid() != 0, os.getcwd()")
    assert (again.result, again.text("stderr")) == ("(True, '/workspace')", "")
    assert "up 00:0" in str(kernel.run("%docker status"))
    assert "listening on" in kernel.run("%docker logs").text()
    kernel.manager.shutdown_kernel()
    assert wait_until(lambda: container not in running(docker_client), 10)


def test_reset_and_stop(kernel: Kernel, docker_client: docker.DockerClient) -> None:
    """M5."""
    first = hostname(kernel)
    in_container(kernel, "x = 1; open('/tmp/gone', 'w').close()")
    assert "fresh container" in kernel.run("%docker reset").text("stderr")
    second = hostname(kernel)
    assert second != first
    state = in_container(kernel, "import os; ('x' in globals(), os.path.exists('/tmp/gone'))")
    assert state.result == "(False, False)"
    kernel.run("%docker stop")
    assert not {first, second} & running(docker_client)
    assert hostname(kernel) in running(docker_client)


def test_a_fork_of_the_kernel_stops_nothing(kernel: Kernel) -> None:
    first = hostname(kernel)
    # What runs at the end of a child that doesn't leave by os._exit.
    code = """
import os
import docker_kernel_magics
pid = os.fork()
if not pid:
    for sandboxes, _ in docker_kernel_magics._LOADED.values():
        sandboxes.close()
    os._exit(7)
os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
    assert kernel.run(code).result == "7"
    assert hostname(kernel) == first


def test_each_image_has_a_container(kernel: Kernel, ipython_image: str, image: str) -> None:
    in_container(kernel, "x = 1")
    other = f"--image {ipython_image}"
    assert in_container(kernel, "import IPython; IPython.__version__", other).result == "'8.5.0'"
    assert in_container(kernel, "'x' in globals()", other).result == "False"
    assert hostname(kernel) != hostname(kernel, other)
    table = str(kernel.run("%docker"))
    assert image in table
    assert ipython_image in table


def test_pip_in_the_container(kernel: Kernel, docker_client: docker.DockerClient) -> None:
    """M6: streamed; what is installed can be imported at once, and pip's failure is an error."""
    assert (
        in_container(kernel, f"import {PACKAGE}").reply["content"]["ename"] == "ModuleNotFoundError"
    )
    installed = kernel.run(f"%pip_docker install {PACKAGE}")
    assert installed.status == "ok"
    assert "Successfully installed" in installed.text()
    assert in_container(kernel, f"import {PACKAGE}; {PACKAGE}.__name__").result == f"'{PACKAGE}'"
    assert PACKAGE in kernel.run("%pip_docker list").text()
    # What was installed can be kept, in both ways.
    assert "1 packages on top of" in kernel.run("%docker freeze").text()
    assert f"\n{PACKAGE}==" in (kernel.folder / "requirements.txt").read_text()
    name = f"{NAMESPACE}magics-{kernel.folder.name}:latest".lower()
    assert name in kernel.run(f"%docker commit magics-{kernel.folder.name}".lower()).text()
    docker_client.images.remove(name)
    assert "Successfully uninstalled" in kernel.run(f"%pip_docker uninstall {PACKAGE}").text()
    failed = kernel.run("%pip_docker install no-such-package-anywhere")
    assert failed.reply["content"]["ename"] == "CommandFailed"
    assert "No matching distribution" in failed.text("stderr")


def test_an_image_that_is_not_there(kernel: Kernel) -> None:
    cell = in_container(kernel, "1", "--image docker-kernel-test-absent:now")
    assert cell.reply["content"]["ename"] == "ImageNotFound"
    assert "To mend it" in cell.error
    assert "Traceback" not in cell.error
    assert in_container(kernel, "1").result == "1"


def test_no_engine(folder: Path) -> None:
    env = {"DOCKER_HOST": f"unix://{folder}/nowhere.sock"}
    with OrdinaryKernel(folder=folder, env=env) as kernel:
        kernel.run("%load_ext docker_kernel")
        cell = in_container(kernel, "1")
        assert cell.reply["content"]["ename"].startswith("Engine")
        assert "To mend it" in cell.error
        assert kernel.run("1").result == "1"
