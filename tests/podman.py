"""A throw-away Podman that answers as a Docker engine does, with a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker

from dockerd import connect, why_silent
from system import (
    CannotError,
    apt_install,
    end,
    is_root,
    on_debian,
    system_environment,
    system_run,
    system_tool,
    wait_until,
)

FOLDER = Path("/tmp/docker-kernel-podman")
PACKAGES = ("podman", "catatonit", "netavark", "aardvark-dns")
START_SECONDS = 20.0
_CAP_SYS_RESOURCE = 24

# The machine's own service manager, firewall rules and folders are left alone.
CONFIG = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "ours"
[engine.runtimes]
ours = ["{runtime}"]
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""

# Podman as root asks for limits that root may set; root in a container often may not.
WITHIN_OUR_LIMITS = """#!{python} -IS
import json, os, resource, sys
for name, key in (("--bundle", "process"), ("--process", "")):
    if name in sys.argv:
        path = sys.argv[sys.argv.index(name) + 1]
        path = os.path.join(path, "config.json") if key else path
        with open(path) as file:
            config = json.load(file)
        for limit in (config[key] if key else config).get("rlimits", []):
            most = resource.getrlimit(getattr(resource, limit["type"]))[1]
            if most != resource.RLIM_INFINITY:
                limit["hard"], limit["soft"] = min(limit["hard"], most), min(limit["soft"], most)
        with open(path, "w") as file:
            json.dump(config, file)
os.execv({runc!r}, [{runc!r}, *sys.argv[1:]])
"""


def program() -> str:
    """Podman, installed where that can be. Raises CannotError."""
    if not is_root():
        raise CannotError("the tests' Podman needs root")
    # Debian's Podman comes without its init where the machine has another one.
    if on_debian():
        if not (system_tool("podman") and system_tool("catatonit")):
            apt_install(*PACKAGES)
    elif system_tool("podman") is None:
        raise CannotError("there is no Podman on this machine")
    return system_tool("podman") or "podman"


class Podman:
    """The service, for one run of the tests at a time; images and volumes are kept for the next."""

    def __init__(self) -> None:
        self.socket = FOLDER / "podman.sock"
        self.host = f"unix://{self.socket}"
        self._environment = {
            **system_environment(),
            "CONTAINERS_CONF": str(FOLDER / "containers.conf"),
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """From its start to its end. Raises CannotError."""
        import fcntl

        self._command = [
            *(program(), "--root", str(FOLDER / "root"), "--runroot", str(FOLDER / "run")),
            *("--tmpdir", str(FOLDER / "tmp")),
        ]
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        info = FOLDER.lstat()
        if FOLDER.is_symlink() or info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise CannotError(f"{FOLDER} is not a private folder of ours; remove it")
        with (FOLDER / "lock").open("w") as lock, (FOLDER / "log").open("wb") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._configure()
            self.socket.unlink(missing_ok=True)
            service = [*self._command, "system", "service", "--time=0", self.host]
            process = subprocess.Popen(service, env=self._environment, stdout=log, stderr=log)
            try:
                if not wait_until(self._answers, START_SECONDS):
                    words = (FOLDER / "log").read_text(errors="replace").splitlines()[-2:]
                    raise CannotError(f"podman doesn't start: {' | '.join(words)}")
                yield
            finally:
                with contextlib.suppress(CannotError):
                    system_run(
                        "env",
                        f"CONTAINERS_CONF={FOLDER}/containers.conf",
                        *self._command,
                        "rm",
                        "--all",
                        "--force",
                        "--time",
                        "0",
                    )
                end(process)

    def bring(self, image: str, client: docker.DockerClient) -> str:
        """An image of the other engine, by the name that it has here."""
        name = f"localhost/{image}"
        with contextlib.closing(connect(self.host)) as podman:
            if not podman.images.list(name):
                podman.images.load(b"".join(client.images.get(image).save(named=True)))
        return name

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return why_silent(self.host) is None
        return False

    def _configure(self) -> None:
        runc = system_tool("runc") or system_tool("crun") or "runc"
        runtime = FOLDER / "runtime"
        runtime.write_text(WITHIN_OUR_LIMITS.format(python=sys.executable, runc=runc))
        runtime.chmod(0o755)
        text = CONFIG.format(folder=FOLDER, runtime=runtime if _is_kept_in() else runc)
        (FOLDER / "containers.conf").write_text(text)


def _is_kept_in() -> bool:
    """Whether root may not raise a limit here."""
    found = Path("/proc/self/status").read_text(encoding="utf-8").split("CapEff:")[1].split()[0]
    return not int(found, 16) >> _CAP_SYS_RESOURCE & 1


def remove() -> None:
    """Remove all that was kept."""
    if not FOLDER.exists():
        return
    for line in reversed(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()):
        point = line.split()[4]
        if point.startswith(f"{FOLDER}/"):
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
