"""container/Dockerfile and container/compose.yaml: built, started, attached to, killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from platformdirs import user_cache_path

from conftest import or_give_up
from images import locked
from kernels import PATIENCE, Kernel
from ports import spare_port
from system import CannotError, apt_install, is_root, on_debian, wait_until

CONTAINER = Path(__file__).parents[2] / "container"
IMAGE = "docker-kernel-test/server"
OVERRIDE = f"""\
services:
  kernel:
    image: {IMAGE}
    healthcheck:
      interval: 1s
"""


KILL_SERVER = """
import os, pathlib
found = [path for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if path.parent.name != "1"]
servers = [int(path.parent.name) for path in found if b"tcp_server.py" in path.read_bytes()]
os.kill(min(servers), 9)
"""


def find_compose() -> list[str]:
    """The program: Docker's plugin, or Debian's. Raises CannotError."""
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        if shutil.which("docker-compose") is None:
            if not (on_debian() and is_root()):
                raise CannotError("there is neither docker compose nor docker-compose")
            apt_install("docker-compose")
        return ["docker-compose"]
    return ["docker", "compose"]


def wheels() -> Path:
    """A folder with the wheels that the image is made of. Raises CannotError."""
    requirements = CONTAINER / "requirements.txt"
    version = "{}.{}".format(*sys.version_info)
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = user_cache_path("docker-kernel-test")
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"wheels-{version}-{digest}"
    with locked(cache / "wheels.lock"):
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            what = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirements)]
            command = [
                sys.executable,
                "-m",
                "pip",
                "--quiet",
                "download",
                *what,
                "-d",
                str(partial),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise CannotError(f"pip can't download: {done.stderr.strip().splitlines()[-1]}")
            partial.rename(folder)
    return folder


@dataclass
class Service:
    """The service of the compose file."""

    client: docker.DockerClient
    command: list[str]
    env: dict[str, str] = field(repr=False)
    port: int
    secret: Path

    def compose(self, *words: str) -> str:
        """Run compose; what it printed."""
        done = subprocess.run(
            [*self.command, *words], env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of its one container."""
        found: dict[str, Any] = self.client.api.inspect_container(
            self.compose("ps", "--quiet", "kernel").strip()
        )
        return found

    @property
    def health(self) -> str:
        """starting, healthy or unhealthy."""
        return str(self.inspect()["State"]["Health"]["Status"])

    def kill(self) -> None:
        """Kill the server, from within: to the engine, `docker kill` is a stop that was wanted."""
        container = self.client.containers.get(str(self.inspect()["Id"]))
        container.exec_run(["python3", "-c", KILL_SERVER])

    def kernel(self, folder: Path) -> Kernel:
        """A kernel that attaches to it."""
        return Kernel(f"--port={self.port}", f"--secret-file={self.secret}", folder=folder)


@pytest.fixture(scope="module")
def service(
    image: str, docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service, built from a copy of the folder with wheels in it, up until the tests end."""
    folder = tmp_path_factory.mktemp("container")
    with or_give_up():
        command = find_compose()
        shutil.copytree(CONTAINER, folder, dirs_exist_ok=True)
        shutil.copytree(wheels(), folder / "wheels")
    (folder / "override.yaml").write_text(OVERRIDE)
    secret = folder / "secret"
    secret.write_text("5e" * 32 + "\n")
    secret.chmod(0o400)
    if is_root():
        os.chown(secret, 1000, 1000)
    port = spare_port()
    files = ["--file", str(folder / "compose.yaml"), "--file", str(folder / "override.yaml")]
    env = {
        **os.environ,
        "BASE_IMAGE": image,
        "DOCKER_BUILDKIT": "0",
        "DOCKER_KERNEL_PORT": str(port),
        "DOCKER_KERNEL_SECRET_FILE": str(secret),
        "DOCKER_KERNEL_MEMORY": "512m",
        "DOCKER_KERNEL_USER": "1000:1000" if is_root() else f"{os.getuid()}:{os.getgid()}",
    }
    project = ["--project-name", f"docker-kernel-test-{os.getpid()}"]
    made = Service(docker_client, [*command, *project, *files], env, port, secret)
    try:
        made.compose("build", "--build-arg", "PIP_NO_INDEX=1")
        made.compose("up", "--detach")
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "3")


def test_it_turns_healthy_and_is_fenced_in(service: Service) -> None:
    """E6, E7: as the compose file has it, by the engine's own word."""
    assert wait_until(lambda: service.health == "healthy", PATIENCE), service.inspect()["State"]
    found = service.inspect()
    host, config = found["HostConfig"], found["Config"]
    assert (host["Memory"], host["MemorySwap"]) == (512 << 20, 512 << 20)
    assert (host["NanoCpus"], host["PidsLimit"]) == (2_000_000_000, 512)
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["ReadonlyRootfs"], host["Init"]) == (True, True)
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["PortBindings"] == {
        "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(service.port)}]
    }
    assert config["User"] not in ("", "0", "root", "0:0")
    # The secret is in a file, and nowhere else.
    assert service.secret.read_text().strip() not in str(found) + service.compose("logs")


@pytest.mark.usefixtures("service")
def test_the_image_is_small_and_has_no_trace_of_its_making(
    docker_client: docker.DockerClient, image: str
) -> None:
    made, base = docker_client.images.get(IMAGE), docker_client.images.get(image)
    assert made.attrs["Size"] - base.attrs["Size"] < 60 << 20
    assert made.attrs["Config"]["User"] == "1000:1000"
    history = str(made.history())
    assert "PIP_NO_INDEX" not in history
    assert "wheels" not in history
    look = "ls -d /build /wheels; find /opt/docker-kernel -name '*.pyc' | wc -l"
    words = docker_client.containers.run(
        image=IMAGE, entrypoint="sh", command=["-c", look], remove=True
    )
    assert int(words) > 500


def test_a_kernel_attaches_to_it_and_comes_back_after_its_death(
    service: Service, tmp_path: Path
) -> None:
    """E3, and pip and completion as ever; the restart policy brings the server back."""
    with service.kernel(tmp_path) as kernel:
        code = "import os, IPython; print(os.getuid(), os.getcwd(), IPython.__file__)"
        uid, folder, ipython = kernel.run(code).text().split()
        assert uid != "0"
        assert folder == "/workspace"
        assert ipython.startswith("/opt/docker-kernel/lib/")
        assert kernel.run("open('kept', 'w').write('x')").status == "ok"
        assert "kept" in str(kernel.ask("complete", "open('ke")["matches"])
        service.kill()
        assert wait_until(lambda: service.inspect()["RestartCount"] == 1, PATIENCE)
    assert wait_until(lambda: service.health == "healthy", PATIENCE)
    # The folder is a volume, which has what was written.
    with service.kernel(tmp_path) as kernel:
        assert kernel.run("print(open('kept').read())").text() == "x\n"


def test_without_its_secret_it_serves_nobody(service: Service, tmp_path: Path) -> None:
    wrong = tmp_path / "secret"
    wrong.write_text("0" * 64)
    with Kernel(f"--port={service.port}", f"--secret-file={wrong}", folder=tmp_path) as kernel:
        assert "doesn't have the secret" in kernel.run("1").error
