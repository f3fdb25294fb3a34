"""Lines out of a byte stream: P2 (any split is the same), P3 (bad lines are named and skipped)."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import re
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docker_kernel_server.errors import BadLine, BadMessage, LineTooLong
from docker_kernel_server.framing import (
    LONG_CHARS,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_DIGITS,
    PIECE_CHARS,
    SMALL_BYTES,
    LineSplitter,
    Quoted,
    dump_line,
    dump_utf8,
    load_line,
    type_at_sight,
)
from strategies import bytewise, json_objects, pieces, quick, text

streams = st.lists(st.binary(max_size=12) | st.just(b"\n"), max_size=12).map(b"".join)


def split(data: list[bytes], limit: int = 1000) -> list[bytes | str]:
    """What a splitter makes of the pieces; a line that is too long stands as its code."""
    splitter = LineSplitter(limit)
    out: list[bytes | str] = []
    for piece in data:
        for line in splitter.feed(piece):
            out.append(line.code if isinstance(line, LineTooLong) else line)
    return out


@quick
@given(st.data(), streams)
def test_any_split_gives_the_same_lines(data: st.DataObject, stream: bytes) -> None:
    """P2"""
    whole = stream.split(b"\n")[:-1]
    assert split(data.draw(pieces(stream))) == whole
    assert split(bytewise(stream)) == whole


@quick
@given(st.data(), streams, st.integers(0, 8))
def test_a_line_past_the_bound_costs_only_itself(
    data: st.DataObject, stream: bytes, limit: int
) -> None:
    """P3"""
    expected = [
        line if len(line) <= limit else LineTooLong.code for line in stream.split(b"\n")[:-1]
    ]
    assert split([stream], limit) == expected
    assert split(data.draw(pieces(stream)), limit) == expected
    assert split(bytewise(stream), limit) == expected


def test_the_bound_is_exact() -> None:
    """P3"""
    assert split([b"12345\n123456\n1\n"], limit=5) == [b"12345", "line_too_long", b"1"]


def test_newlines_can_be_kept() -> None:
    """P2: what is passed on as it is needs no second copy then."""
    splitter = LineSplitter(limit=5, keep_newlines=True)
    lines = [line for piece in (b"1", b"2\n3\n", b"\n12345\n1\n") for line in splitter.feed(piece)]
    assert isinstance(lines.pop(3), LineTooLong)
    assert lines == [b"12\n", b"3\n", b"\n", b"1\n"]


@quick
@given(st.lists(st.sampled_from([0, 1, SMALL_BYTES - 1, SMALL_BYTES, 3 * SMALL_BYTES]), max_size=9))
def test_large_and_little_pieces_stay_in_order(sizes: list[int]) -> None:
    """P2: large ones are kept as they came, little ones are put together."""
    parts = [bytes([97 + at]) * size for at, size in enumerate(sizes)]
    line = b"".join(parts)
    assert split([*parts, b"\n", *parts, b"\n"], 1_000_000) == [line, line]
    if line:
        short = len(line) - 1
        assert split([*parts, b"\n", b"a\n"], short)[0] == "line_too_long"


def test_an_endless_line_takes_no_memory() -> None:
    """P3: what a peer can make us hold is bounded, also where it sends little pieces."""
    splitter = LineSplitter(limit=100_000)
    tracemalloc.start()
    try:
        for _ in range(60_000):
            assert not list(splitter.feed(b"ab"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


def test_a_long_line_in_little_pieces_takes_linear_time() -> None:
    """O4: four times as much may not take sixteen times as long."""

    def seconds(pieces_count: int) -> float:
        splitter = LineSplitter(limit=100_000_000)
        began = time.process_time()
        for _ in range(pieces_count):
            list(splitter.feed(b"x" * 1000))
        assert len(next(iter(splitter.feed(b"\n")))) == pieces_count * 1000  # type: ignore[arg-type]
        return time.process_time() - began

    seconds(1000)
    assert seconds(40_000) < 12 * seconds(10_000) + 0.5


@quick
@given(json_objects)
def test_objects_survive_the_journey(value: dict[str, Any]) -> None:
    """P2: nested JSON, NUL, lone surrogates, large numbers, any text."""
    line = dump_line(value)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert load_line(line[:-1]) == value


@quick
@given(json_objects, text, st.sampled_from(["a", "data"]))
def test_a_long_text_is_written_as_python_writes_it(
    value: dict[str, Any], part: str, key: str
) -> None:
    """P2: by itself and in a bundle, whatever else is in it."""
    long = (part or "\n") * (PIECE_CHARS + 3)
    for holder in ({**value, key: long}, {**value, key: {"text/plain": long, **value}}):
        assert dump_line(holder) == json.dumps(holder, separators=(",", ":")).encode() + b"\n"


def test_a_long_text_with_all_that_is_escaped() -> None:
    """P2"""
    for count in (128, 300):
        value = {"data": "".join(map(chr, range(count))) * 1000}
        assert dump_line(value) == json.dumps(value, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"type":"chunk","id":"1","data":"' + b"a\\n\\u00e9" * 9 + b'"}', "chunk"),
        (b'{"type":"display","id":"1","data":{"image/png":"AAAA"},"metadata":{}}', "display"),
        # What it leaves to those who read all of it.
        (b'{"type":"chunk","id":"1","data":"\\""}', ""),
        (b'{"type":"chunk","data":"a","type":"final"}', ""),
        (b'{"type":"chunk","data":"a","\\u0074ype":"final"}', ""),
        (b'{"type":"chunk","data":"a","t\\u0079p\\u0065":"final"}', ""),
        (b'{"type":"chunk","data":"\\\\","type":"final"}', ""),
        (b'{"type":"chunk","data":{"type":"final"}}', ""),
        (b'{"data":"a","type":"final"}', ""),
        (b'{"type":"chu\\/nk","data":"a"}', ""),
        (b'{"type":"' + b"chunk" * 9 + b'\\u0065","data":"a"}', ""),
        (b'{"type":"chunk\xc3\xa9"}', ""),
        (b'{"type":"chunk' + b'","' * 100, ""),
        (b'{"type":"', ""),
        (b'{"type":"chunk', ""),
        (b"", ""),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_type_at_sight(line: bytes, kind: str) -> None:
    """P3"""
    assert type_at_sight(line) == kind


tokens = st.sampled_from(
    [
        *('{"type":"chunk"', '"type"', r'"\u0074ype"', '"chunk"', '"final"', '"a"', r'"\\"'),
        *'{}[]:,ux "\\',
    ]
)


@given(st.lists(tokens, max_size=12).map("".join) | json_objects.map(json.dumps))
@settings(quick, max_examples=500)
def test_the_type_at_sight_is_the_type(rest: str) -> None:
    """P3: whatever a worker writes to its wire."""
    for begin, end in (("", ""), ('{"type":"chunk",', ""), ('{"type":"chunk","a":', "}")):
        line = f"{begin}{rest}{end}".encode()
        with contextlib.suppress(BadLine):
            assert type_at_sight(line) in ("", load_line(line).get("type"))


@quick
@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_named_fault(line: bytes) -> None:
    """P3"""
    try:
        value: object = load_line(line)
    except BadLine as exc:
        value = {"fault": str(exc).index("a line is ")}
    assert isinstance(value, dict)


LONG = "ab\n\\" * LONG_CHARS


def quoted_in(value: Any) -> list[Quoted]:
    """The texts that know how they stood in their line."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in quoted_in(item)]
    return [value] if isinstance(value, Quoted) else []


