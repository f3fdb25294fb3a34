"""Finding an engine, and a throw-away one from start to end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine as engine_module
from dockerd import ThrowAway, cannot_start, connect
from engine import engine_host, find, using
from system import CannotError, alive, system_run

needs_dockerd = pytest.mark.skipif(
    cannot_start() is not None, reason=f"no throw-away engine: {cannot_start()}"
)


@pytest.fixture
def ours() -> Iterator[ThrowAway]:
    """A throw-away engine in a folder of its own, off; whatever a test leaves on is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="dk-", dir="/tmp"))
    made = ThrowAway(folder)
    yield made
    made.release()
    made.stop()
    assert not folder.exists()


def firewall() -> str:
    return system_run("iptables", "-S") + system_run("iptables", "-t", "nat", "-S")


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("unix:///run/x.sock", "unix:///run/x.sock"),
        ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
        ("ssh://somebody@there", "ssh://somebody@there"),
        ("localhost", None),
        ("10.0.0.1", None),
        ("", None),
    ],
)
def test_a_bare_host_name_is_no_engine(value: str, host: str | None) -> None:
    assert engine_host({"DOCKER_HOST": value}) == host


def test_an_engine_that_is_named_and_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(CannotError, match="no engine answers at DOCKER_HOST"):
        find()
    with pytest.raises(CannotError, match=r"/nowhere/docker\.sock"), using():
        pass


def test_the_reason_says_what_to_do(monkeypatch: pytest.MonkeyPatch, ours: ThrowAway) -> None:
    """As a plain user on a machine without an engine."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine_module, "DEFAULT_SOCKET", Path("/nowhere/docker.sock"))
    monkeypatch.setattr(engine_module, "ThrowAway", lambda: ours)
    monkeypatch.setattr(engine_module, "cannot_start", lambda: "needs root")
    with pytest.raises(CannotError, match=r"/nowhere/docker\.sock.*needs root"), using():
        pass


@needs_dockerd
def test_start_share_and_stop(ours: ThrowAway) -> None:
    before = firewall()
    ours.acquire()
    pid = ours.pid()
    assert pid is not None
    assert ours.answers()
    with pytest.raises(CannotError, match="is using the engine"):
        ThrowAway(ours.folder).stop()

    other = ThrowAway(ours.folder)
    other.acquire()
    ours.release()
    assert other.pid() == pid, "the first to leave must not turn it off for the second"
    assert other.answers()
    other.release()
    assert not alive(pid)
    assert not ours.answers()
    assert firewall() == before
    assert not Path("/sys/class/net", ours.bridge.name).exists()


@needs_dockerd
def test_keep_outlives_its_users(ours: ThrowAway) -> None:
    ours.acquire(keep=True)
    other = ThrowAway(ours.folder)
    other.acquire()
    other.release()
    assert ours.answers()
    ours.stop()
    assert not ours.answers()


@needs_dockerd
def test_a_killed_engine_leaves_nothing_in_the_way(ours: ThrowAway) -> None:
    ours.acquire()
    first = ours.pid()
    assert first is not None
    os.kill(first, 9)
    other = ThrowAway(ours.folder)
    other.acquire()
    assert other.answers()
    assert other.pid() != first
    ours.release()
    other.release()
    running = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True)
    assert str(ours.folder) not in running.stdout


@needs_dockerd
def test_another_engines_firewall_is_left_alone(ours: ThrowAway) -> None:
    """A dockerd with its own rules would flush those of every other one."""
    before = set(firewall().splitlines())
    ours.acquire()
    assert before - set(firewall().splitlines()) == set()


@needs_dockerd
def test_a_folder_of_somebody_else_is_refused() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dk-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        with pytest.raises(CannotError, match="not a private folder"):
            ThrowAway(folder).acquire()
    finally:
        shutil.rmtree(folder)


@needs_dockerd
def test_the_longest_socket_path_fits() -> None:
    assert len(str(ThrowAway().folder / "exec/containerd/containerd-debug.sock")) < 107


def test_script_says_how_it_is_used() -> None:
    script = Path(engine_module.__file__)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "start | stop | status | env" in done.stderr


@needs_dockerd
def test_engine_lists_no_containers_at_first(ours: ThrowAway) -> None:
    ours.acquire()
    client = connect(ours.host)
    assert client.containers.list(all=True) == []
    client.close()
