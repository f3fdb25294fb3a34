"""The tools in a real container: one of their own, and one that runs as a service."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from docker_kernel import aio, tools
from docker_kernel.backends.creation import creation
from docker_kernel.contact import ContainerClient
from pip_access import PipAccess
from system import wait_until
from tooling import CALLS, SURFACE, unreachable

PROJECT = Path(__file__).parents[2]
PACKAGE = "tabulate"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that uid 4321 owns; below tmp_path others can't reach it."""
    with tempfile.TemporaryDirectory(prefix="dk-tools-") as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        os.chown(path, 4321, 4321)
        yield path


@pytest.fixture(scope="module")
def client(image: str, folder: Path, pip_access: PipAccess) -> Iterator[ContainerClient]:
    """A client with a container of its own, whose pip works as it does here."""

    def with_pip(*args: Any) -> dict[str, Any]:
        made = creation(*args)
        made["HostConfig"]["Binds"] = pip_access.binds()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("docker_kernel.backends.container.creation", with_pip)
        made = tools.create_docker_client(
            mode="docker", image=image, pull="never", workspace=str(folder), env=pip_access.env
        )
        with made:
            yield made


@pytest.fixture(autouse=True)
def in_use(client: ContainerClient) -> Iterator[None]:
    tools.set_docker_client(client)
    yield
    tools.set_docker_client(None)


@pytest.fixture
def ours(docker_client: docker.DockerClient) -> Callable[..., set[str]]:
    """The containers of a process, running or not."""

    def look(pid: int = os.getpid()) -> set[str]:
        mine = f"docker-kernel.owner.pid={pid}"
        found = docker_client.api.containers(all=True, filters={"label": [mine]})
        return {item["Id"] for item in found}

    return look


# ---- a container of its own


def test_where_it_runs(client: ContainerClient) -> None:
    info = tools.get_environment_info()
    assert info["success"]
    assert info["execution_mode"] == "Docker Container"
    assert (info["docker_host"], info["docker_port"]) == ("127.0.0.1", client.port)
    assert info["working_directory"] == "/workspace"
    assert info["platform_system"] == "Linux"
    reached = tools.test_docker_connection()
    assert reached["success"]
    assert reached["output"] == "hello from Linux, /workspace"
    assert tools.run_shell_command("id -u; hostname")["stdout"].startswith("4321\n")


def test_keys_of_all_results() -> None:
    """A1"""
    tools.create_log_file("made.py", "print(1)")
    for name, (_, keys) in SURFACE.items():
        if keys:
            result = getattr(tools, name)(*CALLS.get(name, ()))
            assert result["success"], result
            assert set(result) == keys, name


def test_files_of_the_mounted_folder(folder: Path) -> None:
    """E5: what the code writes belongs to the folder's owner."""
    (folder / "a script.py").write_text("import sys; open('written', 'w').write(sys.argv[1])")
    result = tools.run_python_script("a script.py", ["a b"])
    assert result["success"]
    assert result["working_dir"] == "/workspace"
    written = folder / "written"
    assert written.read_text() == "a b"
    assert written.stat().st_uid == 4321


def test_a_package_from_an_index() -> None:
    """A5: installed, listed, imported; what isn't there is a failure."""
    seen: list[str] = []
    result = tools.install_package(PACKAGE, stream_output=lambda _, text: seen.append(text))
    assert result["success"], result
    assert (result["installed"], result["package"]) == (True, PACKAGE)
    assert "Successfully installed" in "".join(seen)
    listed = {package["name"]: package["version"] for package in _packages()}
    assert tools.run_python_code(f"import {PACKAGE}; print({PACKAGE}.__version__)")["stdout"] == (
        f"{listed[PACKAGE]}\n"
    )
    assert tools.install_package(PACKAGE, upgrade=True)["success"]
    missing = tools.install_package("docker-kernel-has-no-such-package")
    assert (missing["success"], missing["installed"]) == (False, False)
    assert "No matching distribution" in missing["stderr"]


def _packages() -> list[Any]:
    return list(tools.list_installed_packages()["packages"])


def test_no_pyc_is_written(folder: Path) -> None:
    """A5"""
    (folder / "checked").mkdir(exist_ok=True)
    os.chown(folder / "checked", 4321, 4321)
    (folder / "checked" / "a.py").write_text("x = 1\nx = (\n")
    result = tools.check_python_syntax("checked/a.py")
    assert result["success"]
    assert result["syntax_error"] is not None
    assert result["syntax_error"]["line"] == 2
    assert [path.name for path in (folder / "checked").iterdir()] == ["a.py"]


def test_cancelling_ends_the_command_in_the_container() -> None:
    """A6"""

    async def cancel() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        call = asyncio.ensure_future(
            aio.run_shell_command(
                "echo on; sleep 4321",
                timeout=3600,
                stream_output=lambda *_: loop.call_soon_threadsafe(begun.set),
            )
        )
        await begun.wait()
        assert await asyncio.to_thread(_running, "sleep 4321")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(cancel())
    assert wait_until(lambda: not _running("sleep 4321"), 20)


LOOK = """
import glob
for path in glob.glob("/proc/[0-9]*/cmdline"):
    print(open(path).read().replace(chr(0), " "))
"""


def _running(words: str) -> bool:
    """Whether a process of the container has these words in its command line."""
    return words in tools.run_python_code(LOOK)["stdout"]