@pytest.mark.parametrize(
    "value",
    [
        {"type": "chunk", "id": "1", "stream": "stdout", "data": LONG},
        {"type": "chunk", "id": "1", "data": '"' + LONG, "stream": "stdout"},
        {"type": "display", "id": "", "data": {"text/plain": "a", "image/png": LONG}, "n": 1.5},
    ],
)
def test_a_long_text_is_written_as_it_was_read(value: dict[str, Any]) -> None:
    """O4: and is a text like others to all who don't write it."""
    line = dump_line(value)[:-1]
    again = load_line(line, quoted=True)
    (found,) = quoted_in(again)
    assert again == value
    assert dump_utf8(again) == line
    assert type(pickle.loads(pickle.dumps(found))) is str  # noqa: S301  (our own)
    assert not quoted_in(load_line(line))


@pytest.mark.parametrize(
    "line",
    [
        *(f'{{"a":"{LONG_CHARS * "b"}{end}' for end in ('"', '\n"}', '\\x"}', '","b":NaN}', '"}}')),
        *(f'{{"a":{begin}"{LONG_CHARS * "b"}c"}}' for begin in ("NaN", "-", "1,", '"b"')),
        f'{{"{LONG_CHARS * "b"}c"}}',
        f'{{"a":"\\","b":"{LONG_CHARS * "b"}c"',
    ],
    ids=lambda line: line[:9] + line[-9:],
)
def test_a_bad_line_with_a_long_text_is_refused(line: str) -> None:
    """P3: and for the same reason as without."""
    with pytest.raises(BadLine) as plain:
        load_line(line.encode())
    with pytest.raises(BadLine, match=re.escape(str(plain.value))):
        load_line(line.encode(), quoted=True)


