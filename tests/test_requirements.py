"""Files that say what to install, made fit for an image."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from docker_kernel.errors import SettingError
from docker_kernel.requirements import CONDA_FILE, FOLDER, PIP_FILE, Wanted
from wheels import wheel

PLAIN = """\
# what we need
--index-url https://index.example.com/simple
--find-links https://files.example.com/all
numpy==2.1 ; python_version >= "3.10"
pandas>=2 \\
    --hash=sha256:00ff
tool @ https://files.example.com/tool-1.0-py3-none-any.whl
git+ssh://git@example.com/team/thing.git
-r https://example.com/more.txt
"""


def lines(wanted: Wanted, name: str = PIP_FILE) -> list[str]:
    return wanted.files[name].decode().splitlines()


def of(folder: Path, text: str) -> Wanted:
    (folder / "requirements.txt").write_text(text)
    wanted = Wanted()
    wanted.add_file(folder / "requirements.txt")
    return wanted


def test_what_needs_no_change_stays_as_it_is(tmp_path: Path) -> None:
    assert lines(of(tmp_path, PLAIN)) == PLAIN.splitlines()


def test_further_files_come_along_once_each(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.txt").write_text("six\n-c ../limits.txt\n")
    (tmp_path / "limits.txt").write_text("six<2\n")
    text = "-r sub/base.txt\n--constraint=limits.txt # ours\n--requirement sub/base.txt\n"
    wanted = of(tmp_path, text)
    assert lines(wanted) == [
        "-r 1-base.txt",
        "--constraint 2-limits.txt",
        "--requirement 1-base.txt",
    ]
    assert lines(wanted, "1-base.txt") == ["six", "-c 2-limits.txt"]
    assert lines(wanted, "2-limits.txt") == ["six<2"]


def test_files_that_name_one_another_end(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("-r other.txt\n-r requirements.txt\n")
    assert "1-other.txt" in of(tmp_path, "-r other.txt\n").files


def test_local_packages_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the file, in the current folder, by a file: address, and on the command line."""
    (tmp_path / "here").mkdir()
    one, two = wheel(tmp_path, "zz_one"), wheel(tmp_path / "here", "zz_two")
    monkeypatch.chdir(tmp_path / "here")
    text = f"./{one.name} --hash=sha256:00\nzz @ {one.as_uri()} ; python_version > '3'\n"
    wanted = of(tmp_path, text)
    wanted.add_packages([two.name, "six"])
    first, second, third, fourth = lines(wanted)
    assert first.startswith(f"{FOLDER}/packages/")
    assert first.endswith(f"/{one.name} --hash=sha256:00")
    assert second.endswith(f"/{one.name} ; python_version > '3'")
    assert fourth == "six"
    for line in (first, second, third):
        path = Path(line.split(" ")[0])
        data = wanted.files[str(path.relative_to(FOLDER))]
        assert data == (one if path.name == one.name else two).read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-e .", "pip wheel --no-deps"),
        ("--editable=src/thing", "pip wheel --no-deps"),
        ("--find-links wheels", "pip wheel --no-deps"),
        (".", "it is a folder"),
        ("./gone.whl", "gone.whl can't be read"),
        ("-r gone.txt", "gone.txt can't be read"),
        ("--index-url https://me:word@example.com/simple", "all who get that"),
        ("tool @ https://token@example.com/tool.whl", "all who get that"),
        ("git+ssh://me:word@example.com/x.git", "all who get that"),
    ],
)
def test_what_cannot_be_brought_along_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        of(tmp_path, text)
    assert "word@" not in str(caught.value)
    assert "token@" not in str(caught.value)


# -- environments


def environment(folder: Path, text: str) -> Wanted:
    path = folder / "environment.yml"
    path.write_text(text)
    wanted = Wanted()
    wanted.add_file(path)
    return wanted


def test_an_environment_for_pip_alone(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("six\n")
    wanted = environment(
        tmp_path,
        "name: analysis\nchannels: [conda-forge]\n"
        "dependencies:\n- python=3.11\n- pip\n- pip:\n  - pandas>=2\n  - -r more.txt\n",
    )
    assert (wanted.name, wanted.python, wanted.conda) == ("analysis", "==3.11.*", [])
    assert lines(wanted) == ["pandas>=2", "-r 1-more.txt"]
    assert CONDA_FILE not in wanted.files


def test_what_conda_has_to_do_is_left_to_it(tmp_path: Path) -> None:
    text = "channels: [conda-forge]\ndependencies: [python>=3.10, gdal=3.9, {pip: [six]}]"
    wanted = environment(tmp_path, text)
    assert (wanted.python, wanted.conda) == (">=3.10", ["gdal=3.9"])
    assert lines(wanted) == ["six"]
    made = yaml.safe_load(wanted.files[CONDA_FILE])
    assert made == {"channels": ["conda-forge"], "dependencies": ["gdal=3.9"]}


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("python", ""),
        ("python=3.11", "==3.11.*"),
        ("python==3.11.4", "==3.11.4.*"),
        ("python 3.11.*", "==3.11.*"),
        ("python=3.11.4=h955ad1f_0", "==3.11.4.*"),
        ("python >=3.10,<3.13", ">=3.10,<3.13"),
    ],
)
def test_versions_of_python(tmp_path: Path, conda: str, pip: str) -> None:
    assert environment(tmp_path, f"dependencies: ['{conda}']").python == pip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is no YAML"),
        ("- just\n- a list\n", "no list of dependencies"),
        ("dependencies: numpy", "no list of dependencies"),
        (
            "channels: ['https://x.example.com/t/tok-1/all']\ndependencies: []",
            "password or a token",
        ),
    ],
)
def test_an_environment_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        environment(tmp_path, text)
