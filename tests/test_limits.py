"""What the cgroup tells, in both of its versions (X1, C5).

The files are this test's own, as the kernel writes them: a machine has but one version. What comes
of it in a container is in integration/test_kernel.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from docker_kernel_server.limits import MemoryWatch, PidsWatch, read_limits

MIB = 1 << 20
Version = Callable[[int, int], dict[str, str]]


@pytest.fixture
def owner() -> Iterator[ExitStack]:
    """Closes what it is given."""
    with ExitStack() as stack:
        yield stack


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)


def version_1(kills: int, limit: int) -> dict[str, str]:
    return {
        "memory/memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
        "memory/memory.limit_in_bytes": f"{limit or 9223372036854771712}\n",
        "memory/memory.usage_in_bytes": "1234\n",
        "memory/memory.max_usage_in_bytes": f"{199 * MIB}\n",
    }


def version_2(kills: int, limit: int) -> dict[str, str]:
    return {
        "memory.events": f"low 0\nhigh 0\nmax 23\noom 7\noom_kill {kills}\noom_group_kill 0\n",
        "memory.max": f"{limit or 'max'}\n",
        "memory.current": "1234\n",
        "memory.peak": f"{199 * MIB}\n",
    }


VERSIONS = pytest.mark.parametrize("version", [version_1, version_2])


@VERSIONS
def test_memory_and_its_limit(tmp_path: Path, version: Version) -> None:
    """X1: None stands for no limit, and for what this machine doesn't tell."""
    write(tmp_path, version(0, 200 * MIB))
    found = read_limits(str(tmp_path))
    assert (found["memory"], found["memory_limit"], found["pids"]) == (1234, 200 * MIB, None)
    write(tmp_path, version(0, 0))
    assert read_limits(str(tmp_path))["memory_limit"] is None


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.stat": "usage_usec 2500000\nuser_usec 1\n", "cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.stat": "usage_usec 2500000\n", "cpu.max": "max 100000\n"}, None),
        (
            {
                "cpuacct/cpuacct.usage": "2500000000\n",
                "cpu/cpu.cfs_quota_us": "150000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            1.5,
        ),
        (
            {
                "cpuacct/cpuacct.usage": "2500000000\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_cpu_and_its_limit(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    write(tmp_path, files)
    found = read_limits(str(tmp_path))
    assert (found["cpu_seconds"], found["cpus_limit"]) == (2.5, limit)


@pytest.mark.parametrize(
    "files",
    [
        {"memory.stat": "anon 100\ninactive_file 50\nactive_file 7\n"},
        {"memory/memory.stat": "inactive_file 1\ntotal_inactive_file 50\n"},
    ],
)
def test_memory_that_would_be_given_back(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    assert read_limits(str(tmp_path))["memory_cache"] == 50


@VERSIONS
def test_a_death_of_these_moments_is_told_from_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: Version, owner: ExitStack
) -> None:
    """C5: each session hears of it, and none later."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    write(tmp_path, version(3, 0))
    watch = owner.enter_context(closing(MemoryWatch(str(tmp_path))))
    assert (watch.kills(), watch.just_now(3)) == (3, False)
    now += 3600
    write(tmp_path, version(4, 0))
    assert watch.just_now(3)
    assert watch.kills() == 4
    now += 1
    assert watch.just_now(3)
    assert not watch.just_now(4)  # that one has been told of
    now += 3600
    assert (watch.kills(), watch.just_now(3)) == (4, False)


@VERSIONS
def test_the_limit_and_the_remedy_are_named(
    tmp_path: Path, version: Version, owner: ExitStack
) -> None:
    """C5"""
    watch = owner.enter_context(closing(MemoryWatch(str(tmp_path))))
    for limit, said, more in (
        (200 * MIB, "200 MiB", "4g"),
        (2048 * MIB, "2 GiB", "4g"),
        (2500 * MIB, "2500 MiB", "5g"),
        (8192 * MIB, "8 GiB", "16g"),
    ):
        write(tmp_path, version(0, limit))
        text = watch.explain()
        assert f"limit is {said}, the most that was in use 199 MiB (for more, set " in text
        assert f"DOCKER_KERNEL_MEMORY={more}," in text
        assert f"--memory={more})" in text
    (tmp_path / "memory.peak").unlink(missing_ok=True)  # before Linux 5.19
    (tmp_path / "memory/memory.max_usage_in_bytes").unlink(missing_ok=True)
    assert "limit is 8 GiB (for more, set " in watch.explain()
    write(tmp_path, version(0, 0))
    assert watch.explain() == "because memory ran out"


@pytest.mark.parametrize("folder", ["", "pids/"])
def test_processes_and_their_limit(tmp_path: Path, folder: str, owner: ExitStack) -> None:
    """E7: the limit and the remedy are named."""
    watch = owner.enter_context(closing(PidsWatch(str(tmp_path))))
    assert (watch.refusals(), watch.explain()) == (
        0,
        "There could be no further process or thread.",
    )
    write(tmp_path, {f"{folder}pids.events": "max 7\n", f"{folder}pids.max": "512\n"})
    assert (watch.refusals(), watch.room()) == (7, None)
    write(tmp_path, {f"{folder}pids.current": "500\n"})
    assert watch.room() == 12
    assert watch.explain() == (
        "The container had as many processes and threads as it may have, 512 (for more, set "
        "DOCKER_KERNEL_PIDS=1024, or start the kernel with --pids=1024)."
    )


def test_a_machine_without_cgroups(tmp_path: Path, owner: ExitStack) -> None:
    watch = owner.enter_context(closing(MemoryWatch(str(tmp_path))))
    assert (watch.kills(), watch.just_now(0)) == (0, False)
    assert watch.explain() == "because memory ran out"
    assert set(read_limits(str(tmp_path)).values()) == {None}
