"""Settings that an administrator has pinned (E10): nobody who uses the machine gets around them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from traitlets.config import Config

from docker_kernel import pinned
from docker_kernel.config import Settings
from docker_kernel.errors import ServerNotThere, SettingError
from docker_kernel.launcher import Launcher
from docker_kernel.pinned import Pin, read_pins
from system import is_root

NO_LOCAL = "c.Pinned.allow_local = False\n"

root_only = pytest.mark.skipif(not is_root(), reason="only root can make files that are root's")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders in the place of the system's."""
    made = tmp_path / "usr-local", tmp_path / "etc"
    for folder in made:
        folder.mkdir()
    monkeypatch.setattr(pinned, "FOLDERS", made)
    return made


def load(pins: Mapping[str, object] | None = None, **given: object) -> Settings:
    found = {name: Pin(value, Path("/etc/pins")) for name, value in (pins or {}).items()}
    return Settings.load(None, Config({"Settings": given}), environ={}, pins=found)


# ---- what a pin does


def test_what_is_pinned_is_so_whatever_is_asked_for() -> None:
    assert load({"memory": "1g"}).memory == "1g"
    assert load({"memory": "1g"}, memory="1g", cpus=2.0).cpus == 2.0
    assert load({"blocked_functions": ["eval"]}).blocked_functions == ["eval"]
    with pytest.raises(SettingError) as caught:
        load({"memory": "1g"}, memory="4g")
    assert str(caught.value) == (
        "memory is 4g: /etc/pins pins it to 1g\nTo mend it: leave out --Settings.memory"
    )
    with pytest.raises(SettingError, match="allow_dangerous_mount is True: /etc/pins"):
        load({"allow_dangerous_mount": False}, allow_dangerous_mount=True)


