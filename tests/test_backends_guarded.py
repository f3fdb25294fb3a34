"""What the kernel's own Python imports can't be written by a cell."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from docker_kernel.backends.guarded import guards, own_places, why_not_guarded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with an environment two levels down."""
    project = tmp_path.resolve() / "project"
    (project / "a" / ".venv" / "lib" / "site-packages").mkdir(parents=True)
    return project


def mounts(folder: Path, *places: Path) -> dict[str, bool]:
    """Where each guard is mounted, and whether it can only be read."""
    found = guards(folder, "/workspace", list(places))
    assert all(item["Type"] == "bind" for item in found)
    for item in found:
        inner = Path(item["Target"]).relative_to("/workspace")
        assert item["Source"] == str(folder / inner)
    return {item["Target"]: item["ReadOnly"] for item in found}


def test_the_environment_is_read_only_and_what_is_above_it_stays_in_its_place(folder: Path) -> None:
    expected = {"/workspace/a": False, "/workspace/a/.venv": True}
    venv = folder / "a" / ".venv"
    assert mounts(folder, venv) == expected
    # What is imported from lies in it, and needs no more.
    assert mounts(folder, venv, venv / "lib" / "site-packages") == expected
    assert why_not_guarded(folder, [venv]) == ""


def test_what_is_elsewhere_or_not_there_needs_no_guard(folder: Path) -> None:
    assert mounts(folder, Path("/usr"), folder / "none", folder.parent / "other") == {}
    assert mounts(folder, folder, folder.parent) == {}


def test_a_way_by_a_link_outside_of_the_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "env").symlink_to(folder / "a" / ".venv")
    expected = {"/workspace/a": False, "/workspace/a/.venv": True}
    assert mounts(folder, tmp_path / "link" / "a" / ".venv") == expected
    assert mounts(folder, tmp_path / "env") == expected


def test_a_link_in_the_folder_can_be_replaced_and_so_it_is_not_mounted(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "env").mkdir()
    (folder / ".venv").symlink_to(tmp_path / "env")
    assert "the link .venv" in why_not_guarded(folder, [folder / ".venv"])
    (folder / "b").symlink_to(folder / "a")
    assert "the link b" in why_not_guarded(folder, [folder / "b" / ".venv"])


def test_a_folder_of_packages_is_not_mounted() -> None:
    site = Path(sysconfig.get_path("purelib")).resolve()
    for folder in (site, site / "docker", Path(sys.prefix).resolve()):
        assert "part of the Python that runs this kernel" in why_not_guarded(folder, [])
    assert why_not_guarded(Path(sys.prefix).resolve() / "share", own_places()) == ""
