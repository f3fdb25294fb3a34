"""The start of a kernel's sandbox, without a kernel."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from docker_kernel.config import Settings
from docker_kernel.errors import (
    DockerKernelError,
    EngineError,
    EngineNotFound,
    EngineNotRunning,
    ServerNotThere,
    SettingError,
)
from docker_kernel.launch import Launcher, SettingsReader
from wire import Server


def test_a_new_start_shows_nothing_of_the_last_one() -> None:
    launcher = Launcher(["--memory=lots"])
    with pytest.raises(SettingError):
        launcher.opening.result(60)
    launcher.progress = "pulling the image: 3 of 5 layers"
    again = launcher.open()
    assert launcher.progress == ""
    with pytest.raises(SettingError):
        again.result(60)
    launcher.stop()


def test_what_is_off_is_switched_on_by_its_name_alone() -> None:
    reader = SettingsReader()
    words = ["-f", "x.json", "--allow-dangerous-mount", "--mounts=/a:/b", "--mounts=/c:/d"]
    reader.read([*words, "--read-only=True"])
    assert Settings.load(None, reader.cli_config, {}).as_arguments() == [
        "--Settings.allow_dangerous_mount=True",
        "--Settings.mounts=/a:/b",
        "--Settings.mounts=/c:/d",
        "--Settings.read_only=True",
    ]


@pytest.mark.parametrize(
    ("environ", "kind", "words"),
    [
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, EngineNotRunning, "unset DOCKER_HOST"),
        ({"DOCKER_HOST": "unix:///nowhere"}, EngineNotFound, "unset DOCKER_HOST"),
        ({"DOCKER_HOST": "ssh://nowhere"}, EngineError, "on another machine"),
        ({"DOCKER_HOST": "foo://bar"}, EngineError, "begins with none of unix://, tcp://"),
        ({"DOCKER_HOST": "a b"}, SettingError, "neither a host's name nor"),
        ({"DOCKER_HOST": "localhost:99999"}, SettingError, "correct DOCKER_HOST"),
        ({"DOCKER_HOST": "[::1]:1"}, ServerNotThere, r"no server answers at \[::1\]:1"),
        ({"DOCKER_HOST": "localhost:1"}, ServerNotThere, "docker_kernel_server"),
        ({"DOCKER_PORT": "1"}, ServerNotThere, "localhost:1"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_PORT": "1"}, ServerNotThere, "localhost:1"),
        ({"DOCKER_HOST": "ssh://nowhere", "DOCKER_PORT": "1"}, ServerNotThere, "localhost:1"),
        ({"DOCKER_HOST": "a b", "DOCKER_PORT": "1"}, SettingError, "DOCKER_HOST"),
    ],
)
def test_odd_addresses_get_an_answer_at_once_and_start_nothing_here(
    environ: dict[str, str],
    kind: type[DockerKernelError],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    before = psutil.Process().children()
    launcher = Launcher([])
    with pytest.raises(kind, match=words) as caught:
        launcher.opening.result(30)
    launcher.stop()
    assert caught.value.remedy
    assert psutil.Process().children() == before


def test_a_connection_file_with_a_long_name(tmp_path: Path) -> None:
    """E9: the session is named after it, and a name has 200 characters on the wire."""
    with Server(tmp_path) as server, server.connect() as other:
        names = [f"{'x' * 244}{end}" for end in "ab"]
        launchers = [
            Launcher([f"--port={server.port}", f"-f={tmp_path / name}.json"]) for name in names
        ]
        for launcher in launchers:
            launcher.opening.result(60)
        sessions = [session["name"] for session in other.ask("status").result["sessions"]]
        assert len(set(sessions)) == 2
        assert all(name.startswith("xxx") and len(name) == 200 for name in sessions)
        for launcher in launchers:
            launcher.stop()
