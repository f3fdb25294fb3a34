"""Whether the process that a label names still lives, told by more than its number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from docker_kernel.backends import owners
from docker_kernel.backends.owners import Owner
from system import wait_until

TELL = (
    "import json, sys; from docker_kernel.backends.owners import Owner;"
    "print(json.dumps(Owner.me().words()), flush=True); sys.stdin.read()"
)


def read(process: subprocess.Popen[str]) -> Owner:
    """Who a process that runs TELL says that it is."""
    assert process.stdout is not None
    owner = Owner.read(json.loads(process.stdout.readline()))
    assert owner is not None
    return owner


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, sys.executable, "-c", TELL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_lives_until_it_is_killed_also_where_nobody_has_waited_for_it() -> None:
    with start() as process:
        owner = read(process)
        assert owner.hidden() == ""
        assert owner.lives()
        process.kill()
        # Nobody has waited for it yet: it is still in the table.
        assert wait_until(lambda: not owner.lives(), 10)
        assert Path(f"/proc/{owner.pid}").exists() or sys.platform != "linux"
    assert not owner.lives()


def test_a_number_that_was_given_again_is_another_process() -> None:
    me = Owner.me()
    assert me.lives()
    assert not replace(me, start=str(float(me.start) - 10)).lives()


def test_others_cannot_be_called_dead() -> None:
    """E8: the same number may be a living process over there."""
    me = Owner.me()
    elsewhere = replace(me, space=f"{me.space}0", host="elsewhere")
    assert "elsewhere" in elsewhere.hidden()
    assert "somebody" in replace(me, user="somebody").hidden()


def test_machines_of_the_same_name_are_told_apart_elsewhere_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E8: two Macs with one engine; on Linux it is the boot that tells."""
    monkeypatch.setattr(sys, "platform", "darwin")
    found = []
    for name in ("one", "two", "one"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        found.append(owners._space("macbook"))
    assert found[0] == found[2] != found[1]
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert owners._space("macbook") != owners._space("macbook")


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs root on Linux")
def test_another_namespace_of_the_same_machine_is_told_apart() -> None:
    """E8: a container of the same host's name counts its processes anew."""
    with start("unshare", "--pid", "--fork", "--kill-child", "--mount-proc") as process:
        owner = read(process)
        assert owner.host == Owner.me().host
        assert owner.pid == "1"
        assert owner.hidden()
        assert process.stdin is not None
        process.stdin.close()


def test_words_go_there_and_back() -> None:
    me = Owner.me()
    assert Owner.read(me.words()) == me
    for name in me.words():
        assert Owner.read({**me.words(), name: ""}) is None
    assert Owner.read({**me.words(), "pid": "x"}) is None


def test_marks_last_as_long_as_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    owners.mark_taken("mine")
    with start() as process:
        dead = read(process)
        monkeypatch.setattr(Owner, "me", lambda: dead)
        owners.mark_taken("other")
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert owners.taken_by("other") == dead
        process.kill()
    assert owners.taken_by("other") is None
    assert owners.taken_by("mine") == Owner.me()
    owners.drop_old_marks()
    assert [path.name for path in tmp_path.rglob("*.json")] == ["mine.json"]
    owners.unmark_taken("mine")
    owners.unmark_taken("mine")
    assert owners.taken_by("mine") is None
