"""Which containers that were started ahead are of use to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docker_kernel.backends.mounts import bind
from docker_kernel.backends.warm import notes


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the notes that is this test's own."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


def note(environment: dict[str, str], folder: Path, number: int = 1) -> Path:
    """Where the note lies of a container that is made so."""
    lent = {"Type": "volume", "Source": "v", "VolumeOptions": {"Labels": {"by": number}}}
    made: dict[str, Any] = {
        "name": f"docker-kernel-{number}",
        "labels": {"by": number},
        "environment": environment,
        "host_config": {"Mounts": [lent, *bind(folder, "/workspace")]},
    }
    (found,) = notes(1, "unix:///sock", "sha256:1", made)
    return found.path


def test_who_makes_it_is_all_the_same(tmp_path: Path) -> None:
    """E3"""
    assert note({}, tmp_path, 1) == note({}, tmp_path, 2)


@pytest.mark.parametrize("name", ["A", "name", "labels", "VolumeOptions"])
def test_a_variable_of_whatever_name_counts(tmp_path: Path, name: str) -> None:
    """E3"""
    assert note({name: "1"}, tmp_path) == note({name: "1"}, tmp_path)
    assert note({name: "1"}, tmp_path) != note({name: "2"}, tmp_path)


def test_a_folder_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    """E3: a container goes on to see the one that was removed."""
    folder = tmp_path / "work"
    folder.mkdir()
    before = note({}, folder)
    folder.rename(tmp_path / "away")
    folder.mkdir()
    assert note({}, folder) != before
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    assert note({}, folder) == before
