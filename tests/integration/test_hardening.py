"""What a container can be kept in by, beyond the defaults, on a real engine (E6, E7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from cells import run
from docker_kernel.backends.container import DockerBackend
from docker_kernel.backends.hardening import check_quota
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import EngineRefused, SettingError

Make = Callable[..., DockerBackend]

LOOK_AROUND = """
import ctypes, os, resource, shutil, zlib
def attempt(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as exc:
        return exc.strerror
def fill(path, size):
    with open(path, "wb") as file:
        file.write(bytes(size))
found = {
    "root": attempt(os.mkdir, "/var/lib/x"),
    "home": attempt(os.makedirs, os.path.expanduser("~/.local/x")),
    "workplace": attempt(fill, "here", 10),
    "var tmp": attempt(fill, "/var/tmp/here", 10),
    "tmp": attempt(fill, "/tmp/large", 40 << 20),
    "tmp size": shutil.disk_usage("/tmp").total >> 20,
    "shm size": shutil.disk_usage("/dev/shm").total >> 20,
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "dumps": resource.getrlimit(resource.RLIMIT_CORE),
    "data": open("/data/note").read(),
    "data written": attempt(fill, "/data/other", 10),
    "filtered": attempt(os.getpriority, os.PRIO_PROCESS, 0),
}
os.remove("/tmp/large")
library = next(line.split()[-1] for line in open("/proc/self/maps") if "libz.so" in line)
shutil.copy(library, "/tmp/z.so")
found["loaded"] = attempt(ctypes.CDLL, "/tmp/z.so")
"""


@pytest.fixture
def make(image: str) -> Iterator[Make]:
    """Makes backends for the image, and stops them."""
    made: list[DockerBackend] = []

    def new(**settings: str) -> DockerBackend:
        chosen = {"image": image, "pull": "never", "mount_workspace": "false", **settings}
        environ = {f"DOCKER_KERNEL_{k.upper()}": v for k, v in chosen.items()}
        made.append(DockerBackend(Settings.load(environ=environ)))
        return made[-1]

    yield new
    for backend in made:
        backend.stop()


def test_all_that_keeps_a_container_in(
    make: Make, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """E6, E7: what is set holds, and `docker inspect` shows it."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO"}],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile, indent=1))
    data = tmp_path / "data"
    data.mkdir()
    (data / "note").write_text("words")
    for folder in (data, tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    backend = make(
        read_only="true",
        tmp_size="32m",
        shm_size="24m",
        nofile="2000",
        seccomp=str(tmp_path / "profile.json"),
        runtime="io.containerd.runc.v2",
        userns="host",
        mounts=f"{data}:/data:ro",
    )
    endpoint = backend.start(Deadline(120), print)
    assert run(endpoint, LOOK_AROUND) == {
        "root": "Read-only file system",
        "home": "done",
        "workplace": "done",
        "var tmp": "done",
        "tmp": "No space left on device",
        "tmp size": 32,
        "shm size": 24,
        "files": (2000, 2000),
        "dumps": (0, 0),
        "data": "words",
        "data written": "Read-only file system",
        "filtered": "Operation not permitted",
        "loaded": "done",
    }
    note = backend.handover()
    assert note is not None
    host = docker_client.api.inspect_container(note["container"])["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert set(host["Tmpfs"]) == {"/tmp", "/var/tmp", "/workspace"}
    assert host["ShmSize"] == 24 << 20
    assert host["Runtime"] == "io.containerd.runc.v2"
    assert host["UsernsMode"] == "host"
    assert {"Name": "nofile", "Soft": 2000, "Hard": 2000} in host["Ulimits"]
    assert host["LogConfig"]["Config"] == {"max-size": "8m", "max-file": "2"}
    no_new, seccomp = host["SecurityOpt"]
    assert no_new == "no-new-privileges"
    assert json.loads(seccomp.removeprefix("seccomp=")) == profile


def test_a_runtime_that_the_engine_lacks(make: Make) -> None:
    """E6: the error names those that it has."""
    with pytest.raises(EngineRefused, match=r"the engine knows these: .*runc") as caught:
        make(runtime="runsc").start(Deadline(120), print)
    assert "runsc" in caught.value.why


def test_more_files_than_the_engine_may_open(make: Make) -> None:
    with pytest.raises(EngineRefused, match="DOCKER_KERNEL_NOFILE lower"):
        make(nofile=str(1 << 30)).start(Deadline(120), print)


def test_a_bound_of_the_disk_is_held_or_refused(
    make: Make, docker_client: docker.DockerClient
) -> None:
    """E6: a size that the engine's storage can't hold is never passed over in silence."""
    info: Any = docker_client.info()
    if ["Backing Filesystem", "xfs"] in info["DriverStatus"]:
        pytest.skip("this engine's storage may be able to: test_exhaustion.py")
    with pytest.raises((EngineRefused, SettingError), match="DOCKER_KERNEL_READ_ONLY=true"):
        make(disk_size="1g").start(Deadline(120), print)
    with pytest.raises(SettingError, match=r"overlayfs.*\n.*DOCKER_KERNEL_READ_ONLY=true"):
        # A newer engine's, which would take the size and do nothing.
        check_quota({"Driver": "overlayfs"}, Settings(disk_size="1g"))
