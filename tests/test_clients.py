"""Clients that come back, from the server's side; the client here is written from the page alone.

What the project's own client makes of it is in test_lifeline.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docker_kernel_server.clients import MAX_CLIENTS
from system import wait_until
from wire import PATIENCE, Json, Server, Wire


class Returning(Wire):
    """A client that may come back: it counts the lines that it gets."""

    received = 0

    def __init__(self, port: int, name: str, received: int = 0) -> None:
        super().__init__(port)
        self.resumed = self.ask("resume", client=name, received=received).result
        self.received = self.resumed["next"] - 1

    def receive(self) -> Json:
        message = super().receive()
        self.received += 1
        return message

    def acknowledge(self) -> None:
        """Say how much has come."""
        self.send({"type": "ack", "received": self.received})


def test_the_numbers_of_both_sides(server: Server, tmp_path: Path) -> None:
    """P12: the example of the page."""
    with Returning(server.port, "numbers") as first:
        assert first.resumed == {"new": True, "received": 0, "next": 1}
        assert first.run("echo one").text() == "one\n"
        assert first.ask("ping").status == 0
        count = first.received
        assert count == 3
        first.acknowledge()
        first.begin("run", command=f"echo lost; touch {tmp_path}/done")
        assert wait_until((tmp_path / "done").exists, PATIENCE)
        first.abort()
    with Returning(server.port, "numbers", count) as second:
        assert second.resumed == {"new": False, "received": 3, "next": count + 1}
        assert second.receive()["data"] == "lost\n"
        assert second.receive()["status"] == 0


def test_what_was_not_acknowledged_comes_again(server: Server) -> None:
    with Returning(server.port, "again") as first:
        lines = [first.run("echo one").text(), first.run("echo two").text()]
        first.abort()
    with Returning(server.port, "again", 1) as second:
        assert second.resumed["next"] == 2
        found = [second.receive() for _ in range(3)]
        assert [item["type"] for item in found] == ["final", "chunk", "final"]
        assert found[1]["data"] == lines[1]


def test_a_newer_connection_takes_the_place_of_one_that_looks_alive(server: Server) -> None:
    """The client has noticed its end sooner than the server."""
    with Returning(server.port, "twice") as first:
        name = first.begin("run", command="echo on; sleep 0.2; echo off")
        first.wait_for_text(name, "on")
        with Returning(server.port, "twice", first.received) as second:
            assert first.is_closed()
            assert second.receive()["data"] == "off\n"
            assert second.receive()["id"] == name


def test_a_line_that_is_refused_counts_as_well(server: Server) -> None:
    """P3: what comes back is numbered without a hole."""
    with Returning(server.port, "faults") as first:
        first.sock.sendall(b"nonsense\n")
        assert first.receive()["type"] == "fault"
        assert first.ask("fly").final["code"] == "unknown_type"
        first.abort()
    with Returning(server.port, "faults", 1) as second:
        assert second.resumed["received"] == 2
        assert second.receive()["code"] == "unknown_type"


@pytest.mark.parametrize("received", [10**9, -1, 1.5, "1"])
def test_nonsense_for_a_number_harms_nobody(server: Server, received: Any) -> None:
    """P3"""
    name = f"nonsense {received}"
    with Returning(server.port, name) as client:
        client.send({"type": "ack", "received": received})
        assert client.run("echo here").text() == "here\n"
        client.abort()
    with server.connect() as wire:
        answer = wire.ask("resume", client=name, received=received)
        assert (answer.status == 0) == (received == 10**9)


def test_resume_comes_first_or_not_at_all(server: Server) -> None:
    with server.connect() as wire:
        assert wire.ask("ping").status == 0
        answer = wire.ask("resume", client="late")
        assert answer.final["code"] == "refused"
        assert "first request" in answer.result
        assert wire.ask("ping").status == 0


def test_a_client_that_does_not_acknowledge_has_to_wait(server: Server) -> None:
    """Fixed point 9: its command waits, and nobody else."""
    with Returning(server.port, "mute") as client, server.connect() as other:
        name = client.begin("run", command="head -c 40000000 /dev/zero | tr '\\0' x; echo end")
        size = 0
        while size < 4_000_000:
            size += len(client.receive().get("data", ""))
        assert other.run("echo alive").text() == "alive\n"
        assert not client.so_far(name).final
        client.acknowledge()
        while (message := client.receive())["type"] != "final":
            size += len(message["data"])
            client.acknowledge()
        assert size == 40_000_004


def test_leave_ends_it(server: Server) -> None:
    with Returning(server.port, "leaving") as client:
        name = client.begin("run", command="echo on; exec sleep 4321")
        client.wait_for_text(name, "on")
        assert client.ask("leave").status == 0
        assert client.is_closed()
    assert wait_until(lambda: not server.processes("sleep 4321"), PATIENCE)
    with Returning(server.port, "leaving") as again:
        assert again.resumed["new"]


def test_one_that_left_first_makes_room(tmp_path: Path) -> None:
    """P10: a thousand clients that don't come back."""
    with Server(tmp_path) as server:
        for number in range(MAX_CLIENTS):
            with Returning(server.port, f"c{number}") as client:
                client.abort()
        with Returning(server.port, "one more") as client:
            assert client.run("echo alive").text() == "alive\n"
        with Returning(server.port, "c1") as client:
            assert not client.resumed["new"]
        with Returning(server.port, "c0") as client:
            assert client.resumed["new"]


def test_nothing_is_done_for_one_that_has_left(server: Server, tmp_path: Path) -> None:
    """P10: what it sends behind its leave would have nobody who ends it."""
    with Returning(server.port, "gone") as client:
        lines = [
            {"type": "leave", "id": "1"},
            {"type": "run", "id": "2", "command": f"touch {tmp_path}/seen; exec sleep 5432"},
            {"type": "open_session", "id": "3", "session": "of nobody"},
        ]
        client.sock.sendall("".join(json.dumps(line) + "\n" for line in lines).encode())
        assert client.receive()["id"] == "1"
        assert client.is_closed()
    with server.connect() as other:
        sessions = other.ask("status").result["sessions"]
        assert "of nobody" not in [session["name"] for session in sessions]
        assert other.run("true").status == 0
    assert not (tmp_path / "seen").exists()
    assert not server.processes("sleep 5432")


def test_a_client_that_hangs_up_leaves_the_log_quiet(tmp_path: Path) -> None:
    """A container's log is for what a person should know."""
    with Server(tmp_path) as server, server.connect() as other:
        for _ in range(5):
            with Returning(server.port, "rude") as client:
                client.begin("run", command="yes | head -c 2000000; sleep 60")
                for _ in range(20):
                    client.begin("run", command="echo here; echo there >&2")
                client.receive()
                client.abort()
        assert other.run("echo alive").text() == "alive\n"
        assert server.log() == ""
