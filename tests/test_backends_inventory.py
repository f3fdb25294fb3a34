"""Which containers there are, where the engine's answers can't be had at will."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from docker_kernel.backends.docker import Engine
from docker_kernel.backends.inventory import Usage, containers, kernel_of, usage
from docker_kernel.backends.labels import labels
from docker_kernel.deadline import Deadline
from faked import FakeEngine, fake_engine

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"


def cpu(used: int, all_of_it: int) -> dict[str, Any]:
    return {
        "cpu_usage": {"total_usage": used},
        "system_cpu_usage": all_of_it,
        "online_cpus": 4,
    }


STATS = {
    "memory_stats": {"usage": 3000, "limit": 5000, "stats": {"inactive_file": 1000}},
    "cpu_stats": cpu(150, 2000),
    "precpu_stats": cpu(50, 1000),
}


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    with tempfile.TemporaryDirectory(prefix="dk-") as folder, fake_engine(Path(folder)) as made:
        yield made


def container(name: str, state: str = "running") -> dict[str, Any]:
    marks = labels("kernel", name)
    image = {"Image": "sha256:1", "ImageID": "sha256:1"}
    return {
        "Id": name,
        "Names": [f"/{name}"],
        "Labels": marks,
        "State": state,
        "Created": 1,
        **image,
    }


@pytest.mark.parametrize(
    "gone",
    [EMPTY, {}, {**STATS, "memory_stats": {}}, {**STATS, "precpu_stats": None}],
    ids=["without a word", "empty", "no memory", "no look before"],
)
def test_a_container_that_ends_while_it_is_measured(fake: FakeEngine, gone: Any) -> None:
    """The others are shown all the same."""
    fake.answers["GET /images/json"] = [{"Id": "sha256:1", "RepoTags": ["box:1"]}]
    listed = [container("b"), container("a"), container("c"), container("d", "exited")]
    fake.answers["GET /containers/json"] = [*listed, {**container("e"), "Names": None}]
    fake.answers["GET /containers/a/stats"] = STATS
    fake.answers["GET /containers/b/stats"] = gone
    with closing(Engine({"DOCKER_HOST": fake.url}, Deadline(20))) as engine:
        found = containers(engine, Deadline(20))
        used = usage(engine, found, Deadline(20))
    assert [(item.name, item.image) for item in found] == [(name, "box:1") for name in "abcd"]
    assert used == {"a": Usage(2000, 5000, 40.0)}


@pytest.mark.parametrize(
    ("argv", "kernel"),
    [
        (["python", "-c", "…", "-f", "/run/kernel-1-2.json"], "1-2"),
        (["python", "-m", "ipykernel_launcher", "-f=/run/kernel-x.json"], "x"),
        (["python", "-m", "ipykernel_launcher", "--f=/run/kernel-x.json"], "x"),
        (["python", "-m", "k", "--IPKernelApp.connection_file=/a/own.json"], "own"),
        (["python", "-f"], ""),
        (["python", "script.py"], ""),
        ([], ""),
    ],
)
def test_the_kernel_on_a_command_line(argv: list[str], kernel: str) -> None:
    assert kernel_of(argv) == kernel
