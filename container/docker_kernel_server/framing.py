"""Lines out of a byte stream, in any split, under a bound."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Tuple, Type, Union

from .errors import BadLine, BadMessage, LineTooLong

MAX_LINE_BYTES = 64 * 1024 * 1024
"""The longest line that either side takes; a display of 40 MB in base64 fits."""


MAX_DEPTH = 200
"""How deep JSON may be nested. Python's own bound depends on its version and on who asks; this one
is small enough that what one side takes can be written and read again everywhere."""

MAX_CONTAINERS = 2_000_000
"""How many objects and lists a line may have. In memory they take some thirty times their text."""

MAX_DIGITS = 4300
"""The longest integer. To read one takes the square of its length; newer Pythons have this bound
themselves, unless they were told otherwise."""


KEPT_BYTES = 16 * 1024 * 1024
"""A block of up to this is used again. A process keeps up to twice as much of what is free."""


def keep_freed_memory() -> None:
    """Let the C library keep some megabytes for the lines to come.

    glibc gives a block of more than 128 KiB back to the system as soon as it is free, and fresh
    pages for the next one take longer than all that is done with a line: a display of 8 MB is that
    long in memory some ten times. That bound rises with the largest block that was ever freed.
    """
    block = bytes(KEPT_BYTES)  # nothing is written to it, and so it takes no memory
    del block


SMALL_BYTES = 4096
"""Pieces of a line that are smaller are put together as they come."""

BACKSLASH = ord("\\")

MAX_QUOTES = 100
"""So many are looked at by `type_at_sight`."""

MAX_ESCAPED_TYPE = len(r'\u0074\u0079\u0070\u0065"')


class LineSplitter:
    """Feed it bytes, get whole lines.

    A line past ``limit`` bytes gives one `LineTooLong` in its place, and the stream goes on after
    its newline: one bad message must not cost the others.
    """

    def __init__(self, limit: int = MAX_LINE_BYTES, keep_newlines: bool = False) -> None:
        self.limit = limit
        self._newline = int(keep_newlines)
        # What has come of a line. Large pieces stay as they came, to be copied only once; little
        # ones are put together, as each by itself would cost twenty times its size.
        self._parts: List[Union[bytes, bytearray]] = []
        self._size = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Union[bytes, LineTooLong]]:
        """Yield each line that ``data`` completes; its newline only where those are to be kept."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            yield self._take(data[start : end + self._newline])
            start = end + 1
        if start < len(data):
            self._push(data[start:])

    def _push(self, part: bytes) -> None:
        self._size += len(part)
        if self._skipping or self._size > self.limit:
            self._skipping = True
            self._parts.clear()
        elif len(part) >= SMALL_BYTES:
            self._parts.append(part)
        elif self._parts and isinstance(self._parts[-1], bytearray):
            self._parts[-1] += part
        else:
            self._parts.append(bytearray(part))

    def _take(self, end: bytes) -> Union[bytes, LineTooLong]:
        if not self._size and len(end) <= self.limit:
            return end
        self._push(end)
        line: Union[bytes, LineTooLong]
        line = LineTooLong(self.limit) if self._skipping else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._skipping = False
        return line


