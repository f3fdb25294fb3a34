"""The journal: numbered lines, in memory, in files, and what is left where there are too many."""

from __future__ import annotations

import json
import os
import tempfile
from typing import IO, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from docker_kernel_server.journal import Journal
from docker_kernel_server.messages import Chunk, Final, encode


def chunk(text: str) -> bytes:
    return encode(Chunk("cell", text))


def everything(journal: Journal, after: int) -> list[dict[str, Any]]:
    """All lines after a number, as a client gets them."""
    lines: list[dict[str, Any]] = []
    while after < journal.last:
        data, after = journal.read(after)
        lines += [json.loads(line) for line in data.splitlines()]
    return lines


class Client(RuleBasedStateMachine):
    """A client that comes and goes: it counts what it gets, and must have all of it in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal(limit=1500, segment=400)
        self.written: list[str] = []
        self.finals: list[str] = []
        self.got: list[str | int] = []
        self.received = self.told = 0
        self.there = True
        self.sent = 0

    @rule(size=st.integers(1, 180), final=st.booleans())
    def write(self, size: int, final: bool) -> None:
        name = f"{len(self.written)}:{'x' * size}"
        self.written.append(name)
        if final:
            self.finals.append(name)
        self.journal.append(encode(Final(name, 0)) if final else chunk(name))
        if not self.there:
            self.journal.trim()

    @precondition(lambda self: self.there)
    @rule()
    def read(self) -> None:
        if self.sent < self.journal.last:
            data, self.sent = self.journal.read(self.sent)
            for line in data.splitlines():
                message = json.loads(line)
                kind = message["type"]
                self.got.append(
                    message["lines"]
                    if kind == "gap"
                    else message["data" if kind == "chunk" else "id"]
                )
                self.received += 1
            assert self.received == self.sent

    @precondition(lambda self: self.there)
    @rule(share=st.floats(0, 1))
    def acknowledge(self, share: float) -> None:
        self.told = max(self.told, int(self.received * share))
        self.journal.acknowledge(self.told)

    @precondition(lambda self: self.there)
    @rule(lost=st.integers(0, 3))
    def leave(self, lost: int) -> None:
        # The last lines that were sent may not have arrived.
        for _ in range(min(lost, self.received - self.told)):
            self.got.pop()
            self.received -= 1
        self.there = False
        self.journal.trim()

    @precondition(lambda self: not self.there)
    @rule()
    def come_back(self) -> None:
        following = self.journal.settle(self.received)
        assert following > self.received
        self.received = self.sent = self.told = following - 1
        self.there = True

    @invariant()
    def bounded(self) -> None:
        if not self.there:
            assert self.journal.size <= 1500 + 400 + 500

    def teardown(self) -> None:
        if not self.there:
            self.come_back()
        while self.sent < self.journal.last:
            self.read()
        missing = sum(item for item in self.got if isinstance(item, int))
        texts = [item for item in self.got if isinstance(item, str)]
        assert len(texts) + missing == len(self.written)
        order = [int(item.split(":")[0]) for item in texts]
        assert order == sorted(set(order))
        assert set(texts) <= set(self.written)
        assert set(self.finals) <= set(texts)
        self.journal.close()
        assert self.journal.size == 0


Client.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
test_a_client_that_comes_and_goes = Client.TestCase


def test_it_fits_into_memory_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    make = tempfile.TemporaryFile

    def noting() -> IO[bytes]:
        files.append(make())
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", noting)
    journal = Journal(limit=10**6, segment=1000)
    for number in range(500):
        journal.append(chunk(f"{number} {'x' * 50}"))
    assert len(files) > 40
    lines = everything(journal, 3)
    assert [int(line["data"].split()[0]) for line in lines] == list(range(3, 500))
    journal.acknowledge(400)
    assert [file.closed for file in files] == sorted((file.closed for file in files), reverse=True)
    assert any(file.closed for file in files)
    journal.close()
    assert all(file.closed for file in files)


def test_what_is_too_much_goes_and_says_so() -> None:
    """The oldest text goes; the end of a request never does."""
    journal = Journal(limit=5000, segment=1000)
    journal.append(encode(Final("first", 0)))
    for number in range(1000):
        journal.append(chunk(f"{number} {'x' * 50}"))
        journal.trim()
    assert journal.size < 7000
    following = journal.settle(0)
    lines = everything(journal, following - 1)
    gap, final, *texts = lines
    assert (gap["type"], final["id"]) == ("gap", "first")
    assert gap["lines"] + len(texts) == 1000
    assert gap["bytes"] > 50 * gap["lines"]
    assert texts[-1]["data"].startswith("999 ")
    journal.close()


def test_without_a_disk_it_keeps_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    journal = Journal(limit=10**6, segment=1000)
    for number in range(100):
        journal.append(chunk(f"{number} {'x' * 50}"))
    assert len(everything(journal, 0)) == 100  # while a client is there, nothing goes
    journal.trim()
    for number in range(100, 105):
        journal.append(chunk(str(number)))
        journal.trim()
    lines = everything(journal, journal.settle(0) - 1)
    assert (lines[0]["type"], lines[0]["lines"]) == ("gap", 100)
    assert [line["data"] for line in lines[1:]] == [str(number) for number in range(100, 105)]


def test_it_leaves_most_of_the_disk_free(monkeypatch: pytest.MonkeyPatch) -> None:
    class Disk:
        f_bavail, f_frsize = 10, 1000

    monkeypatch.setattr(os, "fstatvfs", lambda _fd: Disk)
    journal = Journal(limit=10**6, segment=1000)
    for number in range(200):
        journal.append(chunk(f"{number} {'x' * 50}"))
        journal.trim()
    assert journal.size < 6000
    journal.close()


def test_a_disk_that_fills_up_costs_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in files is older than what is in memory, and its requests' ends stay."""
    full = False
    make = tempfile.TemporaryFile

    def make_file() -> IO[bytes]:
        if full:
            raise OSError(28, "No space left on device")
        return make()

    monkeypatch.setattr(tempfile, "TemporaryFile", make_file)
    journal = Journal(limit=10**6, segment=1000)
    journal.append(encode(Final("first", 0)))
    for number in range(130):
        full = number > 100
        journal.append(chunk(f"{number} {'x' * 50}"))
        journal.trim()
    gap, final, *texts = everything(journal, journal.settle(0) - 1)
    assert (gap["type"], final["id"]) == ("gap", "first")
    assert gap["lines"] + len(texts) == 130
    assert texts[-1]["data"].startswith("129 ")
    journal.close()
