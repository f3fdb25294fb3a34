"""The kernels in Jupyter: list and uninstall."""

from __future__ import annotations

import errno
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docker_kernel.cli import main
from docker_kernel.cli.table import lines
from docker_kernel.specs import settings_in

PROGRAM = "import sys; from docker_kernel.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `--user` installs kernels, with a ruby and a broken one of others."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "more"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = tmp_path / "data" / "kernels"
    for name, text in {"ruby": '{"argv": ["ruby"]}', "broken": "{"}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "kernel.json").write_text(text)
    assert main(["install", "--name", "torch", "--image", "t:1", "--env", "A=1", "--env=B=2"]) == 0
    return folder


def listed(capsys: pytest.CaptureFixture[str], folder: Path) -> dict[str, dict[str, object]]:
    """What `list --json` has in this folder, by name; this Python may have more."""
    capsys.readouterr()
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["kernels"]
    return {item["name"]: item for item in found if Path(item["folder"]).parent == folder}


def test_list_has_ours_alone(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, kernels) == {
        "torch": {
            "name": "torch",
            "display_name": "Python 3 (Docker, torch)",
            "settings": {"env": ["A=1", "B=2"], "image": "t:1"},
            "folder": str(kernels / "torch"),
            "python": sys.executable,
        }
    }
    assert main(["list"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "TITLE", "SETTINGS", "FOLDER"]
    (row,) = [row for row in rows if row.startswith("torch ")]
    assert "Python 3 (Docker, torch)  env=A=1 env=B=2 image=t:1" in row


def test_uninstall(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--name", "two"]) == 0
    assert main(["uninstall", "Torch", "two", "torch", "--yes"]) == 0
    said = capsys.readouterr().out
    assert said.count("Removed the kernel") == 2
    assert sorted(path.name for path in kernels.iterdir()) == ["broken", "ruby"]


def test_uninstall_removes_nothing_where_one_name_is_wrong(
    kernels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ruby", "broken", "nothing"):
        assert main(["uninstall", "torch", name, "-y"]) == 1
        said = capsys.readouterr().err
        assert f"no kernel '{name}' of docker-kernel's" in said
        assert "torch" in said
    assert (kernels / "torch").exists()
    assert (kernels / "ruby").exists()


def test_uninstall_says_which_one_counts_next(
    kernels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "more" / "kernels" / "torch"
    shutil.copytree(kernels / "torch", other)
    gone = {str(kernels / "torch"), str(other)}
    for _ in range(2):
        assert main(["uninstall", "torch", "-y"]) == 0
        said = capsys.readouterr().out
        removed = said.partition("(")[2].partition(")")[0]
        gone.remove(removed)
        assert [f"from now on: {path}" in said for path in gone] == [True] * len(gone)


def test_uninstall_asks_for_nothing_where_nobody_answers(kernels: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "uninstall", "torch"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "add --yes" in done.stderr
    assert (kernels / "torch").exists()


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_uninstall_asks(kernels: Path, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as keyboard:
        command = [sys.executable, "-c", PROGRAM, "uninstall", "torch"]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True) as process:
            os.close(theirs)
            keyboard.write(f"{answer}\n".encode())
            said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"{kernels / 'torch'}\nRemove this? [y/N] " in said
    assert (kernels / "torch").exists() is (code != 0)


def test_uninstall_of_what_may_not_be_removed(
    kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)  # root may remove everything
    assert main(["uninstall", "torch", "-y"]) == 1
    said = capsys.readouterr().err
    assert f"can't be removed: Permission denied: {kernels / 'torch'}" in said


def test_uninstall_of_a_link_leaves_what_it_leads_to(kernels: Path, tmp_path: Path) -> None:
    (kernels / "torch").rename(tmp_path / "mine")
    (kernels / "torch").symlink_to(tmp_path / "mine")
    assert main(["uninstall", "torch", "-y"]) == 0
    assert not (kernels / "torch").is_symlink()
    assert (tmp_path / "mine" / "kernel.json").exists()


def test_settings_on_a_command_line() -> None:
    words = ["python", "-f", "x", "--Settings.memory=1g", "--container-user=1:1", "--log-level=10"]
    assert settings_in([*words, "--env=A=b=c"]) == {"memory": "1g", "user": "1:1", "env": ["A=b=c"]}


def test_nobody_reads_the_output() -> None:
    """As in `docker-kernel list | true`: no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        command = [sys.executable, "-c", PROGRAM, "list"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_table_shows_no_control_characters() -> None:
    table = list(lines(["A", "B"], [["x\x1b[2J\n", "y"], ["longer name", ""]]))
    assert table == ["A            B", r"x\x1b[2J     y", "longer name"]
