"""Which files and folders of this machine a container may see."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_kernel.backends.address import Address
from docker_kernel.backends.mounts import further_mounts, why_not_mounted
from docker_kernel.config import Settings
from docker_kernel.errors import SettingError

HERE, ELSEWHERE = Address("unix:///var/run/docker.sock"), Address("ssh://ada@far")


def settings(*mounts: str, **more: str) -> Settings:
    """Settings with these mounts."""
    given = {"mounts": ",".join(mounts), **more}
    return Settings.load(environ={f"DOCKER_KERNEL_{k.upper()}": v for k, v in given.items()})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, with a folder for data in it."""
    (tmp_path / "home" / "data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return (tmp_path / "home").resolve()


def test_mounts_as_the_engine_takes_them(home: Path) -> None:
    found = further_mounts(settings("~/data:/data:ro", f"{home}/data:/workspace/more/"), [], HERE)
    source = str(home / "data")
    assert found == [
        {"Type": "bind", "Source": source, "Target": "/data", "ReadOnly": True},
        {"Type": "bind", "Source": source, "Target": "/workspace/more", "ReadOnly": False},
    ]


@pytest.mark.parametrize("how", ["{home}", "{home}/data/..", "{home}/link", "/", "/proc/self/root"])
@pytest.mark.parametrize("mode", ["", ":ro"])
def test_what_gives_the_machine_away_needs_its_own_word(home: Path, how: str, mode: str) -> None:
    (home / "link").symlink_to(home.parent)
    text = how.format(home=home)
    with pytest.raises(SettingError, match="--allow-dangerous-mount") as caught:
        further_mounts(settings(f"{text}:/there{mode}"), [], HERE)
    assert "is not mounted" in caught.value.what
    allowed = settings(f"{text}:/there{mode}", allow_dangerous_mount="true")
    assert further_mounts(allowed, [], HERE)[0]["Source"] == str(Path(text).resolve())


def test_an_engine_on_another_machine_sees_nothing_of_this_one(home: Path) -> None:
    with pytest.raises(SettingError, match="on another machine"):
        further_mounts(settings(f"{home}/data:/data"), [], ELSEWHERE)
    assert further_mounts(settings(), [], ELSEWHERE) == []


def test_the_workspace_goes_by_the_same_rules(home: Path, tmp_path: Path) -> None:
    assert "home folder" in why_not_mounted(home, settings(), [])
    assert why_not_mounted(home, settings(allow_dangerous_mount="true"), []) == ""
    folder = tmp_path.resolve() / "run"
    folder.mkdir()
    assert "socket" in why_not_mounted(folder, settings(), [folder / "engine.sock"])


def test_what_this_python_imports_can_be_read_and_not_written() -> None:
    package = Path(__file__).parent.parent / "docker_kernel"
    with pytest.raises(SettingError, match="the Python that runs this kernel"):
        further_mounts(settings(f"{package}:/code"), [], HERE)
    assert len(further_mounts(settings(f"{package}:/code:ro"), [], HERE)) == 1
    project = further_mounts(settings(f"{package.parent}:/code"), [], HERE)
    assert {"/code", "/code/docker_kernel"} <= {mount["Target"] for mount in project}
    assert [m["ReadOnly"] for m in project if m["Target"] == "/code/docker_kernel"] == [True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/nowhere/at/all:/data", "No such file"),
        ("{home}/data:/", "for what this kernel"),
        ("{home}/data:/workspace", "DOCKER_KERNEL_WORKSPACE"),
        ("{home}/data:/opt/docker-kernel/lib", "for what this kernel"),
        ("{home}/data:/x/../proc/self", "for what this kernel"),
    ],
)
def test_what_cannot_be_mounted(home: Path, text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        further_mounts(settings(text.format(home=home)), [], HERE)
