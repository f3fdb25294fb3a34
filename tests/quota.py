"""The setting disk_size on an engine that can hold it: a throw-away one, on a btrfs in a file.

    python tests/quota.py

Takes a minute, root, and a kernel with btrfs. The tests have what an engine says that can't
(integration/test_hardening.py).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import images
from docker_kernel.config import Settings
from docker_kernel.errors import EngineRefused
from docker_kernel.sandbox import Sandbox
from docker_kernel_server import messages as wire
from dockerd import ThrowAway, connect
from system import CannotError, apt_install, is_root, say, system_environment, system_tool

FILE_BYTES = 4 << 30
DISK_SIZE = "300m"
"""With btrfs the image, of some 150 MB, is in it."""

PATIENCE = 120
FILL = """
import os
with open("/tmp/full", "wb") as file:
    for _ in range(600):
        file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
"""


@contextlib.contextmanager
def btrfs() -> Iterator[Path]:
    """A folder on a btrfs of its own, with quotas. Raises CannotError."""
    if not is_root():
        raise CannotError("mounting needs root")
    if system_tool("mkfs.btrfs") is None:
        apt_install("btrfs-progs")
    # Short, as the path of a socket must be.
    with tempfile.TemporaryDirectory(prefix="dkq-", dir="/tmp") as name:
        file, folder = Path(name, "disk"), Path(name, "b")
        folder.mkdir()
        with file.open("wb") as disk:
            disk.truncate(FILE_BYTES)
        run("mkfs.btrfs", "-q", str(file))
        run("mount", "-o", "loop", str(file), str(folder))
        try:
            run("btrfs", "quota", "enable", str(folder))
            yield folder
        finally:
            run("umount", str(folder))


def run(*command: str) -> None:
    """Run a program of the system's. Raises CannotError."""
    done = subprocess.run(
        command, env=system_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[str]:
    """An engine with its data in the folder; the name of an image that it has."""
    ours = ThrowAway(folder / "e")
    ours.acquire()
    try:
        os.environ["DOCKER_HOST"] = ours.host
        with contextlib.closing(connect(ours.host)) as client:
            yield images.image("base", client)
    finally:
        ours.release()
        ours.stop()


def fill(image: str) -> str:
    """Write more than there is room for: what the person is told."""
    settings = Settings(image=image, mount_workspace=False, disk_size=DISK_SIZE, network="none")
    sandbox = Sandbox(settings)
    try:
        client = sandbox.client()
        for name in ("main", "other"):
            client.ask(wire.OpenSession(client.new_id(), name), PATIENCE)
        events: list[wire.Event] = []
        cell = client.request(wire.Execute(client.new_id(), "main", FILL), events.append)
        final = cell.result(PATIENCE)
        assert final.reason == "error", final
        told = "".join(event.data for event in events if isinstance(event, wire.Chunk))
        assert "DOCKER_KERNEL_DISK_SIZE" in told, (told, final)
        # Nobody else is hurt: not the other session, nor this one once it has made room.
        for name, code in (("other", "1"), ("main", "os.remove('/tmp/full'); open('/tmp/x', 'w')")):
            again = client.request(wire.Execute(client.new_id(), name, code)).result(PATIENCE)
            assert again.reason == "ok", again
        return told
    finally:
        sandbox.stop()


def refuse(image: str) -> str:
    """A size that has no room for the image itself: what the person is told."""
    sandbox = Sandbox(Settings(image=image, mount_workspace=False, disk_size="64m"))
    try:
        sandbox.client()
    except EngineRefused as exc:
        told = str(exc)
    else:
        told = "it wasn't refused"
    finally:
        sandbox.stop()
    assert "to a larger size" in told, told
    return told


def main() -> int:
    """The script; returns its exit code."""
    try:
        with btrfs() as folder, engine(folder) as image:
            say(f"quota: a container with a disk of {DISK_SIZE} was filled: {fill(image).strip()}")
            say(f"quota: one of 64m was refused: {refuse(image)}")
    except CannotError as exc:
        say(f"quota: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
