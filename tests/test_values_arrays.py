"""numpy's values come back with their dtype, shape, order and bytes (M4)."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alike import check_alike
from docker_kernel_server import values
from docker_kernel_server.values import pack, pieces, unpack
from strategies import quick

dtypes: st.SearchStrategy[Any] = hnp.nested_dtypes(max_leaves=4).filter(
    lambda dtype: not dtype.hasobject and dtype.itemsize > 0
)


@st.composite
def views(draw: st.DrawFn) -> Any:
    """Arrays as they lie about: any dtype, either order, parts of others, read-only."""
    array: Any = draw(
        hnp.arrays(draw(dtypes), hnp.array_shapes(min_dims=0, max_side=4, min_side=0))
    )
    if array.ndim and draw(st.booleans()):
        array = array[
            tuple(slice(None, None, draw(st.sampled_from([1, 2, -1]))) for _ in array.shape)
        ]
    if draw(st.booleans()):
        array = array.T
    array.flags.writeable = draw(st.booleans()) and array.flags.writeable
    return array


def again(value: Any) -> Any:
    return unpack(pack({"value": value}))["value"]


def in_order(array: Any) -> Any:
    """What is expected back: no strides but those of an order."""
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return np.array(array, order="F" if fortran else "C", copy=True)


@settings(quick, max_examples=500)
@given(views())
def test_any_array(array: Any) -> None:
    before = array.tobytes()
    check_alike(again(array), in_order(array))
    assert array.tobytes() == before


@settings(quick, max_examples=300)
@given(views().filter(lambda array: array.size))
def test_any_scalar(array: Any) -> None:
    scalar = array.reshape(-1)[0]
    check_alike(again(scalar), scalar)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array("0-d"),
        np.array(5),
        np.zeros((2, 0, 3)),
        np.array([1, 2], ">i4"),
        np.array(["é", "", "\U0001f600"]),
        np.array(["a"], ">U3"),
        np.array([b"a\0b", b""]),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([1, 2], "m8[25s]"),
        np.array([1.1, 2], np.float16),
        np.array([1.1, np.nan], np.longdouble),
        np.array([1 + 2j], np.clongdouble),
        np.array([1.1], np.dtype(np.longdouble).newbyteorder()),
        np.array([b"abc"], "V3"),
        np.array([(1, 2.5, "x", [1, 2])], [("a", "i1"), ("b", ">f8"), ("c", "U3"), ("d", "i2", 2)]),
        np.array([(1, 2)], np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.array([((1, 2), 3)], [("a", [("b", "i1"), ("c", "?")]), ("d", "i4")]),
        np.array([(1, 2)], [("a", "i1"), ("b", "i8")])[["b"]],
        np.array([(1,)], [(("title", "a"), "i4")]),
        np.array([1, "a", None, [1], {2: (3,)}, np.float32(1)], dtype=object),
        np.array([[None, 1], [2, "x"]], dtype=object, order="F"),
        np.array(None, dtype=object),
        np.array([], dtype=object),
        np.str_("a\0"),
        np.bytes_(b"a\0"),
        np.bool_(True),
        np.float32("nan"),
        np.complex64(1 - 2j),
        np.void(b"abc"),
        np.datetime64("2020-01-01T00:00:00.000000001"),
        np.timedelta64(5, "m"),
        np.longdouble("1.1"),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.dtype}",
)
def test_what_is_special(value: Any) -> None:
    check_alike(again(value), value)


GAP = np.dtype([("a", "i1"), ("b", "i8")], align=True)
GAPS = np.dtype([("one", GAP), ("two", GAP, (2,))])


@pytest.mark.parametrize("dtype", [GAP, GAPS])
def test_what_lies_between_fields_stays_here(dtype: Any) -> None:
    """It is what was in this process's memory before, and the container need not have it."""
    dirty = np.frombuffer(b"s" * 2 * dtype.itemsize, dtype)
    items = 2 * dtype.itemsize // GAP.itemsize
    for value, count in [(dirty, items), (dirty.reshape(2, 1), items), (dirty[0], items // 2)]:
        assert b"s" * 7 in value.tobytes()
        whole = pack({"x": value})
        assert whole.endswith((b"s" + bytes(7) + b"s" * 8) * count)
        assert pack(unpack(whole)) == whole


def test_objects_inside_of_objects() -> None:
    value = np.empty(4, object)
    value[0], value[1], value[2] = np.array(5), np.arange(3), [np.arange(2)]
    check_alike(again(value), value)


def test_names_of_one_type_are_one() -> None:
    """There are two types of 64 bits; they are the same dtype, and so come back as that."""
    value = np.array([5], "q")
    assert again(value).dtype == value.dtype
    assert again(np.longlong(5)) == 5


def test_text_of_any_length() -> None:
    """Since numpy 2."""
    if not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"):
        pytest.skip("numpy 1 has no such text")
    for options in ({}, {"coerce": False}, {"na_object": None}, {"na_object": float("nan")}):
        kind = np.dtypes.StringDType(**options)
        items = ["a", "é" * 100, "", *([kind.na_object] if "na_object" in options else [])]
        value = np.array(items, dtype=kind)
        back = again(value)
        assert repr(back.dtype) == repr(value.dtype)
        check_alike(list(back), list(value))
        check_alike(again(value.reshape(-1, 1)).shape, value.reshape(-1, 1).shape)


def test_text_of_any_length_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(np, "dtypes"):
        monkeypatch.delattr(np.dtypes, "StringDType", raising=False)
    header = json.dumps({"buffers": [], "values": {"a": ["strings", [0], "C", [], True]}}).encode()
    with pytest.raises(ValueError, match="need numpy 2; type: pip install 'numpy>=2'"):
        unpack(values.MAGIC + len(header).to_bytes(8, "big") + header)


def test_a_large_array_is_not_copied_to_be_packed() -> None:
    value = np.arange(1_000_000)
    last = pieces({"a": value})[-1]
    assert isinstance(last, memoryview)
    assert np.shares_memory(np.asarray(last), value)
    back = again(value)
    back[0] = 5
    assert (value[0], back[0]) == (0, 5)


class Sub(np.ndarray[Any, Any]):
    pass


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.arange(3).view(Sub), "x can't be moved: Sub is a subclass of ndarray"),
        (np.ma.array([1], mask=[True]), "MaskedArray is a subclass of ndarray"),
        (np.rec.array([(1,)], dtype=[("a", "i4")]), "recarray is a subclass of ndarray"),
        (np.array([1, len, 2], dtype=object), "x[1] can't be moved: builtin"),
        (np.array([[1, 2], [3, len]], dtype=object), "x[1, 1] can't be moved: builtin"),
        (np.array([(1, None)], [("a", "i4"), ("b", "O")]), "can't be moved: arrays of dtype"),
        (np.dtype("i4"), "Int32DType is a subclass"),
        (np.random.default_rng(), "Generator is not among the types"),
        (np.sin, "ufunc is not among the types"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_can_t_be_moved_is_named(value: Any, says: str) -> None:
    with pytest.raises(values.Unmovable) as caught:
        pack({"x": value})
    if says.startswith("x"):
        assert str(caught.value).startswith(says)
    assert says in str(caught.value)


def test_an_array_that_holds_itself() -> None:
    value = np.empty(1, object)
    value[0] = value
    with pytest.raises(values.Unmovable, match=r"x\[0\] can't be moved: it holds itself"):
        pack({"x": value})


def test_a_longdouble_of_another_machine() -> None:
    """Its name is the same there, its bits aren't."""
    whole = pack({"x": np.array([1.1], np.longdouble)})
    bits = np.finfo(np.longdouble).nmant
    strange = whole.replace(f'"<f16",{bits}]'.encode(), b'"<f16",99]')
    assert strange != whole
    with pytest.raises(ValueError, match="longdouble is another type on this machine"):
        unpack(strange)


def test_nothing_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again([np.array(["NaT"], "M8[s]"), np.array([np.nan]), np.float32("inf")])
