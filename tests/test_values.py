"""Values as bytes: Python's own come back as they were, hostile blobs are refused (M4)."""

from __future__ import annotations

import collections
import enum
import importlib
import json
import pathlib
import subprocess
import sys
import types
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alike import check_alike
from docker_kernel_server import values
from docker_kernel_server.values import MAGIC, arrays, frames, pack, plain, unpack
from docker_kernel_server.values.tree import MAX_DEPTH
from strategies import quick, text

CONTAINER = Path(__file__).parents[1] / "container"

zones: st.SearchStrategy[tzinfo | None] = st.none() | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
)
zones |= st.builds(timezone, st.just(timedelta(minutes=90)), text)
zones |= st.sampled_from(["Europe/Berlin", "America/Port-au-Prince", "UTC"]).map(zoneinfo.ZoneInfo)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.complex_numbers()
    | text
    | st.binary(max_size=20)
    | st.decimals()
    | st.fractions()
    | st.uuids()
    | st.dates()
    | st.times(timezones=zones)
    | st.datetimes(timezones=zones, allow_imaginary=True)
    | st.timedeltas()
    | st.builds(range, st.integers(), st.integers(), st.integers(1))
    | st.builds(pathlib.PurePosixPath, text)
    | st.builds(pathlib.PureWindowsPath, st.text(max_size=5))
    | st.builds(pathlib.PosixPath, text)
    | zones
)
hashable = st.recursive(
    scalars.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan())),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
anything = st.recursive(
    scalars | hashable | st.binary(max_size=9).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(hashable, max_size=3)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.builds(slice, inner, inner, inner)
    ),
    max_leaves=15,
)


def again(value: Any) -> Any:
    """A value, after its journey."""
    return unpack(pack({"value": value}))["value"]


def blob(nodes: Any, *buffers: bytes, lengths: Any = None) -> bytes:
    """A blob that nobody has packed. ``nodes`` is the node of a, or a JSON text."""
    if lengths is None:
        lengths = [len(buffer) for buffer in buffers]
    header = nodes
    if not isinstance(nodes, str):
        header = json.dumps({"buffers": lengths, "values": {"a": nodes}})
    size = len(header).to_bytes(8, "big")
    return b"".join([MAGIC, size, header.encode(), *buffers])


# ---- there and back


