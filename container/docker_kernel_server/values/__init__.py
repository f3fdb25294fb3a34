"""Values as bytes, for the way between two Pythons that don't trust each other.

No pickle: a blob holds data alone, and reading it imports, calls and makes nothing that the blob
names. What can't be moved without loss is refused, by its place and with the reason.

A blob is `MAGIC`, the length of the header (8 bytes, big-endian), the header, and the buffers one
behind another. The header is JSON in ASCII: ``buffers``, the length of each, and ``values``, a node
for each name. A node is null, a boolean, a string, a number, or a list [tag, …]; the tags are those
of plain.py, arrays.py and frames.py.
"""

from __future__ import annotations

import importlib
import json
import keyword
from typing import Any, Dict, List, Mapping, NoReturn, Union

from . import arrays, frames, plain
from .tree import Load, Packer, Unmovable, Unpacker

__all__ = ["Unmovable", "pack", "pieces", "unpack"]

MAGIC = b"docker-kernel values 1\n"
MAX_NUMBER_CHARS = 20
"""Larger integers are nodes of their own, in hex, which is read in linear time."""

MAX_REASON_CHARS = 300
"""The most of an error's text that is passed on: a hostile blob has written some of it."""

_FAMILY = MAGIC[:-2]
_LENGTH_BYTES = 8

Buffer = Union[bytes, memoryview]


def pack(values: Mapping[str, Any]) -> bytes:
    """Named values as a blob. `Unmovable`, a ValueError, says which can't be moved, and why."""
    return b"".join(pieces(values))


def pieces(values: Mapping[str, Any]) -> List[Buffer]:
    """The blob in pieces, without a copy of large arrays."""
    packer = Packer(plain.PACKERS, {"numpy": arrays.pack, "pandas": frames.pack})
    nodes: Dict[str, Any] = {}
    for name, value in values.items():
        if not is_name(name):
            raise Unmovable(f"{name!r} is no name of a variable")
        try:
            nodes[name] = packer.node(value)
        except Unmovable as exc:
            exc.where.append(name)
            raise
        except RecursionError as exc:
            raise Unmovable("it is nested too deeply", name) from exc
    tree = {"buffers": [len(buffer) for buffer in packer.buffers], "values": nodes}
    header = json.dumps(tree, allow_nan=False, separators=(",", ":")).encode("ascii")
    return [MAGIC, len(header).to_bytes(_LENGTH_BYTES, "big"), header, *packer.buffers]


def unpack(blob: Buffer, load: Load = importlib.import_module) -> Dict[str, Any]:
    """The named values of a blob. ValueError says what is wrong with it, or what is missing here.

    ``load`` gives numpy, pandas and the packages of time zones by name, and raises ImportError or
    ValueError where it has none. What it may import is its own choice: the blob has only the choice
    whether it is asked.
    """
    try:
        header, buffers = _split(memoryview(blob))
        unpacker = Unpacker(
            buffers, load, {**plain.UNPACKERS, **arrays.UNPACKERS, **frames.UNPACKERS}
        )
        return {_name(name): unpacker.value(node) for name, node in header["values"].items()}
    except RecursionError as exc:
        raise ValueError("the values can't be read: they are nested too deeply") from exc
    except MemoryError:
        raise
    except Exception as exc:
        # Whatever a library has against hostile contents: what comes out is one kind of error.
        raise ValueError(f"the values can't be read: {str(exc)[:MAX_REASON_CHARS]}") from exc


def is_name(name: object) -> bool:
    """Whether a variable can have this name."""
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def _name(name: str) -> str:
    if not is_name(name):
        raise ValueError("a name is none")
    return name


def _split(blob: memoryview) -> Any:
    start = len(MAGIC) + _LENGTH_BYTES
    magic = bytes(blob[: len(MAGIC)])
    if magic != MAGIC:
        if magic.startswith(_FAMILY):
            raise ValueError("they are of another version; install the same on both ends")
        raise ValueError("this is no blob of values")
    size = int.from_bytes(blob[len(MAGIC) : start], "big")
    if len(blob) < start + size:
        raise ValueError("the blob is cut off")
    header = json.loads(
        bytes(blob[start : start + size]).decode("ascii"),
        parse_int=_small_int,
        parse_constant=_refuse_constant,
    )
    lengths = header["buffers"]
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError("a length is none")
    rest = blob[start + size :]
    if sum(lengths) != len(rest):
        raise ValueError("the blob is cut off, or too long")
    buffers = []
    for length in lengths:
        buffers.append(rest[:length])
        rest = rest[length:]
    return header, buffers


def _small_int(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError("a number is too long")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
