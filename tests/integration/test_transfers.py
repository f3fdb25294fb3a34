"""Files and variables of a real container (M4, M5): its user, its limits, its folders."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from docker_kernel import Sandbox, Settings, files, variables
from docker_kernel.client import Client
from docker_kernel.errors import RequestRefused
from docker_kernel_server.messages import MAX_PIECE_BYTES, OpenSession, Run
from kernels import PATIENCE

OWNER = 4321
LARGE = 200 * MAX_PIECE_BYTES


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A project folder of an ordinary user, where others can get to."""
    with tempfile.TemporaryDirectory(prefix="dk-work-") as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        if os.getuid() == 0:
            os.chown(path, OWNER, OWNER)
        yield path


@pytest.fixture(scope="module")
def client(image: str, folder: Path) -> Iterator[Client]:
    """A container with less memory than the large file has."""
    chosen = {"image": image, "pull": "never", "workspace": str(folder), "memory": "160m"}
    environ = {f"DOCKER_KERNEL_{name.upper()}": value for name, value in chosen.items()}
    sandbox = Sandbox(Settings.load(environ=environ))
    try:
        connected = sandbox.client()
        connected.ask(OpenSession("open", "main"))
        yield connected
    finally:
        sandbox.stop()


def test_a_file_that_is_put_belongs_to_the_folder_s_owner(client: Client, folder: Path) -> None:
    """E5"""
    files.put(client, b"a,b\n1,2\n", "data/é ß.csv")
    there = folder / "data" / "é ß.csv"
    assert there.read_bytes() == b"a,b\n1,2\n"
    if os.getuid() == 0:
        assert there.stat().st_uid == there.parent.stat().st_uid == OWNER
    (entry,) = files.list(client, "data")
    assert (entry.name, entry.kind, entry.size) == ("é ß.csv", "file", 8)


def test_a_file_of_the_container_alone(client: Client, tmp_path: Path) -> None:
    files.put(client, b"inside", "/tmp/deep/file")
    files.get(client, "/tmp/deep/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"inside"
    files.remove(client, "/tmp/deep/file")
    assert files.list(client, "/tmp/deep") == ()


@pytest.mark.parametrize("path", ["/etc/hosts", "/etc/new", "/root/new", "/new/folder/file"])
def test_what_the_container_s_user_may_not_write(client: Client, path: str) -> None:
    """E7"""
    with pytest.raises(RequestRefused, match=r"can't be written: .*choose a folder"):
        files.put(client, b"x", path)


def test_a_large_file_in_a_small_container(client: Client, folder: Path, tmp_path: Path) -> None:
    block = os.urandom(MAX_PIECE_BYTES)
    with (tmp_path / "large").open("wb") as file:
        for _ in range(LARGE // len(block)):
            file.write(block)
    files.put(client, tmp_path / "large", "large")
    assert (folder / "large").stat().st_size == LARGE
    files.get(client, "large", tmp_path / "back")
    with (tmp_path / "back").open("rb") as file:
        assert all(file.read(len(block)) == block for _ in range(LARGE // len(block)))
    files.remove(client, "large")
    assert not (folder / "large").exists()


def test_variables(client: Client) -> None:
    sent = {"a": [1, {"k": Decimal("1.0")}], "b": b"\0" * 3_000_000}
    variables.push(client, "main", sent)
    assert variables.pull(client, "main", ["a", "b"]) == sent
    # Its removal isn't waited for.
    look = "while ls -A /tmp | grep -q '[.]values$'; do sleep 0.1; done"
    assert client.request(Run("left", look, timeout=PATIENCE)).result().status == 0


def test_numpy_that_the_image_does_not_have(client: Client) -> None:
    with pytest.raises(RequestRefused, match="has no numpy; install it there: pip install numpy"):
        variables.push(client, "main", {"a": np.arange(3)})
