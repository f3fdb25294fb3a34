"""What has run out, in words. That it is told where it happens: integration/test_exhaustion.py."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from docker_kernel_server.shortage import Shortages, Watches, full_places, of_error, of_refusal


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory that has no room left."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount")
    with pytest.raises(OSError, match="No space left"):
        (tmp_path / "all").write_bytes(bytes(2 << 20))
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_place_that_is_full_is_told_with_its_size(full: Path) -> None:
    roomy = str(Path(__file__).parent)
    (told,) = full_places(temp=str(full), shm=roomy)
    assert told.startswith(f"There is no room left in {full}, which has 1 MiB")
    (told,) = full_places(temp=str(full), shm=roomy, mounts="/nowhere")
    assert "left on the container's disk, which has 1 MiB" in told
    assert "DOCKER_KERNEL_DISK_SIZE" in told
    assert full_places(temp=roomy, shm="/nowhere") == []


def test_what_an_error_says() -> None:
    (told,) = of_error("[Errno 24] Too many open files: 'x'")
    assert "files and connections open at a time" in told
    assert of_error("[Errno 2] No such file or directory: '[Errno 28]'") == []
    assert of_error("no number") == []
    assert len(of_error("OSError: [Errno 28] No space left on device")) == 1
    assert "process or thread" in of_refusal(BlockingIOError(11, "again"))[0]


def test_each_is_told_once(tmp_path: Path) -> None:
    """And to what ran then: what was before is nobody's business."""

    def count(kills: int, refusals: int) -> None:
        (tmp_path / "memory.events").write_text(f"oom_kill {kills}\n")
        (tmp_path / "pids.events").write_text(f"max {refusals}\n")

    count(3, 5)
    with closing(Watches(str(tmp_path))) as watches:
        found = Shortages(watches)
        assert (found.take(None), found.of_processes(), found.killed_now()) == ([], "", False)
        count(4, 6)
        assert found.of_processes() == "There could be no further process or thread."
        assert found.killed_now()
        assert found.take(None) == [
            "A process of this container was killed because memory ran out.",
            "There could be no further process or thread.",
        ]
        assert found.take(None) == []
        count(5, 7)
        found.begin()
        assert found.take({"evalue": "nothing of that"}) == []
