"""Python's own values."""

from __future__ import annotations

import math
import os
import pathlib
import re
import reprlib
import struct
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Callable, Dict, List
from uuid import UUID

from .tree import Node, Packer, Unmovable, Unpacker, text, whole

try:
    import zoneinfo
except ImportError:  # before Python 3.9
    zoneinfo = None  # type: ignore[assignment]

EXACT_INT = 2**53
"""JSON's own numbers are whole up to here, whoever reads them."""

MAX_FRACTION_BITS = 1_000_000
"""Of each half. To read a larger one takes minutes, as it is reduced again."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_HEX = re.compile(r"-?[0-9a-f]+")
# No dot and no leading underscore: it is looked up as a file, and as a module's resource.
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*){0,3}")

_PATHS = {
    cls.__name__: cls
    for cls in (
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
    )
}


# ---- numbers, text, bytes ----------------------------------------------------------------------


def _pack_itself(packer: Packer, value: Any) -> Node:
    return value


def _pack_int(packer: Packer, value: int) -> Node:
    return value if -EXACT_INT < value < EXACT_INT else ["int", format(value, "x")]


def _unpack_int(unpacker: Unpacker, digits: Node) -> int:
    if not _HEX.fullmatch(text(digits)):
        raise ValueError("an integer is none")
    return int(digits, 16)


def _pack_float(packer: Packer, value: float) -> Node:
    return value if math.isfinite(value) else ["float", struct.pack(">d", value).hex()]


def _unpack_float(unpacker: Unpacker, digits: Node) -> float:
    value: float = struct.unpack(">d", bytes.fromhex(text(digits)))[0]
    return value


def _pack_complex(packer: Packer, value: complex) -> Node:
    return ["complex", _pack_float(packer, value.real), _pack_float(packer, value.imag)]


def _unpack_complex(unpacker: Unpacker, real: Node, imag: Node) -> complex:
    parts = [unpacker.value(real), unpacker.value(imag)]
    if any(type(part) is not float for part in parts):
        raise ValueError("a number is none")
    return complex(*parts)


def _pack_str(packer: Packer, value: str) -> Node:
    # JSON would read two halves that stand side by side as one character.
    if not value.isascii() and _SURROGATE.search(value):
        return ["str", packer.buffer(value.encode("utf-8", "surrogatepass"))]
    return value


def _unpack_str(unpacker: Unpacker, index: Node) -> str:
    return bytes(unpacker.buffer(index)).decode("utf-8", "surrogatepass")


def _pack_bytes(packer: Packer, value: bytes) -> Node:
    return ["bytes", packer.buffer(value)]


def _unpack_bytes(unpacker: Unpacker, index: Node) -> bytes:
    return bytes(unpacker.buffer(index))


def _pack_bytearray(packer: Packer, value: bytearray) -> Node:
    return ["bytearray", packer.buffer(bytes(value))]


def _unpack_bytearray(unpacker: Unpacker, index: Node) -> bytearray:
    return bytearray(unpacker.buffer(index))


def _pack_decimal(packer: Packer, value: Decimal) -> Node:
    return ["decimal", str(value)]


def _unpack_decimal(unpacker: Unpacker, digits: Node) -> Decimal:
    return Decimal(text(digits))


def _pack_fraction(packer: Packer, value: Fraction) -> Node:
    halves = (value.numerator, value.denominator)
    if any(half.bit_length() > MAX_FRACTION_BITS for half in halves):
        raise Unmovable(f"a fraction of more than {MAX_FRACTION_BITS} bits takes too long")
    return ["fraction", *(packer.node(half) for half in halves)]


def _unpack_fraction(unpacker: Unpacker, numerator: Node, denominator: Node) -> Fraction:
    halves = [unpacker.value(numerator), unpacker.value(denominator)]
    if any(type(half) is not int or half.bit_length() > MAX_FRACTION_BITS for half in halves):
        raise ValueError("a fraction is none")
    return Fraction(*halves)


def _pack_uuid(packer: Packer, value: UUID) -> Node:
    return ["uuid", value.hex]


def _unpack_uuid(unpacker: Unpacker, digits: Node) -> UUID:
    return UUID(hex=text(digits))


def _pack_path(packer: Packer, value: pathlib.PurePath) -> Node:
    return ["path", type(value).__name__, _pack_str(packer, str(value))]


def _unpack_path(unpacker: Unpacker, name: Node, path: Node) -> pathlib.PurePath:
    cls = _PATHS[text(name)]
    if issubclass(cls, pathlib.Path) and not isinstance(pathlib.Path(), cls):
        # This system can't have files of the other's kind; a path it can.
        cls = pathlib.PurePosixPath if os.name == "nt" else pathlib.PureWindowsPath
    return cls(text(unpacker.value(path)))


# ---- containers --------------------------------------------------------------------------------


def _packs_items(tag: str) -> Callable[[Packer, Any], Node]:
    def pack(packer: Packer, value: Any) -> Node:
        return [tag, packer.nodes(value, value)]

    return pack


def _unpack_list(unpacker: Unpacker, nodes: Node) -> List[Any]:
    return unpacker.values(nodes)


def _unpack_tuple(unpacker: Unpacker, nodes: Node) -> Any:
    return tuple(unpacker.values(nodes))


def _unpack_set(unpacker: Unpacker, nodes: Node) -> Any:
    return _same_size(set(unpacker.values(nodes)), nodes)


def _unpack_frozenset(unpacker: Unpacker, nodes: Node) -> Any:
    return _same_size(frozenset(unpacker.values(nodes)), nodes)


def _pack_dict(packer: Packer, value: Dict[Any, Any]) -> Node:
    keys = list(value)

    def label(index: int) -> str:
        return f"[{reprlib.repr(keys[index])}]"

    nodes = packer.nodes(value, keys, "[key {}]".format)
    return ["dict", nodes, packer.nodes(value, value.values(), label)]


def _unpack_dict(unpacker: Unpacker, keys: Node, values: Node) -> Any:
    if len(keys) != len(values):
        raise ValueError("a dict has more keys than values, or less")
    return _same_size(dict(zip(unpacker.values(keys), unpacker.values(values))), keys)


def _same_size(value: Any, nodes: Node) -> Any:
    if len(value) != len(nodes):
        raise ValueError("something stands twice where it can be once")
    return value


def _pack_range(packer: Packer, value: range) -> Node:
    return ["range", *(packer.node(part) for part in (value.start, value.stop, value.step))]


def _unpack_range(unpacker: Unpacker, *parts: Node) -> range:
    return range(*(unpacker.value(part) for part in parts))


def _pack_slice(packer: Packer, value: slice) -> Node:
    return ["slice", packer.nodes(value, (value.start, value.stop, value.step), _SLICE.__getitem__)]


_SLICE = (".start", ".stop", ".step")


def _unpack_slice(unpacker: Unpacker, parts: Node) -> slice:
    start, stop, step = unpacker.values(parts)
    return slice(start, stop, step)


# ---- dates and times ---------------------------------------------------------------------------


def _pack_date(packer: Packer, value: date) -> Node:
    return ["date", value.toordinal()]


def _unpack_date(unpacker: Unpacker, day: Node) -> date:
    return date.fromordinal(whole(day))


def _pack_time(packer: Packer, value: time) -> Node:
    fields = [value.hour, value.minute, value.second, value.microsecond]
    return ["time", fields, value.fold, _pack_zone(packer, value.tzinfo)]


def _unpack_time(unpacker: Unpacker, fields: Node, fold: Node, zone: Node) -> time:
    hour, minute, second, micro = map(whole, fields)
    return time(hour, minute, second, micro, unpacker.value(zone), fold=whole(fold))


def _pack_datetime(packer: Packer, value: datetime) -> Node:
    fields = [value.year, value.month, value.day]
    fields += [value.hour, value.minute, value.second, value.microsecond]
    return ["datetime", fields, value.fold, _pack_zone(packer, value.tzinfo)]


def _unpack_datetime(unpacker: Unpacker, fields: Node, fold: Node, zone: Node) -> datetime:
    year, month, day, hour, minute, second, micro = map(whole, fields)
    tz = unpacker.value(zone)
    return datetime(year, month, day, hour, minute, second, micro, tz, fold=whole(fold))


def _pack_timedelta(packer: Packer, value: timedelta) -> Node:
    return ["timedelta", value.days, value.seconds, value.microseconds]


def _unpack_timedelta(unpacker: Unpacker, days: Node, seconds: Node, micros: Node) -> timedelta:
    return timedelta(whole(days), whole(seconds), whole(micros))


def _pack_zone(packer: Packer, zone: Any) -> Node:
    try:
        return packer.node(zone)
    except Unmovable as exc:
        text = "its time zone can't be moved; give it one of datetime.timezone or zoneinfo"
        raise Unmovable(text) from exc


def _pack_timezone(packer: Packer, value: timezone) -> Node:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return ["timezone", _pack_timedelta(packer, offset), *name]


def _unpack_timezone(unpacker: Unpacker, offset: Node, *name: Node) -> timezone:
    return timezone(unpacker.value(offset), *name)


def _pack_zoneinfo(packer: Packer, value: Any) -> Node:
    if not _ZONE.fullmatch(value.key or ""):
        raise Unmovable("its time zone has no name")
    return ["zoneinfo", value.key]


def zone_key(node: Node) -> str:
    """A time zone's name that is safe to look up."""
    if not _ZONE.fullmatch(text(node)):
        raise ValueError("a time zone is none")
    return str(node)


