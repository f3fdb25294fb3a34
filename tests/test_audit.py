"""The audit log (X2): a line when something is sent, and one when it has ended."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

import older
import peer
from docker_kernel import audit, files, tools, variables
from docker_kernel.audit import AuditLog, row_of
from docker_kernel.client import Client
from docker_kernel.config import Settings
from docker_kernel.deadline import Deadline
from docker_kernel.errors import AuditLogError, ConnectionLost, SettingError
from docker_kernel.gate import Gate
from docker_kernel.sandbox import Sandbox
from docker_kernel.session import Session
from docker_kernel_server import messages as wire
from tooling import using
from wire import Server

SECRET = "hunter2-and-more"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def make_settings(path: Path, **keys: Any) -> Settings:
    given = {"mode": "attached", "audit_log": str(path), **keys}
    return Settings.load(None, Config({"Settings": given}), environ={})


@pytest.fixture
def sandbox(server: Server, path: Path) -> Iterator[Sandbox]:
    made = Sandbox(make_settings(path, port=server.port))
    yield made
    made.stop()


def rows(path: Path, *events: str) -> list[dict[str, Any]]:
    """The log's lines, or those of some events."""
    found = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    return [row for row in found if not events or row["event"] in events]


def silence(_request: wire.Request, _send: peer.Send) -> None:
    """Never an answer."""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_cell(sandbox: Sandbox, server: Server, path: Path) -> None:
    """X2: time, id, hash, status, duration; no code, no output, no secret."""
    client = Session(sandbox, "audit").client()
    code = f"password = input() or {SECRET!r}; print(password * 2); 1 / 0"

    def answer(event: wire.Event) -> None:
        if isinstance(event, wire.InputRequest):
            client.request(wire.InputReply("answer", "audit", event.id, SECRET))

    call = client.request(wire.Execute("cell", "audit", code, allow_stdin=True), answer)
    assert call.result(30).reason == "error"
    sent, ended = (row for row in rows(path) if row["id"] == "cell")
    assert (sent["event"], ended["event"]) == ("sent", "ended")
    for row in (sent, ended):
        assert (row["kind"], row["session"], row["sha256"]) == ("cell", "audit", sha256(code))
        assert row["server"] == f"localhost:{server.port}"
        assert row["user"]
        assert datetime.fromisoformat(row["time"].replace("Z", "+00:00")).utcoffset() is not None
    assert (ended["status"], "status" in sent) == ("error", False)
    assert 0 <= ended["seconds"] < 30
    text = path.read_text()
    assert SECRET not in text
    assert "ZeroDivisionError" not in text
    assert (path.stat().st_mode & 0o777) == 0o600
    assert [row["kind"] for row in rows(path, "ended")] == ["open", "cell"]


def test_expressions_that_come_with_a_cell() -> None:
    """They run as the cell does, and a cell may be nothing else."""
    asked = {"a": "f(1)", "b": "g()"}
    row = row_of(wire.Execute("1", "s", "", silent=True, user_expressions=asked))
    assert row is not None
    assert (row["sha256"], row["expressions_sha256"]) == (sha256(""), sha256("f(1)\ng()"))
    assert "expressions_sha256" not in (row_of(wire.Execute("1", "s", "1")) or {})


def test_all_that_is_sent_to_run_or_to_move_something(sandbox: Sandbox, path: Path) -> None:
    client = Session(sandbox, "all").client()
    variables.push(client, "all", {"x": 1})
    assert variables.pull(client, "all", ["x"]) == {"x": 1}
    big = os.urandom(3 << 20)
    files.put(client, big, "big")
    assert files.get(client, "big") == big
    client.ask(wire.Complete(client.new_id(), "all", "x.", 2), 30)
    client.ask(wire.Interrupt(client.new_id(), "all"), 30)
    client.ask(wire.RestartSession(client.new_id(), "all"), 30)
    client.ask(wire.CloseSession(client.new_id(), "all"), 30)
    ended = rows(path, "ended")
    kinds = [row["kind"] for row in ended]
    # A file of three pieces is one line; what is only asked is none.
    words = "open put push pull get remove put get interrupt restart close"
    assert kinds == words.split()
    put = ended[6]
    assert (put["path"], put["bytes"]) == ("big", len(big))
    assert put["sha256"] == hashlib.sha256(big).hexdigest()
    assert {row["status"] for row in ended} == {"ok"}