@settings(quick, max_examples=300)
@given(st.dictionaries(st.sampled_from(["a", "b", "ü", "_x"]), anything, max_size=3))
def test_everything_comes_back_as_it_was(value: dict[str, Any]) -> None:
    check_alike(unpack(pack(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        -0.0,
        5e-324,
        complex("nan-infj"),
        2**53,
        -(2**53),
        10**4000,
        True,
        "\ud83d\ude00",
        "\U0001f600\ud800",
        "\0",
        "",
        [],
        (),
        {1: "a", "1": "b", (1,): "c", None: "d", 2.5: "e"},
        {True: 1, 0: 2},
        {float("nan"): 1},
        [[1], [1]],
        # By name: a set is drawn in another order by each process that shares the tests.
        pytest.param({frozenset({1, "a"}), (1, 2)}, id="a set of sets"),
        slice(None, (1, 2), "x"),
        range(0, -10, -3),
        range(10**30),
        Decimal("-0E+5"),
        Decimal("sNaN12"),
        Decimal("1E+999999"),
        Decimal("0.10"),
        Fraction(-1, 3),
        UUID(int=5),
        date.min,
        datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
        time(1, 2, 3, 4, timezone.utc, fold=1),
        datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
        timezone(timedelta(seconds=1), "odd"),
        timezone.utc,
        timedelta.min,
        pathlib.PurePosixPath("//a/../b"),
        pathlib.Path("/tmp/\udcff"),
        pathlib.PureWindowsPath("c:x"),
        bytes(range(256)),
        bytearray(b"x"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_special(value: Any) -> None:
    check_alike(again(value), value)


def test_every_zone_of_this_machine() -> None:
    keys = sorted(zoneinfo.available_timezones())
    check_alike(again(keys), keys)
    assert all(plain.zone_key(key) == key for key in keys)
    assert again(timezone.utc) is timezone.utc


def test_order_is_kept() -> None:
    value = {"b": 1, "a": 2, "c": {"z": 1, "y": 2}}
    assert list(again(value)) == ["b", "a", "c"]
    assert list(unpack(pack(value))) == ["b", "a", "c"]


def test_large_buffers_are_not_copied() -> None:
    data = bytes(10_000_000)
    assert any(piece is data for piece in values.pieces({"a": data}))
    assert len(pack({"a": data})) < len(data) + 200


def test_a_path_of_another_system() -> None:
    """Here there can be no such file, but there can be its path."""
    node = ["path", "WindowsPath", "c:\\a"]
    check_alike(unpack(blob(node))["a"], pathlib.PureWindowsPath("c:\\a"))


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_other_pythons(pythons: dict[str, str], version: str, tmp_path: Path) -> None:
    """Both ways, without anything installed there."""
    if version not in pythons:
        pytest.skip(f"there is no Python {version} on this machine")
    value = {"a": [1.5, "\ud800", {(1, 2): {3}}], "b": Decimal("1.0"), "c": 10**30}
    (tmp_path / "in").write_bytes(pack(value))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from docker_kernel_server import values\n"
        "blob = open(sys.argv[2] + '/in', 'rb').read()\n"
        "open(sys.argv[2] + '/out', 'wb').write(values.pack(values.unpack(blob)))\n"
    )
    command = [pythons[version], "-I", "-S", "-c", code, str(CONTAINER), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    check_alike(unpack((tmp_path / "out").read_bytes()), value)


# ---- what can't be moved is named, with the reason


class Colour(enum.IntEnum):
    RED = 1


class Bag(dict[str, int]):
    pass


class Zone(tzinfo):
    pass


Pair = collections.namedtuple("Pair", "a b")  # noqa: PYI024 - an untyped one is meant


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def holds_itself() -> Any:
    value: dict[str, Any] = {"a": []}
    value["a"].append(value)
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (json, "x can't be moved: module is not among the types"),
        ([1, {"k": (len,)}], "x[1]['k'][0] can't be moved: builtin_function_or_method is not"),
        ({len: 1}, "x[key 0] can't be moved: builtin"),
        ({"a": {1, int}}, "x['a']["),
        (Colour.RED, "Colour is a subclass of int, and would come back as that"),
        (Pair(1, 2), "Pair is a subclass of tuple"),
        (Bag(), "Bag is a subclass of dict"),
        (collections.OrderedDict(), "OrderedDict is a subclass of dict"),
        (object(), "object is not among the types"),
        (Ellipsis, "ellipsis is not among the types"),
        (types.SimpleNamespace(a=1), "SimpleNamespace is not among the types"),
        (iter([]), "list_iterator is not among"),
        (
            datetime(2020, 1, 1, tzinfo=Zone()),  # type: ignore[abstract]
            "its time zone can't be moved",
        ),
        (holds_itself(), "x['a'][0] can't be moved: it holds itself"),
        (nested(MAX_DEPTH + 1), f"it is nested deeper than {MAX_DEPTH}"),
        (slice(len, 1), "x.start can't be moved"),
        (Fraction(1, 2**1_000_001), "too long"),
        ({"k" * 1000: len}, "x['kkkkkkkkkkkk...kkkkkkkkkkkkk'] can't"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else type(value).__name__,
)
def test_what_can_t_be_moved_is_named(value: Any, says: str) -> None:
    with pytest.raises(values.Unmovable) as caught:
        pack({"good": 1, "x": value})
    assert says in str(caught.value)
    assert str(caught.value).startswith("x")


@pytest.mark.parametrize("name", ["", "a b", "1", "class", "a.b", 5])
def test_names_are_names_of_variables(name: Any) -> None:
    with pytest.raises(ValueError, match="no name of a variable"):
        pack({name: 1})
    header = json.dumps({"buffers": [], "values": {name: 1}})
    with pytest.raises(ValueError, match="a name is none"):
        unpack(blob(header))


def test_as_deep_as_it_may_be() -> None:
    check_alike(again(nested(MAX_DEPTH)), nested(MAX_DEPTH))


def test_a_stack_that_is_nearly_full() -> None:
    """Where the caller has left little room, it's an error like the others."""

    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            pack({"a": nested(90)})

    deep = sys.getrecursionlimit()
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        frame, deep = frame.f_back, deep - 1
    with pytest.raises(ValueError, match="too deeply"):
        dive(deep - 60)
    whole = pack({"a": nested(90)})

    def dive_back(depth: int) -> None:
        if depth:
            dive_back(depth - 1)
        else:
            unpack(whole)

    with pytest.raises(ValueError, match="too deeply"):
        dive_back(deep - 60)


# ---- hostile blobs

TAGS = sorted({**plain.UNPACKERS, **arrays.UNPACKERS, **frames.UNPACKERS})
HARMLESS = ("numpy", "pandas")
seen: list[tuple[str, str]] | None = None


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Note what a blob must never be able to bring about."""
    watched = (
        "import",
        "exec",
        "compile",
        "open",
        "os.system",
        "subprocess.Popen",
        "socket.connect",
    )
    if seen is not None and (event in watched or event.startswith(("pickle", "ctypes", "os."))):
        seen.append((event, str(args[0]) if args else ""))


sys.addaudithook(watch)


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Nothing is imported, opened, run or compiled; but for time zones, and pandas' own modules."""
    global seen  # an audit hook can't be taken away again
    seen = []
    try:
        yield
        found = [
            (event, name)
            for event, name in seen
            if not (event == "import" and name.split(".")[0] in HARMLESS)
            and not (event == "open" and "zoneinfo" in name)
        ]
    finally:
        seen = None
    assert found == []


def loaded(name: str) -> Any:
    """A loader that imports nothing."""
    try:
        return sys.modules[name]
    except KeyError:
        raise ValueError(f"{name} is not there") from None


def read(data: bytes) -> None:
    """Whatever the blob is: values, or a ValueError."""
    try:
        with nothing_happens():
            found = unpack(data, loaded)
    except ValueError:
        return
    pack(found)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "C", "<f8", "<U1", "|b1", "<M8[ns]", "python", "nan", "D", "ff", "both"])
    | st.sampled_from(["PosixPath", "Europe/Berlin", "../x", "fields", "sub", "a", "1E9", "0" * 32])
)
nodes = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(st.sampled_from(TAGS), inner, inner).map(list)
        | st.tuples(st.sampled_from(TAGS), st.lists(inner, max_size=3), inner, inner).map(list)
        | st.builds(lambda tag, rest: [tag, *rest], st.sampled_from(TAGS), st.lists(inner))
        | st.dictionaries(st.just("a"), inner)
    ),
    max_leaves=12,
)


