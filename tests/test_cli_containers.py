"""ps, stop and exec, where the engine's answers can't be had at will."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_kernel.backends import throwaway
from docker_kernel.backends.labels import labels
from docker_kernel.cli import main
from docker_kernel.cli.ps import age, size
from faked import FakeEngine, fake_engine

NAME = "docker-kernel-dk7e7801"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine with one container of ours."""
    with tempfile.TemporaryDirectory(prefix="dk-") as folder, fake_engine(Path(folder)) as made:
        monkeypatch.setenv("DOCKER_HOST", made.url)
        about = {"Id": "1", "Names": [f"/{NAME}"], "Labels": labels("kernel", NAME)}
        state = {"State": "running", "Created": 0, "Image": "box:1", "ImageID": "sha256:1"}
        made.answers["GET /containers/json"] = [{**about, **state}]
        made.answers["GET /images/json"] = []
        yield made


def refusal(words: str) -> bytes:
    body = json.dumps({"message": words}).encode()
    head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length:"
    return f"{head} {len(body)}\r\n\r\n".encode() + body


def test_no_containers(fake: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["GET /containers/json"] = []
    assert main(["ps"]) == 0
    assert capsys.readouterr().out == "There are none.\n"
    assert main(["stop", "--all"]) == 0
    assert capsys.readouterr().out == "There is nothing to stop.\n"
    assert main(["logs", "x"]) == 1
    assert "there are none" in capsys.readouterr().err


@pytest.mark.usefixtures("fake")
def test_what_can_not_be_measured_is_shown_without(capsys: pytest.CaptureFixture[str]) -> None:
    """Its image has no name any more, either."""
    assert main(["ps"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:3] == [NAME, "box:1", "running"]
    assert " - - " in f" {' '.join(row)} "


def test_what_can_not_be_stopped_is_a_failure(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers[f"POST /containers/{NAME}/stop"] = refusal("no")
    fake.answers[f"DELETE /containers/{NAME}"] = refusal("no")
    monkeypatch.setattr(throwaway, "_left", set())
    assert main(["stop", NAME]) == 1
    assert f"failed: container {NAME}: the engine doesn't remove it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("exec /x: permission denied", 126),
        ("the weather is bad", 125),
    ],
)
def test_a_command_that_the_engine_does_not_begin(
    fake: FakeEngine, words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Newer engines refuse it; older ones print it, as in the integration test."""
    fake.answers[f"POST /containers/{NAME}/exec"] = {"Id": "job"}
    fake.answers["POST /exec/job/start"] = refusal(words)
    assert main(["exec", NAME, "x"]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("lines", ["x", "-1", "1.5", ""])
def test_how_many_lines_of_a_log(lines: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["logs", NAME, "--tail", lines])
    assert f"{lines!r} is no number of lines" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90000, "1 d 1 h")],
)
def test_ages(seconds: float, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (2048, "2 KB"), (50 << 20, "50 MB"), (2 << 30, "2.0 GB"), (5 << 40, "5120.0 GB")],
)
def test_sizes(count: float, words: str) -> None:
    assert size(count) == words