def test_what_runs_when_the_process_is_killed_has_a_line(path: Path) -> None:
    with peer.server(silence) as endpoint:
        program = (
            "import os, sys; from traitlets.config import Config\n"
            "from docker_kernel.config import Settings; from docker_kernel.sandbox import Sandbox\n"
            "from docker_kernel_server.messages import Execute\n"
            f"given = {{'mode': 'attached', 'port': {endpoint.port}, 'audit_log': {str(path)!r}}}\n"
            "sandbox = Sandbox(Settings.load(None, Config({'Settings': given}), environ={}))\n"
            "sandbox.client().request(Execute('one', 's', 'pass')); os.kill(os.getpid(), 9)"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert [(row["id"], row["event"]) for row in rows(path)] == [("one", "sent")]


def test_a_connection_that_is_lost(path: Path) -> None:
    gate = Gate(make_settings(path, port=1))
    with peer.server(silence) as endpoint:
        client = Client(endpoint, Deadline(10), gate=gate, patience=0.1)
        call = client.request(wire.Execute("one", "s", "pass"))
    with pytest.raises(ConnectionLost):
        call.result(30)
    with pytest.raises(ConnectionLost), closing(client):
        client.request(wire.Execute("two", "s", "pass"))
    found = [(row["id"], row["status"]) for row in rows(path, "ended")]
    assert found == [("one", "no end: ConnectionLost"), ("two", "no end: ConnectionLost")]


@pytest.mark.parametrize("place", ["a folder", "no folder", "a link", "a pipe", "/dev/full"])
def test_where_it_cannot_be_written_nothing_runs(
    server: Server, tmp_path: Path, place: str
) -> None:
    path = tmp_path / "log"
    if place == "a folder":
        path.mkdir()
    elif place == "no folder":
        path = tmp_path / "missing" / "log"
    elif place == "a link":
        path.symlink_to(tmp_path / "other")
    elif place == "a pipe":
        os.mkfifo(path)
    else:
        path = Path(place)
    sandbox = Sandbox(make_settings(path, port=server.port))
    try:
        with pytest.raises(AuditLogError, match="can't be written") as caught:
            Session(sandbox, "none").client()
    finally:
        sandbox.stop()
    assert "DOCKER_KERNEL_AUDIT_LOG" in caught.value.remedy
    with using(server.port, audit_log=str(path)):
        result = tools.run_shell_command("touch made")
    assert "audit log" in result["error"]
    assert not (server.folder / "made").exists()


def test_a_log_that_fails_while_a_cell_runs_is_told(path: Path) -> None:
    told: list[str] = []
    gate = Gate(make_settings(path, port=1), told.append)
    ends = [gate.admit(wire.Execute(name, "s", "pass"), {}) for name in ("one", "two")]
    path.unlink()
    path.mkdir()
    for end in ends:
        end(wire.Final("one", 0))
    assert len(told) == 1
    assert "can't be written" in told[0]
    # What runs can be stopped, whatever the log does; nothing new begins.
    gate.admit(wire.Interrupt("three", "s"), {})
    with pytest.raises(AuditLogError):
        gate.admit(wire.Execute("four", "s", "pass"), {})


def test_a_line_that_was_cut_off_spoils_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(path)
    write = os.write
    # A disk that is full, which this machine's isn't.
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    with pytest.raises(AuditLogError, match="full"):
        log.write({"n": 1})
    monkeypatch.undo()
    log.write({"n": 2})
    assert json.loads(path.read_text().splitlines()[1])["n"] == 2


def test_many_processes_share_a_file(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from docker_kernel.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]))\n"
        "for n in range(500): log.write({'event': '', 'n': n, 'path': 'x' * 3000})"
    )
    command = [sys.executable, "-c", program, str(path)]
    running = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert sorted(row["n"] for row in rows(path)) == sorted([*range(500)] * 4)


def test_a_log_that_is_there_is_added_to(path: Path) -> None:
    path.write_text("{}\n")
    AuditLog(path).write({"n": 1})
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("keys", [{}, {"mounts": ["{}:/data"], "mount_workspace": False}])
def test_a_log_that_the_container_could_change(tmp_path: Path, keys: dict[str, Any]) -> None:
    if "mounts" in keys:
        keys = {**keys, "mounts": [text.format(tmp_path) for text in keys["mounts"]]}
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "audit.log"
    with pytest.raises(SettingError, match="could change the log"):
        Gate(make_settings(path, mode="docker", workspace=str(tmp_path), **keys))
    read_only = {"mount_workspace": False, "mounts": [f"{tmp_path}:/data:ro"]}
    Gate(make_settings(path, mode="docker", workspace=str(tmp_path), **read_only))


def test_a_log_behind_a_link_that_the_container_could_change(tmp_path: Path) -> None:
    for name in ("work", "logs"):
        (tmp_path / name).mkdir()
    (tmp_path / "work" / "link").symlink_to(tmp_path / "logs")
    path = tmp_path / "work" / "link" / "audit.log"
    with pytest.raises(SettingError, match="could change the log"):
        Gate(make_settings(path, mode="docker", workspace=str(tmp_path / "work")))


def test_the_tools(server: Server, path: Path) -> None:
    with using(server.port, audit_log=str(path)):
        tools.run_python_code("print(1)")
        tools.run_shell_command("exit 3")
        tools.run_shell_command("sleep 60", timeout=0.1)
        tools.install_package("no/such/package")
    code, command, late, pip = rows(path, "ended")
    assert (code["kind"], code["stdin_sha256"]) == ("command", sha256("print(1)"))
    assert (command["sha256"], command["status"]) == (sha256("exit 3"), "exit")
    assert late["status"] == "timeout"
    assert pip["kind"] == "pip"


def test_an_older_server(tmp_path: Path, path: Path) -> None:
    with older.serving(tmp_path) as (_, port), using(port, audit_log=str(path)):
        assert tools.run_shell_command("exit 3")["exit_code"] == 3
        assert tools.run_shell_command("exit 0")["success"]
    found = [(row["kind"], row["sha256"], row["status"]) for row in rows(path, "ended")]
    assert found[-2:] == [
        ("command", sha256("exit 3"), "exit"),
        ("command", sha256("exit 0"), "ok"),
    ]
    assert len(rows(path, "sent")) == len(rows(path, "ended"))


def test_every_kind_of_request_is_logged_or_left_out_on_purpose() -> None:
    left_out = {"ping", "leave", "status", "list_files", "complete", "inspect", "is_complete"}
    left_out |= {"history", "comm_info", "close_subshell", "input_reply", "hello", "auth", "resume"}
    requests = {cls for cls in vars(wire).values() if _is_request(cls)}
    assert {cls.TYPE for cls in requests - set(audit._ABOUT)} == left_out
    assert row_of(wire.Ping("one")) is None


def _is_request(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, wire.Request) and bool(cls.TYPE)