def test_many_at_once() -> None:
    """A6"""
    with ThreadPoolExecutor(12) as pool:
        found = pool.map(lambda n: tools.run_python_code(f"print({n})")["stdout"], range(24))
        assert list(found) == [f"{n}\n" for n in range(24)]


def test_a_container_that_dies_in_the_middle(
    docker_client: docker.DockerClient, ours: Callable[[], set[str]]
) -> None:
    """A2, O7: the result says so and why; the next call has a new container."""
    name = tools.run_shell_command("cat /etc/hostname")["stdout"].strip()
    (before,) = (each for each in ours() if each.startswith(name))
    others = ours() - {before}

    def kill(_stream: str, _text: str) -> None:
        docker_client.api.kill(before)

    result = tools.run_shell_command("echo on; sleep 4321", stream_output=kill)
    assert (result["success"], result["exit_code"]) == (False, -1)
    assert result["stdout"] == "on\n"
    assert "not known" in result["error"]
    assert "container" in result["error"]
    assert tools.run_shell_command("echo again")["stdout"] == "again\n"
    assert wait_until(lambda: len(ours() - others) == 1, 20)
    assert before not in ours()


def test_it_starts_at_the_first_use_and_ends_with_close(
    image: str, ours: Callable[[], set[str]]
) -> None:
    before = ours()
    with tools.create_docker_client(image=image, pull="never", mount_workspace=False) as another:
        tools.set_docker_client(another)
        assert ours() == before
        assert tools.run_shell_command("pwd; ls")["stdout"] == "/workspace\n"
        assert len(ours() - before) == 1
    assert not ours() - before


PROGRAM = """
import os, sys
from docker_kernel import run_python_code
print(os.getpid(), run_python_code("print('in a container')")["stdout"].strip())
sys.exit(3)
"""


def test_the_end_of_the_program_removes_its_container(
    image: str, tmp_path: Path, ours: Callable[[int], set[str]]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "DOCKER_KERNEL_IMAGE": image, "DOCKER_KERNEL_PULL": "never"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 3, done.stderr
    pid, words = done.stdout.split(" ", 1)
    assert words == "in a container\n"
    assert ours(int(pid)) == set()


def test_an_image_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """A2"""
    with tools.create_docker_client(image="no-such/image:here", pull="never") as another:
        tools.set_docker_client(another)
        assert tools.run_python_code("print(1)") == unreachable("localhost", 8000)
        assert "no-such/image:here" in tools.test_docker_connection()["error"]
    assert "no-such/image:here" in caplog.text


def test_an_image_without_python(nopython_image: str) -> None:
    with tools.create_docker_client(image=nopython_image, pull="never") as another:
        tools.set_docker_client(another)
        assert tools.run_python_code("print(1)") == unreachable("localhost", 8000)
        assert "Python" in tools.test_docker_connection()["error"]


# ---- a container that runs as a service


@pytest.fixture(scope="module")
def service(docker_client: docker.DockerClient, image: str, pip_access: PipAccess) -> Iterator[int]:
    """A container with a server without a secret; its port on this machine's loopback."""
    with tempfile.TemporaryDirectory(prefix="dk-service-") as name:
        copy = Path(name)
        copy.chmod(0o755)
        shutil.copytree(PROJECT / "container", copy / "container")
        made = docker_client.containers.run(
            image,
            [
                *("python3", "/srv/tcp_server.py", "--workplace", "/tmp/work"),
                *("--host", "0.0.0.0", "--port", "8000", "--allow-unauthenticated"),  # noqa: S104
            ],
            detach=True,
            user="1000:1000",
            environment={**pip_access.env, "HOME": "/tmp/home", "PIP_BREAK_SYSTEM_PACKAGES": "1"},
            volumes=[*pip_access.binds(), f"{copy / 'container'}:/srv:ro"],
            ports={"8000/tcp": ("127.0.0.1", 0)},
        )
        try:
            found = docker_client.api.inspect_container(str(made.id))
            yield int(found["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"])
        finally:
            with suppress(NotFound):
                made.remove(force=True)


def test_the_agent(service: int, tmp_path: Path) -> None:
    """A6: the example as a person types it, on a server that the environment names."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "examples" / "agent.py")],
        cwd=tmp_path,
        env={**os.environ, "DOCKER_HOST": "127.0.0.1", "DOCKER_PORT": str(service)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The script of the second draft tells where it was when its time was over, and nothing else.
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert done.stderr.count("\n") < 6
    lines = done.stdout.splitlines()
    assert lines[0] == f"Connected to Docker container at 127.0.0.1:{service}"
    assert lines[1] == "tabulate is installed"
    assert lines[2].startswith("draft 1: line 2: ")
    assert lines[3] == "draft 2: the command took longer than 20 s, and was ended"
    assert "  5        25" in lines
    assert lines[-1] == "draft 3 worked, and the sum is 55"
    assert list(tmp_path.iterdir()) == []


def test_the_agent_without_a_container(free_port: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "examples" / "agent.py")],
        cwd=tmp_path,
        env={**os.environ, "DOCKER_HOST": "127.0.0.1", "DOCKER_PORT": str(free_port)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"Cannot connect to Docker container at 127.0.0.1:{free_port}\n" in done.stdout
    assert "To mend it" in done.stdout
    assert list(tmp_path.iterdir()) == []
