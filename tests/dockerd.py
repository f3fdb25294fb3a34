"""A throw-away dockerd: data, sockets, bridge and firewall rules, all named after its folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from bridge import Bridge
from system import (
    CannotError,
    alive,
    all_pids,
    apt_install,
    command_line,
    is_root,
    on_debian,
    system_environment,
    system_tool,
    wait_until,
)

if sys.platform != "win32":
    import fcntl

START_SECONDS = 60.0
STOP_SECONDS = 30.0
PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2")


def cannot_start() -> str | None:
    """None where a throw-away dockerd can be started, else the reason in one line."""
    if sys.platform != "linux":
        return "a throw-away engine needs Linux; start Docker Desktop and try again"
    if not is_root():
        return "a throw-away engine needs root; start Docker, or run this as root"
    if system_tool("dockerd") is None and not on_debian():
        return "dockerd is not installed; install Docker and try again"
    return None


def connect(host: str, timeout: int = 300) -> docker.DockerClient:
    """A new client of the engine at `host`, with the TLS settings of the environment.

    Timeout in seconds for each answer. Raises docker.errors.DockerException."""
    return docker.from_env(environment={**os.environ, "DOCKER_HOST": host}, timeout=timeout)


def why_silent(host: str) -> str | None:
    """None where an engine answers at `host`, else the reason in one line."""
    try:
        if host.startswith("unix://"):
            return ping_socket(host.removeprefix("unix://"))
        with contextlib.closing(connect(host, timeout=10)) as client:
            client.ping()
    except (DockerException, OSError) as exc:
        return str(exc)
    return None


def ping_socket(path: str) -> str | None:
    """Ask an engine at a unix socket whether it is well; None or the reason. Raises OSError.

    Not by the SDK: that leaves its own socket open where nobody listens, and the tests would be
    told so, as a warning."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(10)
        stream.connect(path)
        stream.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
        answer = b"".join(iter(lambda: stream.recv(4096), b""))
    if b" 200 " in answer.split(b"\r\n", 1)[0]:
        return None
    return f"it answers {answer[:100]!r}"


class ThrowAway:
    """The dockerd of a folder, shared by all who acquire() it; the last release() turns it off.

    `lock` guards starting and stopping. Every user holds a shared lock on `users` for as long as it
    uses the engine; the system drops a dead user's lock, so nothing stale is ever counted.
    """

    def __init__(self, folder: Path | None = None) -> None:
        # Short, because a unix socket's path has room for 107 bytes; and not in TMPDIR, so that
        # two runs of the tests meet at the same folder.
        uid = os.getuid() if sys.platform != "win32" else 0
        self.folder = folder or Path(f"/tmp/docker-kernel-engine-{uid}")
        self.socket = self.folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.pidfile = self.folder / "pid"
        self.log = self.folder / "log"
        self.keep = self.folder / "keep"
        self.bridge = Bridge(self.folder)
        self._users: int | None = None

    def answers(self) -> bool:
        """Whether it is on."""
        return self.socket.exists() and why_silent(self.host) is None

    def acquire(self, *, keep: bool = False) -> None:
        """Start it, or share the one that is on; with `keep` it stays on until stop().

        Raises CannotError."""
        self._make_folder()
        with self._locked():
            if not self.answers():
                self._start()
            if keep:
                self.keep.touch()
            else:
                self._users = self._open("users")
                fcntl.flock(self._users, fcntl.LOCK_SH)

    def release(self) -> None:
        """Give it back; the last user turns it off where nobody has asked to keep it.

        The images stay on disk, so that the next run has them at once; stop() removes them."""
        if self._users is None:
            return
        with self._locked():
            os.close(self._users)
            self._users = None
            if not self._in_use() and not self.keep.exists():
                self._turn_off()

    def restart(self) -> None:
        """Turn it off in good order and on again, as a machine's service manager does; its
        containers end with it. Raises CannotError."""
        with self._locked():
            pid = self.pid()
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: not alive(pid), STOP_SECONDS)
            self._start()

    def stop(self) -> None:
        """Turn it off and remove all it had. Raises CannotError where a test run still uses it."""
        if not self.folder.exists():
            return
        self._make_folder()
        with self._locked():
            if self._in_use():
                raise CannotError("a test run is using the engine; end that first")
            self._turn_off()
            shutil.rmtree(self.folder)

    def _make_folder(self) -> None:
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        info = self.folder.lstat()
        # /tmp is everybody's: root must not work in a folder that another user has put there.
        if self.folder.is_symlink() or info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise CannotError(f"{self.folder} is not a private folder of ours; remove it")

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_CREAT | os.O_RDWR, 0o600)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = self._open("lock")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _in_use(self) -> bool:
        handle = self._open("users")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def _start(self) -> None:
        if reason := cannot_start():
            raise CannotError(reason)
        if system_tool("dockerd") is None:
            apt_install("docker.io", "iptables", "iproute2")
        self._sweep()
        self.bridge.create()
        pid = self._spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if not alive(pid) or time.monotonic() > deadline:
                words = self.log.read_text(errors="replace").strip().splitlines()[-2:]
                self._turn_off()
                raise CannotError(f"dockerd did not start: {' | '.join(words)}")
            time.sleep(0.05)

    def _spawn(self) -> int:
        command = [
            *("dockerd", "--host", self.host, "--pidfile", str(self.pidfile)),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            # Where the machine has a containerd of its own, dockerd shares it, by name space.
            *("--containerd-namespace", self.bridge.name),
            *("--containerd-plugins-namespace", f"{self.bridge.name}-plugins"),
            # bridge.py says why the firewall is none of its business.
            *("--bridge", self.bridge.name, "--iptables=false", "--ip6tables=false"),
        ]
        # The shell in between ends at once, so dockerd is nobody's child and outlives the caller.
        done = subprocess.run(
            ["sh", "-c", 'setsid "$@" >"$LOG" 2>&1 </dev/null & echo $!', "sh", *command],
            env={**system_environment(), "LOG": str(self.log)},
            stdout=subprocess.PIPE,
            check=True,
        )
        return int(done.stdout)

    def _turn_off(self) -> None:
        self.keep.unlink(missing_ok=True)
        if (pid := self.pid()) is not None:
            if self.answers():
                self._kill_containers()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not alive(pid), STOP_SECONDS)
        self._sweep()
        self.bridge.remove()

    def pid(self) -> int | None:
        """The pid of our dockerd, and never that of a stranger who has got its number since."""
        try:
            pid = int(self.pidfile.read_text())
        except (OSError, ValueError):
            return None
        return pid if str(self.pidfile) in command_line(pid) else None

    def _kill_containers(self) -> None:
        # dockerd would give each one ten seconds to end by itself.
        client = connect(self.host)
        try:
            for container in client.containers.list(ignore_removed=True):
                with contextlib.suppress(DockerException):
                    container.kill()
        finally:
            client.close()

    def _sweep(self) -> None:
        """End what a dead dockerd has left: containerd, shims, mounts and sockets."""
        left = [pid for pid in all_pids() if self._is_ours(command_line(pid))]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in left), STOP_SECONDS)
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        for point in reversed([line.split()[4] for line in lines]):
            if point.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        self.pidfile.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def _is_ours(self, words: list[str]) -> bool:
        inside = str(self.folder / "exec")
        known = bool(words) and Path(words[0]).name in PROGRAMS
        return known and any(w == inside or w.startswith(f"{inside}/") for w in words)