@pytest.mark.parametrize("given", [{"mode": "local"}, {"mode": "LOCAL"}])
def test_local_mode_can_be_forbidden(given: dict[str, str]) -> None:
    """E10"""
    assert load({}, **given).resolved_mode() == "local"
    with pytest.raises(SettingError, match="local mode is not allowed") as caught:
        load({"allow_local": False}, **given)
    assert "c.Pinned.allow_local in /etc/pins" in caught.value.why
    with pytest.raises(SettingError, match="local mode is not allowed"):
        load({}, allow_local=False, **given)
    with pytest.raises(SettingError, match="allow_local is True: /etc/pins pins it to False"):
        load({"allow_local": False}, allow_local=True)
    assert load({"allow_local": False}).resolved_mode() == "docker"


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({"memroy": "1g"}, "there is no setting 'memroy': /etc/pins pins it"),
        ({"memory": "lots"}, r"correct c\.Pinned\.memory in /etc/pins"),
    ],
)
def test_a_pin_that_is_wrong_is_no_pin_that_is_left_out(
    pins: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        load(pins)


# ---- which files count


@root_only
def test_where_pins_stand(folders: tuple[Path, Path]) -> None:
    first, second = folders
    (second / "docker_kernel_config.py").write_text("c.Pinned.memory = '1g'\n" + NO_LOCAL)
    (first / "docker_kernel_config.json").write_text(json.dumps({"Pinned": {"memory": "3g"}}))
    found = read_pins()
    assert {name: pin.value for name, pin in found.items()} == {
        "memory": "3g",
        "allow_local": False,
    }
    assert found["memory"].file == first / "docker_kernel_config.json"
    assert Settings.load(environ={}).memory == "3g"


@root_only
def test_what_a_running_kernel_is_asked_for(folders: tuple[Path, Path]) -> None:
    """%docker image, and what a kernel's note says that it was."""
    (folders[0] / "docker_kernel_config.py").write_text("c.Pinned.image = 'one'\n")
    launcher = Launcher(["--mode=attached", "--port=1"])
    try:
        with pytest.raises(ServerNotThere):
            launcher.opening.result()
        assert launcher._make({"image": "one"}).sandbox.settings.image == "one"
        with pytest.raises(SettingError, match=r"image is two: .* pins it to one"):
            launcher._make({"image": "two"})
    finally:
        launcher.stop()


def test_there_are_none_usually(folders: tuple[Path, Path]) -> None:
    (folders[0] / "docker_kernel_config.py").write_text("c.Settings.memory = '1g'\n")
    assert read_pins() == {}


@pytest.mark.usefixtures("folders")
def test_a_pin_elsewhere_is_told() -> None:
    with pytest.raises(SettingError, match="pins nothing where it stands"):
        Settings.load(Config({"Pinned": {"memory": "1g"}}), environ={})


@pytest.mark.parametrize("weak", ["the file", "the folder", "a folder above", "a link's target"])
def test_what_others_could_write_is_told_and_not_run(
    folders: tuple[Path, Path], tmp_path: Path, weak: str
) -> None:
    """Whoever could write the file could pin, or unpin; it fails and isn't passed over."""
    file = folders[0] / "docker_kernel_config.py"
    file.write_text(NO_LOCAL + "raise SystemExit('it was run')")
    part = {"the file": file, "the folder": folders[0], "a folder above": tmp_path}.get(weak)
    if part is None:
        part = tmp_path / "target.py"
        file.replace(part)
        file.symlink_to(part)
    part.chmod(part.stat().st_mode | 0o020)
    with pytest.raises(SettingError, match="isn't safe") as caught:
        Settings.load(environ={})
    assert (str(part) if is_root() else "chown root") in caught.value.remedy


@root_only
@pytest.mark.parametrize("text", ["c.Pinned.x = (", "c.Pinned = 1 / 0", "c.Pinned; exit()"])
def test_a_file_that_cannot_be_read(folders: tuple[Path, Path], text: str) -> None:
    (folders[0] / "docker_kernel_config.py").write_text(text)
    with pytest.raises(SettingError, match="can't be read"):
        Settings.load(environ={})


# ---- the system's own folder, in a view of the file system of our own

TRY = """
from docker_kernel import tools
from docker_kernel.cli import main
from docker_kernel.errors import ServerNotThere, SettingError
from docker_kernel.launcher import Launcher
from docker_kernel.launcher import Launcher

mode, allow = "--mode=local", "--allow-local=True"
for words in ([mode], [mode, allow], [mode, "--Pinned.allow_local=True"]):
    launcher = Launcher(words)
    try:
        launcher.opening.result()
    except SettingError as exc:
        print("kernel:", exc.what, exc.why)
    launcher.stop()
try:
    tools.create_docker_client(mode="local")
except SettingError as exc:
    print("tools:", exc.what, exc.why)
"""


def test_nobody_gets_around_it(tmp_path: Path) -> None:
    """E10: by no command line, environment or config file; each is refused, and told why."""
    mine = tmp_path / "mine"
    mine.mkdir()
    settings = "c.Settings.mode = 'local'\nc.Settings.allow_local = True\n"
    (mine / "docker_kernel_config.py").write_text(settings)
    script = (
        "mount -t tmpfs -o mode=755 none /usr/local/etc && mkdir /usr/local/etc/jupyter && "
        f"printf %s {shlex.quote(NO_LOCAL)} >/usr/local/etc/jupyter/docker_kernel_config.py && "
        f"exec {shlex.join([sys.executable, '-c', TRY])}"
    )
    command = ["unshare", "-m" if is_root() else "-rm", "sh", "-c", script]
    probe = subprocess.run([*command[:2], "true"], capture_output=True, check=False)
    if probe.returncode or not Path("/usr/local/etc").is_dir():
        pytest.skip("this machine gives no view of the file system of our own")
    for environ in (
        {"JUPYTER_CONFIG_DIR": str(mine)},
        {"JUPYTER_CONFIG_DIR": str(mine), "JUPYTER_CONFIG_PATH": str(mine)},
        {"JUPYTER_CONFIG_DIR": str(mine), "JUPYTER_NO_CONFIG": "1"},
        {"JUPYTER_CONFIG_DIR": str(mine), "JUPYTER_PREFER_ENV_PATH": "1"},
        {"DOCKER_KERNEL_MODE": "local", "DOCKER_KERNEL_ALLOW_LOCAL": "True"},
        {"DOCKER_KERNEL_MODE": "local"},
    ):
        done = subprocess.run(
            command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
        )
        lines = done.stdout.splitlines()
        assert len(lines) == 4, (environ, done)
        for line in lines:
            assert "not allowed" in line or "pins it to False" in line
            assert "/usr/local/etc/jupyter/docker_kernel_config.py" in line
