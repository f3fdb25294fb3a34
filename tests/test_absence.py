"""How long a connection may be away, how often it is tried, and what is told of it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from docker_kernel import absence
from docker_kernel.absence import LONGEST_PAUSE, Absence, pauses
from docker_kernel.client import Client
from docker_kernel.deadline import Deadline
from docker_kernel.endpoint import Endpoint
from docker_kernel.errors import ConnectionLost
from docker_kernel_server.messages import Run
from wire import PATIENCE, Server

LOST = ConnectionLost("the server at HOST:1 closed the connection")


def test_the_pauses_grow_and_differ() -> None:
    """The clients of a server that was away don't come all at once."""
    several = [list(islice(pauses(), 30)) for _ in range(20)]
    assert all(0 <= pause <= LONGEST_PAUSE for each in several for pause in each)
    assert max(each[0] for each in several) < 0.1
    assert max(each[29] for each in several) > 1
    assert len({each[29] for each in several}) == 20


def test_it_ends_with_the_patience_unless_a_trouble_is_known() -> None:
    assert Absence(LOST, 0).over()
    assert not Absence(LOST, 60).over()
    prolonged = Absence(LOST, 60)
    prolonged.prolong()
    assert not prolonged.over()


def test_refusals_end_it_where_they_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "REFUSED_SECONDS", 0.0)
    away = Absence(LOST, 60)
    away.tried(refused=True)
    assert away.over()
    away.tried(refused=False)
    assert not away.over()


def test_each_thing_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Absence(LOST, 60)
    assert away.news("", "nobody answers") == ""  # it may be back in a moment
    monkeypatch.setattr(absence, "QUIET_SECONDS", 0.0)
    told = away.news("", "nobody answers")
    assert told.startswith("The server at HOST:1 closed the connection (nobody answers).")
    assert "Interrupt to give up" in told
    assert away.news("", "nobody answers") == ""
    assert "it is paused" in away.news("it is paused", "it is paused")
    assert away.news("it is paused", "it is paused") == ""
    assert away.news("", "nobody answers") == ""


def test_a_server_that_is_dead_is_not_waited_for_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C5: nobody listens on its port any more."""
    monkeypatch.setattr(absence, "REFUSED_SECONDS", 0.3)
    with Server(tmp_path) as server:
        client = Client(Endpoint("127.0.0.1", server.port, None), Deadline(10), patience=600)
        call = client.request(Run(client.new_id(), "sleep 60"))
        server.process.kill()
        with pytest.raises(ConnectionLost, match="refused"):
            call.result(PATIENCE)
        client.close()
