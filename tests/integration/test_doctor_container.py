"""The doctor (E11) with a real engine: what a container of its own shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docker_kernel.cli import main
from docker_kernel.doctor import engine as engines
from docker_kernel.doctor.findings import IDS
from engine import Engine


def report(
    capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, dict[str, str]]]:
    capsys.readouterr()
    code = main(["doctor", "--json", *words])
    found = json.loads(capsys.readouterr().out)["findings"]
    return code, {item["id"]: item for item in found}


def test_a_machine_that_is_in_order(
    image: str,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o777)
    code, found = report(capsys, "--image", image)
    assert code == 0
    assert set(found) == set(IDS)
    # The rest says something of the machine that the tests run on.
    for name in ("engine", "image", "runtime", "start", "folder", "port", "authentication"):
        assert found[name]["level"] == "ok", found[name]
    for name in ("python", "encoding", "enforced"):
        assert found[name]["level"] == "ok", found[name]
    assert engine.host in found["engine"]["what"]
    assert "2g of memory and 512 processes" in found["enforced"]["what"]


def test_an_image_without_python(nopython_image: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, "--image", nopython_image)
    assert code == 1
    assert found["image"]["level"] == "ok"
    assert found["python"]["level"] == "problem"
    assert "no Python was found in the image" in found["python"]["what"]
    assert "DOCKER_KERNEL_IMAGE=python:3.12-slim" in found["python"]["remedy"]
    assert found["start"]["level"] == "skipped"


def test_what_can_not_be_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, "--image", "Not A Name")
    assert code == 1
    assert "is not an image's name" in found["image"]["what"]


def test_a_folder_that_the_container_can_not_write(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    env = ["--env=PYTHONIOENCODING=ascii"]
    # As where the engine is in a machine of its own: its disk is seen from the container alone.
    monkeypatch.setattr(engines, "IN_A_MACHINE", (engines.ENGINE,))
    _, found = report(capsys, "--image", image, "--container-user", "1234:1234", *env)
    assert found["folder"]["level"] == "warning"
    assert found["folder"]["remedy"].startswith(f"sudo chown 1234:1234 {tmp_path}")
    assert "GB free in the container" in found["disk"]["what"]
    assert found["encoding"]["level"] == "warning"
    assert "stdout: ascii" in found["encoding"]["what"]
    assert "PYTHONIOENCODING=ascii" in found["encoding"]["why"]
