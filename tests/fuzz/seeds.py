"""Where the fuzzers begin: the examples of docs/protocol.md, and what was found worth keeping."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Iterator
from pathlib import Path

from docker_kernel_server import values

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "protocol.md"
KEPT = HERE / "corpus.txt"
"""One input a line, in base64: those that reached something that the examples don't."""

MAX_BYTES = 2000


def seeds() -> Iterator[bytes]:
    """Inputs that mean something; the first byte of each is the target's own."""
    page = PAGE.read_text(encoding="utf-8")
    for number, line in enumerate(re.findall(r"^(?:[<>] )?(\{.*\})$", page, re.MULTILINE)):
        yield bytes([number * 5 % 256]) + line.encode() + b"\n"
    yield values.pack({"a": [1, "x", b"y", {"k": (1.5, None)}], "b": {1, 2}})
    yield "\x1b[31mred\x1b[0m \x1b]0;title\x07 é 🐍".encode()
    for line in KEPT.read_text(encoding="ascii").splitlines():
        yield base64.b64decode(line)


def mutations(words: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Seeds with something cut out, put in, doubled or changed."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    start = list(seeds())
    for _ in range(count):
        data = bytearray(chance.choice(start))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data) + 1)
            to = min(len(data), at + chance.choice((0, 0, 1, 4, 30)))
            new = chance.choice((b"", chance.choice(words), data[at:to] * 2, chance.randbytes(2)))
            data[at:to] = new
        yield bytes(data[:MAX_BYTES])
