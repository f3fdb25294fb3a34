"""What of this machine gives all of it away, where a container sees it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_kernel.backends.dangers import danger, homes_near, sockets_near

HOME = Path("/home/ann")
SOCKETS = [Path("/run/docker.sock"), Path("/data/engine/docker.sock")]


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("/", "whole file system"),
        ("/home/ann", "home folder"),
        ("/home", "holds the home folder /home/ann"),
        ("/run", "socket"),
        ("/data", "socket"),
        ("/data/engine", "socket"),
        ("/data/engine/docker.sock", "it is the socket"),
        ("/proc", "all files"),
        ("/proc/1/root", "all files"),
        ("/home/ann/project", ""),
        ("/home/bob/shared", ""),
        ("/homes", ""),
        ("/data/other", ""),
        ("/run/user/1000/x", ""),
    ],
)
def test_what_is_never_mounted(folder: str, words: str) -> None:
    why = danger(Path(folder), [HOME], SOCKETS)
    assert (words in why) if words else why == ""


def test_homes_of_others_are_no_folder_to_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's own home isn't among them, and its container's user may be one of theirs."""
    monkeypatch.setattr("docker_kernel.backends.dangers._HOMES", (str(tmp_path / "home"), "/no/x"))
    (tmp_path / "home" / "bob" / "project").mkdir(parents=True)
    assert "it holds home folders" in danger(tmp_path / "home", [Path("/root")], [])
    assert "it holds home folders" in danger(tmp_path, [Path("/root")], [])
    assert danger(tmp_path / "home" / "bob" / "project", [Path("/root")], []) == ""
    assert danger(Path("/no"), [Path("/root")], []) == ""


def test_a_system_user_whose_home_is_the_root_can_mount_folders() -> None:
    assert danger(Path("/srv/x"), [Path("/")], []) == ""


def test_homes_are_the_caller_s_and_the_owner_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    assert (tmp_path / "mine").resolve() in homes_near(tmp_path)


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Path]:
    """A bind mount of /, which no path of it tells."""
    place = tmp_path / "bound"
    place.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "--bind", "/", place], check=False).returncode:
        pytest.skip("only root can mount")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_bind_mount_of_the_root_is_the_root(bound: Path) -> None:
    assert "whole file system" in danger(bound, [], [])
    assert "home folder" in danger(bound / "root", [Path("/root")], [])


def test_sockets_of_users_own_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rootless engines, of whatever user, and those that keep their socket in a home."""
    monkeypatch.setattr("docker_kernel.backends.dangers._OF_USERS", str(tmp_path / "users"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("users/4711/docker.sock", "home/.docker/run/docker.sock"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
        assert "it holds the socket" in danger(path.parent.resolve(), [], sockets_near([]))


def test_sockets_of_other_engines_are_known_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "podman.sock"
    monkeypatch.setattr("docker_kernel.backends.dangers._SOCKETS", (str(path), "/nowhere/x.sock"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert path.resolve() in sockets_near([Path("/a")])
        assert Path("/nowhere/x.sock") not in sockets_near([Path("/a")])
        assert "it holds the socket" in danger(tmp_path.resolve(), [], sockets_near([]))
