"""The start of a kernel's sandbox, without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import psutil
import pytest

from docker_kernel import launcher as launching
from docker_kernel.cancelling import CalledOff, Cancellation
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.errors import (
    ConnectionLost,
    DockerKernelError,
    EngineError,
    EngineNotFound,
    EngineNotRunning,
    ServerNotThere,
    SettingError,
    StartCancelled,
)
from docker_kernel.handover import HandoverFile
from docker_kernel.launcher import Launcher, in_thread
from docker_kernel.pinned import Pin
from docker_kernel.reader import SettingsReader
from docker_kernel.session import Session
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
        ({"DOCKER_HOST": "ssh://nowhere"}, EngineError, "answers at ssh://nowhere"),
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


@pytest.mark.parametrize(
    ("noted", "known"), [("3.14.0rc2+", "3.14.0rc2+"), ("\x1b[31m3", ""), ("...", "")]
)
def test_what_runs_already_is_reached_when_the_kernel_answers(
    noted: str, known: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K9: what a restarted kernel imports itself comes first, and it knows its Python by then."""
    monkeypatch.setattr(launching, "AHEAD_SECONDS", 60.0)
    connection_file = str(tmp_path / "kernel-1.json")
    HandoverFile(connection_file).write({"container": "none", "python": noted})
    with Server(tmp_path) as server:
        launcher = Launcher(["--mode=attached", f"--port={server.port}", f"-f={connection_file}"])
        launcher.wait_until_waiting()
        session = launcher.look()
        assert session is not None
        assert session.python == known
        assert not wait([launcher.opening], 0.2).done
        launcher.serve()
        launcher.opening.result(60)
        assert session.python == session.info["python"]
        launcher.stop()


# ---- another sandbox in the place of the first --------------------------------------------------


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """One whose server runs on this machine."""
    made = Launcher(["--mode=local", f"--workspace={tmp_path}", f"-f={tmp_path}/kernel-1.json"])
    made.opening.result(60)
    yield made
    made.stop()


def pids() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def test_another_sandbox_takes_the_place_of_the_first(launcher: Launcher) -> None:
    before, first = launcher.session, pids()
    launcher.renew(Cancellation())
    assert launcher.session is not before
    assert not first & pids()
    assert launcher.session is not None
    assert launcher.session.ready is launcher.client()


def test_where_another_one_does_not_start_the_first_stays(launcher: Launcher) -> None:
    before, first = launcher.session, pids()
    with pytest.raises(SettingError, match="/nowhere"):
        launcher.renew(Cancellation(), mode="attached", secret_file="/nowhere")
    assert launcher.session is before
    assert pids() == first
    # What was asked for in vain is forgotten.
    launcher.renew(Cancellation())
    assert launcher.session is not before


def test_another_one_while_the_first_is_starting(tmp_path: Path) -> None:
    """Which is then called off, or ends."""
    made = Launcher(["--mode=local", f"--workspace={tmp_path}", f"-f={tmp_path}/kernel-4.json"])
    made.renew(Cancellation())
    assert isinstance(made.opening.exception(60), (StartCancelled, ConnectionLost, type(None)))
    assert made.session is not None
    assert made.session.ready is made.client()
    assert len(psutil.Process().children()) == 1
    made.stop()
    assert not pids()


def test_what_is_pinned_stays_so(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    before = launcher.session
    pins = {"image": Pin("the-only-one", Path("/etc/pins"))}
    monkeypatch.setattr("docker_kernel.config.read_pins", lambda _config: pins)
    with pytest.raises(SettingError, match="/etc/pins pins it to the-only-one"):
        launcher.renew(Cancellation(), image="another")
    assert launcher.session is before


@pytest.mark.parametrize("when", ["before", "midway", "at the end"])
def test_a_start_that_is_called_off(
    launcher: Launcher, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, first = launcher.session, pids()
    cancellation = Cancellation()
    opened = Session.client

    def call_off_then_return(session: Session) -> Client:
        client = opened(session)
        cancellation.cancel()
        return client

    if when == "before":
        cancellation.cancel()
    elif when == "midway":
        monkeypatch.setattr(launcher, "_show", lambda _text: cancellation.cancel())
    else:
        monkeypatch.setattr(Session, "client", call_off_then_return)
    with pytest.raises(CalledOff):
        launcher.renew(cancellation)
    assert launcher.session is before
    assert pids() == first


def test_a_stop_ends_a_start_that_is_under_way_too(tmp_path: Path) -> None:
    """And what is there still goes first: nothing starts after the end."""
    made = Launcher(["--mode=local", f"--workspace={tmp_path}", f"-f={tmp_path}/kernel-2.json"])
    made.opening.result(60)
    others = [in_thread(lambda: made.renew(Cancellation()), "renew") for _ in range(2)]
    made.stop()
    for other in others:
        assert isinstance(other.exception(60), (StartCancelled, type(None)))
    assert not pids()
    with pytest.raises(StartCancelled):
        made.renew(Cancellation())


def test_the_next_process_hears_of_what_was_asked_for(tmp_path: Path) -> None:
    note = HandoverFile(f"{tmp_path}/kernel-3.json")
    note.write({"container": "gone", "asked.image": "somebody/else:1", "asked.nonsense": "x"})
    made = Launcher(["--mode=local", "--image=configured", f"-f={tmp_path}/kernel-3.json"])
    made.opening.result(60)
    assert made.session is not None
    assert made.session.sandbox.settings.image == "somebody/else:1"
    assert made.configured_image == "configured"
    made.stop()
    assert note.read() is None


def test_a_note_changes_no_setting_that_nobody_can_ask_for(tmp_path: Path) -> None:
    """Where the connection file lies in a folder that the container sees, code may write one."""
    asked = {"asked.allow_dangerous_mount": "True", "asked.workspace": "/", "asked.lease": "7"}
    HandoverFile(f"{tmp_path}/kernel-4.json").write({"container": "gone", **asked})
    made = Launcher(["--mode=local", f"--workspace={tmp_path}", f"-f={tmp_path}/kernel-4.json"])
    made.opening.result(60)
    assert made.session is not None
    settings = made.session.sandbox.settings
    found = (settings.allow_dangerous_mount, settings.workspace, settings.lease)
    made.stop()
    assert found == (False, str(tmp_path), 120.0)