@settings(quick, max_examples=800)
@given(nodes, st.lists(st.binary(max_size=24), max_size=3))
def test_any_tree_gives_values_or_a_value_error(node: Any, buffers: list[bytes]) -> None:
    read(blob(node, *buffers))


@settings(quick, max_examples=300)
@given(st.dictionaries(st.just("a"), anything), st.data())
def test_a_blob_that_is_damaged_gives_values_or_a_value_error(value: Any, data: Any) -> None:
    whole = bytearray(pack(value))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        how = data.draw(st.sampled_from(["change", "cut", "insert", "drop"]))
        if how == "change":
            whole[place] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del whole[place + 1 :]
        elif how == "insert":
            whole[place:place] = data.draw(st.binary(max_size=5))
        elif len(whole) > 1:
            del whole[place]
    read(bytes(whole))


@quick
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(ValueError, match="can't be read"):
        unpack(data)
    read(MAGIC + data)
    read(MAGIC + len(data).to_bytes(8, "big") + data)


HUGE = 10**12


@pytest.mark.parametrize(
    ("node", "buffers", "says"),
    [
        (["pickle", 0], [b"cos\nsystem\n"], "no such kind"),
        (["__import__", "os"], [], "no such kind"),
        ([], [], "no such kind"),
        ([["list"]], [], "no such kind"),
        ({}, [], "an object"),
        (["list", {"a": 1}], [], "a list is none"),
        (["list", "abc"], [], "a list is none"),
        (["list"], [], "argument"),
        (["bytes", 0], [], "isn't there"),
        (["bytes", -1], [b"x"], "isn't there"),
        (["bytes", True], [b"x", b"y"], "integer"),
        # A small blob makes nothing large.
        (["list", [["bytes", 0], ["bytes", 0]]], [b"x"], "isn't there"),
        (["array", "<f8", [HUGE], "C", 0], [b""], "doesn't fit"),
        (["array", "<f8", [-1, -1], "C", 0], [b"12345678"], "shape"),
        (["array", "<f8", [HUGE, HUGE, 0], "C", 0], [b""], ""),
        (["array", "|V0", [HUGE], "C", 0], [b""], "too long"),
        (["array", "<U268435456", [0], "C", 0], [b""], None),
        # What an int would not hold.
        (["array", "<U999999999", [0], "C", 0], [b""], "a dtype is none"),
        (["array", "|V2147483648", [0], "C", 0], [b""], "a dtype is none"),
        (["array", "|S9999999999", [0], "C", 0], [b""], "a dtype is none"),
        (["array", ["fields", [["a", "|V2", 7]], 8, False], [1], "C", 0], [bytes(8)], "outside"),
        (["array", ["fields", [["a", "|V2", -1]], 8, False], [1], "C", 0], [bytes(8)], "outside"),
        (["array", ["fields", [["a", "|V2", 0]], 2**31, False], [0], "C", 0], [b""], "too large"),
        (["array", ["fields", [], -8, False], [1], "C", 0], [bytes(8)], "outside"),
        (["array", ["sub", "<f8", [HUGE]], [0], "C", 0], [b""], "too large"),
        (["array", ["fields", [["a", "|V8", 0], ["b", "|V8", 0]], 8, False], [1], "C", 0],
         [bytes(8)], "overlap"),
        (["objects", [HUGE], "C", []], [], "doesn't fit"),
        (["series", 5, ["rangeindex", 0, HUGE, 1, None], None, ["dict", [], []]], [], "column"),
        (["series", ["objects", [1], "C", [5]], ["rangeindex", 0, HUGE, 1, None], None,
          ["dict", [], []]], [], "longer than its index"),
        (["frame", [], ["rangeindex", 0, HUGE, 1, None], ["rangeindex", 0, HUGE, 1, None],
          ["dict", [], []]], [], ""),
        # What would be more than data.
        (["array", "|O", [1], "C", 0], [bytes(8)], "a dtype is none"),
        (["array", "O", [1], "C", 0], [bytes(8)], "a dtype is none"),
        (["array", ["fields", [["a", "|O8", 0]], 8, False], [1], "C", 0], [bytes(8)], "dtype"),
        (["array", "<f8,os.system", [1], "C", 0], [bytes(8)], "a dtype is none"),
        (["numpy scalar", "datetime64[ns]", 0], [bytes(8)], "a dtype is none"),
        (["array", "<U1", [1], "C", 0], [b"\xff" * 4], "no values"),
        (["array", ">U1", [1], "C", 0], [b"\x11\0\0\0"], "no values"),
        (["array", ["fields", [["a", "|V1", 0], ["b", "<U1", 1]], 5, False], [1], "C", 0],
         [b"\xff" * 5], "no values"),
        (["array", "|b1", [2], "C", 0], [b"\1\2"], "no values"),
        (["zoneinfo", "../../etc/passwd"], [], "time zone"),
        (["zoneinfo", "/etc/localtime"], [], "time zone"),
        (["zoneinfo", "Europe/../Europe/Berlin"], [], "time zone"),
        (["zoneinfo", "__init__"], [], "time zone"),
        (["pytz", "../x"], [], "time zone"),
        (["path", "Path", "x"], [], "Path"),
        (["path", "Popen", "x"], [], "Popen"),
        (["path", "x" * 10**6, "x"], [], "xxxxx"),
        (["x" * 10**6], [], "xxxxx"),
        ([["x"] * 10**6], [], "no such kind"),
        # What can't be.
        (["dict", [["list", []]], [1]], [], "unhashable"),
        (["dict", [1, True], [1, 2]], [], "twice"),
        (["dict", [1], []], [], "more keys"),
        (["set", [1, 1.0]], [], "twice"),
        (["int", "0x5"], [], "integer"),
        (["int", "_1"], [], "integer"),
        (["int", 5], [], "string"),
        (["complex", 1, "2"], [], "number"),
        (["fraction", 1, 0], [], ""),
        (["fraction", 1, ["int", "f" * 300_000]], [], "fraction"),
        (["decimal", "x" * 10], [], ""),
        (["date", 0], [], ""),
        (["datetime", ["\x07\xe4\x01\x01\0\0\0\0\0\0"], 0, None], [], ""),
        (["datetime", [2020, 1, 1, 0, 0, 0, 0], 0, 5], [], ""),
        (["timezone", ["timedelta", 5, 0, 0]], [], ""),
        (["category", ["array", "|i1", [1], "C", 0], ["index", ["objects", [0], "C", []], None,
          None], False], [b"\5"], "codes"),
        (["multiindex", [["rangeindex", 0, 1, 1, None]], [["array", "|i1", [1], "C", 0]], [None]],
         [b"\5"], ""),
        (["index", ["array", "<M8[ns]", [1], "C", 0], None, "os.system"], [bytes(8)], "frequency"),
        (["period", 1, "C"], [], "frequency"),
        (["text", "python", "NA", [1]], [], "text"),
        (["text", "os", "NA", []], [], "text"),
        (["masked", ["array", "<M8[ns]", [1], "C", 0], ["array", "|b1", [1], "C", 1]],
         [bytes(8), b"\0"], ""),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_hostile_nodes(node: Any, buffers: list[bytes], says: str | None) -> None:
    for name in ("numpy", "pandas"):
        importlib.import_module(name)
    data = blob(node, *buffers)
    if says is None:
        read(data)
        return
    with pytest.raises(ValueError, match="the values can't be read: ") as caught, nothing_happens():
        unpack(data, loaded)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        MAGIC + b"\xff" * 8,
        blob("[]"),
        blob("{}"),
        blob('{"buffers": [], "values": []}'),
        blob('{"buffers": [5], "values": {}}'),
        blob('{"buffers": [-1], "values": {}}') + b"x",
        blob('{"buffers": [1.0], "values": {}}') + b"x",
        blob('{"buffers": [], "values": {}}') + b"x",
        blob('{"buffers": [], "values": {"a": NaN}}'),
        blob('{"buffers": [], "values": {"a": ' + "9" * 5000 + "}}"),
        blob('{"buffers": [], "values": {"a": ' + "[" * 100_000 + "}}"),
        blob('{"buffers": [], "values": {"a": ' + '["list", [' * 50_000 + "]]" * 50_000 + "}}"),
        blob(nested(0)).replace(b"{", b"\xff"),
    ],
    ids=lambda data: str(data[24:60]),
)
def test_hostile_frames(data: bytes) -> None:
    with pytest.raises(ValueError, match="the values can't be read: "), nothing_happens():
        unpack(data, loaded)


def test_another_version_is_named() -> None:
    with pytest.raises(ValueError, match="another version; install the same"):
        unpack(b"docker-kernel values 2\n" + bytes(8))


# ---- what isn't there


def test_a_package_that_is_missing_is_named() -> None:
    def none(name: str) -> Any:
        raise ImportError(name)

    for node, name in ((["array", "<f8", [0], "C", 0], "numpy"), (["NaT"], "pandas")):
        with pytest.raises(ValueError, match=f"they need {name}; type: pip install {name}"):
            unpack(blob(node, b""), none)


def test_a_zone_that_is_not_there_asks_the_loader() -> None:
    """By itself, zoneinfo would import tzdata, which may be whatever lies in the work folder."""
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        raise ValueError("no")

    with pytest.raises(ValueError, match="can't be read: no"), nothing_happens():
        unpack(blob(["zoneinfo", "Nowhere/Land"]), load)
    assert asked == ["tzdata"]
    with pytest.raises(
        ValueError, match="no time zone 'Nowhere/Land' here; type: pip install tzdata"
    ):
        unpack(blob(["zoneinfo", "Nowhere/Land"]), lambda _name: None)
