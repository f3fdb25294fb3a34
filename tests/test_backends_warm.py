"""Which containers that were started ahead are of use to whom."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from docker_kernel.backends import Progress, warm
from docker_kernel.backends.mounts import bind
from docker_kernel.backends.warm import Warmer, notes
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.handover import HandoverFile, any_kept
from system import wait_until


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the notes that is this test's own."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


def note(environment: dict[str, str], folder: Path, number: int = 1) -> Path:
    """Where the note lies of a container that is made so."""
    lent = {"Type": "volume", "Source": "v", "VolumeOptions": {"Labels": {"by": number}}}
    made: dict[str, Any] = {
        "Labels": {"by": number},
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "HostConfig": {"Mounts": [lent, *bind(folder, "/workspace")]},
    }
    (found,) = notes(1, "unix:///sock", "sha256:1", made)
    return found.path


def test_who_makes_it_is_all_the_same(tmp_path: Path) -> None:
    """E3"""
    assert note({}, tmp_path, 1) == note({}, tmp_path, 2)


@pytest.mark.parametrize("name", ["A", "Labels", "VolumeOptions"])
def test_a_variable_of_whatever_name_counts(tmp_path: Path, name: str) -> None:
    """E3"""
    assert note({name: "1"}, tmp_path) == note({name: "1"}, tmp_path)
    assert note({name: "1"}, tmp_path) != note({name: "2"}, tmp_path)


def test_a_note_counts_as_long_as_its_container_waits(tmp_path: Path) -> None:
    """E8: a start that finds one makes no haste to make another."""
    assert not any_kept()
    path = note({}, tmp_path)
    path.parent.mkdir()
    path.touch()
    assert any_kept()
    os.utime(path, (0, 0))
    assert not any_kept()


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


class Spare:
    """A backend whose start another thread can look at."""

    def __init__(self, container: str) -> None:
        self.container = container
        self.did: list[str] = []
        self.made = threading.Event()
        self.stopped = threading.Event()

    def __call__(self) -> Spare:
        return self

    def start(self, deadline: Deadline, progress: Progress) -> Endpoint:
        """As a backend does: it says what it begins, and looks whether it is to stop."""
        self.made.set()
        assert self.stopped.wait(deadline.remaining())
        progress("starting a container")
        self.did.append("started")
        return Endpoint("127.0.0.1", 1, None)

    def handover(self) -> dict[str, str] | None:
        """Its name alone."""
        return {"container": self.container}

    def leave(self) -> None:
        """Noted."""
        self.did.append("left")

    def stop(self) -> None:
        """Noted."""
        self.did.append("stopped")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> HandoverFile:
    """A note that isn't there yet; nobody looks at an engine."""
    monkeypatch.setattr(warm, "REST_SECONDS", 0.0)
    monkeypatch.setattr(warm, "_is_there", lambda _: False)
    return HandoverFile("docker-kernel-warm-1-0")


def ended() -> bool:
    """Whether no thread starts anything ahead."""
    return not any(thread.name == "docker-kernel warm" for thread in threading.enumerate())


def test_one_that_another_kernel_was_quicker_with_ends(kept: HandoverFile) -> None:
    """E3: its note would take the place of the other one's, which nobody would find again."""
    first, second = Spare("first"), Spare("second")
    for spare in (first, second):
        Warmer([kept], spare)
        assert spare.made.wait(10)
    first.stopped.set()
    assert wait_until(lambda: first.did[1:] == ["left"], 10)
    second.stopped.set()
    assert wait_until(ended, 10)
    assert (first.did, second.did) == (["started", "left"], ["started", "stopped"])
    assert kept.read() == {"container": "first"}


def test_a_stop_just_before_the_start_is_heard(kept: HandoverFile) -> None:
    """E3: the process may end before the container is there, and nobody would know of it."""
    spare = Spare("a")
    warmer = Warmer([kept], spare)
    assert spare.made.wait(10)
    warmer.stop()
    spare.stopped.set()
    assert wait_until(ended, 10)
    assert spare.did == ["stopped"]
    assert kept.read() is None
