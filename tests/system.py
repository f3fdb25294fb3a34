"""What the tests need of the machine: its programs, packages and processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Debian keeps dockerd, iptables and debootstrap in folders that a plain user's PATH lacks.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

APT_LOCK = "/run/lock/docker-kernel-tests"


class CannotError(Exception):
    """Something can't be had on this machine; the text says what and why, in one line."""


def say(text: str) -> None:
    """One line on how far it is, where it doesn't mix with what a script reads."""
    print(text, file=sys.stderr, flush=True)


def on_debian() -> bool:
    """Whether this is Debian or one of its children, so that apt-get and debootstrap work."""
    with contextlib.suppress(OSError):
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
        words = " ".join(line for line in lines if line.startswith(("ID=", "ID_LIKE=")))
        return "debian" in words or "ubuntu" in words
    return False


def is_root() -> bool:
    """Whether this process may start daemons and change roots."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def system_tool(name: str) -> str | None:
    """The full path of a system program, or None."""
    return shutil.which(name, path=SYSTEM_PATH)


def system_environment() -> dict[str, str]:
    """What system programs get: proxies and every system folder, but no settings of the tests."""
    kept = ("HOME", "LANG", "LC_ALL")
    environment = {
        key: value
        for key, value in os.environ.items()
        if key in kept or key.lower().endswith("_proxy")
    }
    return {**environment, "PATH": SYSTEM_PATH}


def system_run(*command: str) -> str:
    """Run a system program and return what it printed.

    Raises CannotError with the program's last words."""
    done = subprocess.run(
        command, env=system_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise CannotError(f"{' '.join(command[:3])} failed: {words[-1]}")
    return done.stdout


def apt_install(*packages: str) -> None:
    """Install Debian packages. Raises CannotError."""
    say(f"installing {', '.join(packages)} with apt-get")
    # One at a time, of all that share the tests: apt-get itself fails where another one runs.
    quiet = ("flock", APT_LOCK, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q")
    system_run(*quiet, "update")
    system_run(*quiet, "install", "--yes", "--no-install-recommends", *packages)


def all_pids() -> list[int]:
    """Every process on a Linux machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> list[str]:
    """A process's program and arguments; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until it is so; False where the time ran out."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and kill it where it doesn't."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
