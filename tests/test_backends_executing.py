"""A command in a container, where the engine answers in ways that can't be had at will."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from docker_kernel.backends import executing
from docker_kernel.backends.docker import Engine
from docker_kernel.backends.executing import execute
from docker_kernel.deadline import Deadline
from docker_kernel.errors import EngineError
from faked import FakeEngine, fake_engine

HEAD = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)


def frame(which: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", which, len(data)) + data


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    with tempfile.TemporaryDirectory(prefix="dk-") as folder, fake_engine(Path(folder)) as made:
        made.answers["POST /containers/x/exec"] = {"Id": "job"}
        made.answers["GET /exec/job/json"] = {"Running": False, "ExitCode": 5}
        yield made


def run(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> int:
    nothing = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr(executing, "_STDIN", nothing)
    with closing(Engine({"DOCKER_HOST": fake.url}, Deadline(20))) as engine:
        return execute(engine, "x", ["true"], terminal=False)


def test_output_that_comes_with_the_head_of_the_answer_is_not_lost(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    output = frame(1, b"one\n") + frame(2, b"two\n") + frame(1, b"x" * 100_000)
    fake.answers["POST /exec/job/start"] = HEAD + output
    assert run(fake, monkeypatch) == 5
    said = capfd.readouterr()
    assert said.out == "one\n" + "x" * 100_000
    assert said.err == "two\n"


def test_an_exit_code_that_never_comes(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answers["POST /exec/job/start"] = HEAD
    fake.answers["GET /exec/job/json"] = {"Running": True, "ExitCode": None}
    monkeypatch.setattr(executing, "CODE_SECONDS", 0.1)
    with pytest.raises(EngineError, match="exit code is unknown"):
        run(fake, monkeypatch)