def find_zone(unpacker: Unpacker, node: Node) -> Any:
    """A time zone by its name."""
    key = zone_key(node)
    if zoneinfo is None:
        raise ValueError("time zones by name need Python 3.9 or later")
    if not any(os.path.isfile(os.path.join(folder, key)) for folder in zoneinfo.TZPATH):
        # zoneinfo would import it: that is the loader's to decide, not the blob's.
        unpacker.load("tzdata")
    try:
        return zoneinfo.ZoneInfo(key)
    except zoneinfo.ZoneInfoNotFoundError:
        raise ValueError(f"there is no time zone {key!r} here; type: pip install tzdata") from None


# ---- the tables --------------------------------------------------------------------------------

PACKERS: Dict[type, Callable[[Packer, Any], Node]] = {
    type(None): _pack_itself,
    bool: _pack_itself,
    int: _pack_int,
    float: _pack_float,
    complex: _pack_complex,
    str: _pack_str,
    bytes: _pack_bytes,
    bytearray: _pack_bytearray,
    list: _packs_items("list"),
    tuple: _packs_items("tuple"),
    set: _packs_items("set"),
    frozenset: _packs_items("frozenset"),
    dict: _pack_dict,
    range: _pack_range,
    slice: _pack_slice,
    date: _pack_date,
    time: _pack_time,
    datetime: _pack_datetime,
    timedelta: _pack_timedelta,
    timezone: _pack_timezone,
    Decimal: _pack_decimal,
    Fraction: _pack_fraction,
    UUID: _pack_uuid,
    **dict.fromkeys(_PATHS.values(), _pack_path),
}
if zoneinfo is not None:
    PACKERS[zoneinfo.ZoneInfo] = _pack_zoneinfo

UNPACKERS: Dict[str, Callable[..., Any]] = {
    "int": _unpack_int,
    "float": _unpack_float,
    "complex": _unpack_complex,
    "str": _unpack_str,
    "bytes": _unpack_bytes,
    "bytearray": _unpack_bytearray,
    "list": _unpack_list,
    "tuple": _unpack_tuple,
    "set": _unpack_set,
    "frozenset": _unpack_frozenset,
    "dict": _unpack_dict,
    "range": _unpack_range,
    "slice": _unpack_slice,
    "date": _unpack_date,
    "time": _unpack_time,
    "datetime": _unpack_datetime,
    "timedelta": _unpack_timedelta,
    "timezone": _unpack_timezone,
    "zoneinfo": find_zone,
    "decimal": _unpack_decimal,
    "fraction": _unpack_fraction,
    "uuid": _unpack_uuid,
    "path": _unpack_path,
}