@given(st.lists(tokens, max_size=9).map("".join), st.lists(tokens, max_size=9).map("".join))
@settings(quick, max_examples=500)
def test_what_is_kept_of_a_line_is_what_was_read(begin: str, end: str) -> None:
    """P3: whatever a server sends; no other text, and nothing that isn't JSON, is passed on."""
    part = "a" * LONG_CHARS
    for line in (
        f"{begin}{part}{end}",
        f'{{"a":"b","c":{{"d":"{part}{begin}","e":{end}}}}}',
        f'{{{begin}"d":"{part}\\n"{end}}}',
        f'{{"a":"{part}\\ud83d\\u00e9{begin}","b":"{part}e"}}',
    ):
        with contextlib.suppress(BadLine):
            value = load_line(line.encode())
            again = load_line(line.encode(), quoted=True)
            assert again == value
            assert json.loads(dump_line(again)) == value
            for text in quoted_in(again):
                assert text.isascii()
                assert json.loads(bytes(text.json)) == text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "not JSON"),
        (b"ls -l", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1} {"b": 2}', "not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": "\x00"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b"\xc3", "not UTF-8"),
        (b"[1]", "not a JSON object but a list"),
        (b'"hello"', "not a JSON object but a str"),
        (b"null", "not a JSON object but a NoneType"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "more than 200 levels"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_wrong_with_a_line_is_named(line: bytes, says: str) -> None:
    """P3"""
    with pytest.raises(BadLine, match=says):
        load_line(line)


def nested(levels: int, filling: Any = 1) -> dict[str, Any]:
    """So many levels, of objects and lists by turns."""
    value = filling
    for level in range(levels - 1):
        value = {"k": value} if level % 2 else [value]
    return {"k": value}


@pytest.mark.parametrize(
    ("filling", "own"),
    [(1, 0), ("]}" * 300, 0), ('\\"[{' * 300, 0), ([[1]] * 300, 2), ({"]": "\\"}, 1)],
    ids=["none", "text", "escapes", "wide", "keys"],
)
def test_the_bound_of_the_depth_is_exact(filling: Any, own: int) -> None:
    """P3: it counts no brackets in strings, and holds for both directions."""
    value = nested(MAX_DEPTH - own, filling)
    assert load_line(dump_line(value)) == value
    deeper = nested(MAX_DEPTH + 1 - own, filling)
    with pytest.raises(BadMessage, match="200 levels"):
        dump_line(deeper)
    with pytest.raises(BadLine, match="200 levels"):
        load_line(json.dumps(deeper).encode())


MEBIBYTE = 1 << 20


def complaint(line: bytes) -> str:
    """What is wrong with a line, "" for nothing."""
    try:
        load_line(line)
    except BadLine as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"a": ' + b"[" * 8 * MEBIBYTE, "objects and lists"),
        (b'{"a": [' + b"[]," * 3 * MEBIBYTE + b"[]]}", "objects and lists"),
        (b'{"a": [' + (b"[" * 190 + b"]" * 190 + b",") * 5_000 + b"1]}", ""),
        (b'{"a": [' + b'"[{",' * 2 * MEBIBYTE + b"1]}", ""),
        (b'{"a": "' + b'\\"[' * 2 * MEBIBYTE + b'"}', ""),
        (b'{"a": ' + b"7" * 8 * MEBIBYTE + b"}", "more than 4300 digits"),
        (b'{"a": -' + b"7" * 8 * MEBIBYTE + b"}", "more than 4300 digits"),
        (b'{"a": 0.' + b"7" * 8 * MEBIBYTE + b"}", ""),
        (b'{"a": ' + b"7" * 8 * MEBIBYTE + b"e-9000000}", "too large|"),
        (b'{"a": [' + b"1e999," * 100 + b"1]}", "too large"),
    ],
    ids=[
        "deep",
        "wide",
        "chains",
        "strings",
        "escapes",
        "digits",
        "minus",
        "fraction",
        "small",
        "inf",
    ],
)
def test_a_line_that_is_made_to_be_slow_is_not(line: bytes, says: str) -> None:
    """P3, P9: who sends it would hold up everybody else, on either side. It took minutes."""
    began = time.process_time()
    found = complaint(line)
    assert time.process_time() - began < 5
    assert re.fullmatch(says or "", found) or (says and re.search(says, found))
    assert len(found) < 200


def test_the_bounds_of_what_is_many_are_exact() -> None:
    """P3: and hold for both directions."""
    value: dict[str, list[Any]] = {"a": [[] for _ in range(MAX_CONTAINERS - 2)]}
    assert load_line(dump_line(value)) == value
    value["a"].append([])
    with pytest.raises(BadMessage, match="objects and lists"):
        dump_line(value)
    digits = b'{"a": ' + b"7" * MAX_DIGITS + b"}"
    assert load_line(digits) == {"a": int("7" * MAX_DIGITS)}
    with pytest.raises(BadLine, match="digits"):
        load_line(digits.replace(b"7}", b"77}"))


def test_what_nests_without_end_is_never_written() -> None:
    """P3"""
    with pytest.raises(BadMessage, match="200 levels"):
        dump_line(nested(50_000))


def test_the_last_of_two_equal_keys_counts() -> None:
    """P3: as docs/protocol.md has it."""
    assert load_line(b'{"a": 1, "a": 2}') == {"a": 2}


def test_large_numbers() -> None:
    """P3: as large as a double for floats, any size that Python reads for integers."""
    assert load_line(b'{"a": 1.7e308, "b": 12345678901234567890}') == {
        "a": 1.7e308,
        "b": 12345678901234567890,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_not_is_never_written(value: float) -> None:
    """P3"""
    with pytest.raises(ValueError, match="Out of range"):
        dump_line({"a": value})


def test_foreign_objects_are_never_written() -> None:
    """P3"""
    with pytest.raises(TypeError):
        dump_line({"a": object()})
