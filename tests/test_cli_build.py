"""docker-kernel build, as far as it needs no engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_kernel.backends.probing import ImagePython
from docker_kernel.cli import main
from docker_kernel.cli.build import _check_python, _default_base
from docker_kernel.config import Settings
from docker_kernel.errors import SettingError
from docker_kernel.requirements import Wanted


@pytest.mark.parametrize(
    ("image", "python", "base"),
    [
        ("", "==3.11.*", "python:3.11-slim"),
        ("", "==3.11.4.*", "python:3.11.4-slim"),
        ("mine", "==3.11.*", "mine"),
        ("mine", "", "mine"),
        ("mine", ">=3.10", "mine"),
    ],
)
def test_the_base_where_none_is_named(image: str, python: str, base: str) -> None:
    """That of the settings, or else the Python that an environment asks for."""
    assert _default_base(Settings(image=image), Wanted(python=python)) == base


def test_the_base_has_the_python_that_is_asked_for() -> None:
    found = ImagePython("python3", "3.11.4", "cpython-311", writable=True, venv=False)
    for fits in ("", "==3.11.*", ">=3.10,<3.12"):
        _check_python("base:1", found, Wanted(python=fits))
    with pytest.raises(SettingError, match=r"base:1 has Python 3.11.4.*\n.*--base"):
        _check_python("base:1", found, Wanted(python=">=3.12"))
    with pytest.raises(SettingError, match=r"3.12"):
        _check_python("base:1", found, Wanted(python=">=three"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to install"),
        (["six", "--tag", "Upper"], "image's name"),
        (["--apt", "a b"], "package of apt's"),
        (["-r", "gone.txt"], "gone.txt can't be read"),
        (["https://me:word@example.com/x.whl"], "all who get that"),
        (["six", "--extra-ca", "gone.pem"], "gone.pem"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    assert main(["build", "--tag", "x", *words]) == 1
    said = capsys.readouterr()
    assert (said.out, says in said.err) == ("", True), said.err
    assert "word@" not in said.err


def test_a_name_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["build", "six"])
    assert caught.value.code == 2
    assert "--tag" in capsys.readouterr().err