def load_line(line: bytes, quoted: bool = False) -> Dict[str, Any]:
    """Read one line as a JSON object; `BadLine` says what is wrong with it.

    With ``quoted``, a long text may be a `Quoted`: for who writes it again.
    """
    if excess := _excess(line):
        raise BadLine(f"a line {excess}")
    try:
        value = (quoted and _load_quoted(line)) or _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise BadLine(f"a line is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except ValueError as exc:
        raise BadLine(f"a line is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise BadLine(f"a line is not a JSON object but a {type(value).__name__}")
    return value


class Quoted(str):
    """A text in ASCII, and ``json``: how it stands in the line that it was read from.

    What was just read as a text needn't be escaped anew to be written as one.
    """

    json: memoryview

    def __reduce__(self) -> Tuple[Type[str], Tuple[str]]:
        return str, (str(self),)


def _load_quoted(line: bytes) -> Dict[str, Any]:
    """The object, with its first long text `Quoted`; {} where that isn't found at sight.

    That text and the rest are read apart, the rest with a constant in its place. It is a text to
    whoever reads the line, and no part of another one, as no quote before it is escaped.
    """
    head = _HEAD.match(line) if len(line) > LONG_CHARS and line.isascii() else None
    if head is None:
        return {}
    begin = head.end() - 1
    try:
        text = line.decode("ascii")
        long, end = _DECODER.raw_decode(text, begin)
        if len(long) <= LONG_CHARS or not long.isascii():  # it may have lone surrogates
            return {}
        rest = f"{text[:begin]}NaN{text[end:]}"
        # Given back before as much is taken again: fresh memory takes longer than all the rest.
        del text
        found = Quoted(long)
        found.json = memoryview(line)[begin:end]
        constants = [found]  # any other one is one too many
        value: Dict[str, Any] = _decoder(lambda _: constants.pop()).decode(rest)
    except (ValueError, IndexError):
        return {}
    return value


_HEAD = re.compile(rb'\{("[^"\\]{0,200}":("[^"\\]{0,200}",|\{)){0,20}"[^"\\]{0,200}":"')
"""What stands before a long text, up to its quote."""


def type_at_sight(line: bytes) -> str:
    """The `type` of a line where it can be told without reading it all; else "".

    Where this names one, the line has that type or is no JSON, whoever has written it. For where no
    quote is escaped, the quotes part the texts from all else, and a second `type` is one of the
    texts, however it is written.
    """
    if not line.startswith(b'{"type":"'):
        return ""
    quotes: List[int] = []
    at = 1
    while at >= 0:
        if line[at - 1] == BACKSLASH or len(quotes) == MAX_QUOTES:
            return ""
        quotes.append(at)
        at = line.find(b'"', at + 1)
    texts = [
        line[begin + 1 : end]
        for begin, end in zip(quotes[::2], quotes[1::2])
        if end - begin <= MAX_ESCAPED_TYPE
    ]
    if len(quotes) < 4 or any(text == b"type" or b"\\u" in text for text in texts[1:]):
        return ""
    kind = line[quotes[2] + 1 : quotes[3]]
    return "" if b"\\" in kind or not kind.isascii() else kind.decode("ascii")


def dump_line(value: Dict[str, Any]) -> bytes:
    """Write one JSON object as a line.

    Everything past ASCII is escaped, so that a lone surrogate survives the journey as well.
    ValueError for NaN and infinities, which JSON doesn't have; TypeError for foreign objects;
    `BadMessage` for what is nested too deep, or has too many objects.
    """
    try:
        line = b"".join([*_dump(value, _ENCODER, LONG_LEVELS), b"\n"])
    except RecursionError:
        raise BadMessage(f"what is sent {_DEEP}") from None
    if excess := _excess(line):
        raise BadMessage(f"what is sent {excess}")
    return line


def dump_utf8(value: Dict[str, Any]) -> bytes:
    """Write one JSON object as others have it: in UTF-8, and not as a line.

    ValueError and TypeError as in `dump_line`; UnicodeEncodeError for a lone surrogate.
    """
    return b"".join(_dump(value, _UTF8_ENCODER, LONG_LEVELS))


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_UTF8_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=False)

LONG_CHARS = 16 * 1024
"""A text past this is escaped by `_quote`, in a quarter of the time that Python's encoder takes."""

LONG_LEVELS = 2
"""How deep such a text is looked for: output and displays have it no deeper."""

PIECE_CHARS = 64 * 1024

_ESCAPES = [
    (char.encode(), _ENCODER.encode(char)[1:-1].encode())
    for char in ("\\", '"', *map(chr, range(32)), chr(127))
]
"""The backslash comes first, as the others bring more of them."""


def _dump(value: Any, encoder: json.JSONEncoder, levels: int) -> Iterator[Union[bytes, memoryview]]:
    """As JSON, in pieces."""
    if isinstance(value, Quoted):
        yield value.json
    elif isinstance(value, str) and len(value) > LONG_CHARS and value.isascii():
        yield from _quote(value)
    elif _has_long(value, levels) and all(isinstance(key, str) for key in value):
        before = b"{"
        for key, item in value.items():
            yield before
            yield from _dump(key, encoder, 0)
            yield b":"
            yield from _dump(item, encoder, levels - 1)
            before = b","
        yield b"}"
    else:
        yield encoder.encode(value).encode()


def _has_long(value: Any, levels: int) -> bool:
    """Whether it is an object with a long text in it."""
    if levels and isinstance(value, dict):
        for item in value.values():
            if len(item) > LONG_CHARS if isinstance(item, str) else _has_long(item, levels - 1):
                return True
    return False


def _quote(text: str) -> Iterator[bytes]:
    yield b'"'
    # Piece by piece, as each stays in the processor's cache while it is looked through.
    for start in range(0, len(text), PIECE_CHARS):
        piece = text[start : start + PIECE_CHARS].encode("ascii")
        for char, escape in _ESCAPES:
            if char in piece:
                piece = piece.replace(char, escape)
        yield piece
    yield b'"'


_DEEP = f"is nested more than {MAX_DEPTH} levels deep"
_MANY = f"has more than {MAX_CONTAINERS} objects and lists"
_STRINGS = re.compile(rb'"[^"]*"')
# A bracket as a signed byte: one level down, one level up.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(byte for byte in range(256) if byte not in b'"[]{}')


def _excess(line: bytes) -> str:
    """What there is too much of in a line, "" for nothing. Takes linear time, and little memory."""
    if not _has_many_brackets(line):
        return ""
    # First the escapes go, so that a quote is the end of a string; then the strings.
    bare = line.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    steps = _STRINGS.sub(b"", bare).translate(_STEPS)
    if steps.count(b"\x01") > MAX_CONTAINERS:
        return _MANY
    return _DEEP if max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH else ""


def _has_many_brackets(line: bytes) -> bool:
    """Whether it has enough of them for that. Most lines have hardly any, and to find the few takes
    a small part of the time that it takes to count them."""
    found = 0
    for bracket in (b"[", b"{"):
        at = line.find(bracket)
        while at >= 0:
            found += 1
            if found > MAX_DEPTH:
                return True
            at = line.find(bracket, at + 1)
    return False


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    # json reads 1e999 as infinity, which could not be written again.
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{text[:40]}... has more than {MAX_DIGITS} digits")
    return int(text)


def _decoder(constant: Callable[[str], Any]) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=constant, parse_float=_finite, parse_int=_whole)


_DECODER = _decoder(_refuse_constant)
