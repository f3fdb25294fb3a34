"""The tail of a server's output, fed by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from docker_kernel.backends.logtail import MAX_LINE_CHARS, MAX_LINES, LogTail
from docker_kernel.deadline import Deadline
from docker_kernel.errors import StartTimeout


def pieces(*data: bytes) -> Iterator[bytes]:
    yield from data


def test_it_finds_the_address_in_whatever_pieces() -> None:
    text = "starting \N{SNOWMAN}\nlistening on 0.0.0.0:8000\nmore\n".encode()
    tail = LogTail(pieces(*(text[i : i + 1] for i in range(len(text)))))
    assert tail.wait_listening(Deadline(5)) == ("0.0.0.0", 8000)  # noqa: S104
    assert tail.wait_ended(5)
    assert tail.last(3).splitlines() == [
        "starting \N{SNOWMAN}",
        "listening on 0.0.0.0:8000",
        "more",
    ]


def test_an_end_without_an_address() -> None:
    tail = LogTail(pieces(b"Traceback\nOSError: no", b" room"))
    assert tail.wait_listening(Deadline(5)) is None
    assert tail.last() == "Traceback\nOSError: no room"


def test_a_stream_that_breaks_has_ended() -> None:
    def broken() -> Iterator[bytes]:
        yield b"so far\n"
        raise OSError

    tail = LogTail(broken())
    assert tail.wait_listening(Deadline(5)) is None
    assert tail.last() == "so far"


def test_it_keeps_no_more_than_its_bounds() -> None:
    flood = LogTail(pieces(*(f"line {i}\n".encode() for i in range(10 * MAX_LINES))))
    assert flood.wait_ended(5)
    assert flood.last(10**6).splitlines()[0] == f"line {9 * MAX_LINES}"
    endless = LogTail(pieces(*(b"x" * 10_000 for _ in range(1000))))
    assert endless.wait_ended(5)
    assert len(endless.last()) == MAX_LINE_CHARS


def test_silence_is_a_timeout_with_what_was_said_before() -> None:
    read, write = os.pipe()

    def chunks() -> Iterator[bytes]:
        with open(read, "rb", buffering=0) as pipe:
            while data := pipe.read(100):
                yield data

    os.write(write, b"importing\n")
    tail = LogTail(chunks())
    try:
        with pytest.raises(StartTimeout, match="importing"):
            tail.wait_listening(Deadline(0.5))
    finally:
        os.close(write)
    assert tail.wait_ended(5)
