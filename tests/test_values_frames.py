"""pandas' values come back with their dtypes, names, indexes and attrs (M4)."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import pandas as hpd

from alike import check_alike
from docker_kernel_server import values
from docker_kernel_server.values import frequencies, pack, unpack
from old_pandas import old_pandas
from strategies import quick, text
from system import CannotError

CONTAINER = Path(__file__).parents[1] / "container"
BERLIN = "Europe/Berlin"

columns = st.sampled_from(["i1", "u8", ">i4", "f4", "c16", "?", "M8[ns]", "M8[s]", "m8[ns]"]).map(
    lambda code: hpd.column(dtype=np.dtype(code))
)
columns |= st.builds(
    lambda elements: hpd.column(elements=st.sampled_from(elements), dtype=object),
    st.lists(st.none() | st.integers() | text | st.binary() | st.dates(), min_size=1, max_size=4),
)
indexes = hpd.range_indexes() | hpd.indexes(dtype=int) | hpd.indexes(elements=text, dtype=object)


def again(value: Any) -> Any:
    return unpack(pack({"value": value}))["value"]


@settings(quick, max_examples=300)
@given(st.data())
def test_any_frame(data: st.DataObject) -> None:
    drawn = data.draw(st.lists(columns, max_size=4))
    names = data.draw(st.lists(text | st.integers() | st.none(), min_size=len(drawn), max_size=4))
    frame = data.draw(hpd.data_frames(drawn, index=indexes))
    frame.columns = pd.Index(names[: len(drawn)], dtype=object)
    check_alike(again(frame), frame)


@settings(quick, max_examples=200)
@given(st.data(), st.sampled_from(["Int8", "UInt64", "Float32", "boolean", "string", "category"]))
def test_any_column_with_gaps(data: st.DataObject, dtype: str) -> None:
    if dtype in ("string", "category"):
        items: st.SearchStrategy[Any] = st.text(max_size=4)
    elif dtype == "boolean":
        items = st.booleans()
    else:
        items = st.integers(0, 100)
    series = pd.Series(data.draw(st.lists(st.none() | items, max_size=6)), dtype=dtype)
    check_alike(again(series), series)


@settings(quick, max_examples=200)
@given(
    st.lists(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)) | st.none()),  # noqa: DTZ001
    st.sampled_from([BERLIN, "UTC", dt.timezone(dt.timedelta(hours=5)), ZoneInfo("Asia/Tokyo")]),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_any_times_with_a_zone(times: Any, zone: Any, unit: str) -> None:
    index = pd.DatetimeIndex(times, dtype=f"M8[{unit}]").tz_localize("UTC").tz_convert(zone)
    check_alike(again(index), index)
    check_alike(again(list(index)), list(index))


def frame(**keys: Any) -> Any:
    made = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    for name, value in keys.items():
        setattr(made, name, value)
    return made


CORNERS: dict[str, Any] = {
    "frame": pd.DataFrame({"a": [1, 2], "b": [1.5, np.nan], "c": ["x", None], "d": [True, False]}),
    "empty": pd.DataFrame(),
    "no_rows": pd.DataFrame({"a": np.array([], "i4"), "b": np.array([], object)}),
    "no_columns": pd.DataFrame(index=[3, 1, 2]),
    "twice": pd.DataFrame([[1, 2.0], [3, 4.0]], columns=["x", "x"], index=[7, 7]),
    "attrs": frame(attrs={"k": [1, {"x": (2,)}]}),
    "views": pd.DataFrame(np.arange(12).reshape(3, 4)).iloc[::-1, ::2],
    "category": pd.Series(
        pd.Categorical(["a", "b", None], categories=["b", "a", "c"], ordered=True), name=("t", 1)
    ),
    "category_of_ints": pd.Series(pd.Categorical([3, 1, 3])),
    "category_of_many": pd.Series(pd.Categorical(range(300))),
    "interval_of_times": pd.cut(pd.Series(pd.date_range("2020-01-01", periods=4)), 2),
    "intervals": pd.Series(pd.interval_range(0, 3, closed="left")),
    "cut": pd.cut(pd.Series([1, 2, 3.5, None]), 2),
    "periods": pd.Series(pd.PeriodIndex(["2020-01", "NaT"], freq="M")),
    "deltas": pd.Series(pd.to_timedelta([1, None, 3], unit="D")),
    "naive": pd.Series(pd.to_datetime(["2020-01-01", "NaT", "1999-12-31"])),
    "over_a_change": pd.Series(
        pd.date_range("2020-10-24 23:00", periods=5, freq="h", tz="UTC").tz_convert(BERLIN)
    ),
    "by_day": pd.Series(range(5), index=pd.date_range("2020-03-27", periods=5, tz=BERLIN)),
    "by_delta": pd.Series(range(3), index=pd.timedelta_range("1D", periods=3, freq="2h")),
    "by_period": pd.Series([1, 2], index=pd.period_range("2020", periods=2, freq="Y-MAR")),
    "object": pd.Series(
        [1, "a", None, [1], {"k": (1,)}, pd.NaT, pd.NA, pd.Timestamp("2020"), np.float32(2)],
        dtype=object,
    ),
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "f": pd.array([None, 1.5], dtype="Float64"),
            "b": pd.array([None, True], dtype="boolean"),
            "s": pd.array(["ü", None], dtype="string"),
        }
    ),
    "all_text": pd.Series(["a", "b"], dtype=object),
    "default_text": pd.Series(["a", None, "b"]),
    "rows": pd.DataFrame(
        {"v": [1, 2, 3]},
        index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2), (np.nan, 3)], names=["l", None]),
    ),
    "columns": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_product([["a"], ["x", "y"]], names=["p", ("q", 1)])
    ),
    "unused_levels": pd.DataFrame({"v": [1, 2]}, index=pd.MultiIndex.from_arrays([[1, 2], [3, 4]]))[
        :1
    ],
    "tuples": pd.Series([1, 2], index=pd.Index([("a", 1), ("b", 2)], tupleize_cols=False)),
    "range": pd.RangeIndex(2, 20, 3, name="r"),
    "long_range": pd.RangeIndex(2**62),
    "indexes": [
        pd.Index([1, 2], name="n"),
        pd.Index(["a", None], dtype=object),
        pd.Index([True, False]),
        pd.Index([1, None], dtype="Int64"),
        pd.Index([1.5], dtype="f4"),
        pd.CategoricalIndex(["a", "b"]),
        pd.IntervalIndex.from_breaks([0, 1, 2]),
        pd.Index([]),
        pd.MultiIndex.from_tuples([], names=["a", "b"]),
    ],
    "arrays": [
        pd.Categorical(["a"]),
        pd.array([1, None], dtype="Int8"),
        pd.array(np.array([1.0])),
        pd.array(["a"], dtype="string"),
        pd.array(np.array(["2020"], "M8[s]")),
        pd.array([1, "a"], dtype=object),
        pd.period_range("2020", periods=2, freq="D").array,
    ],
    "scalars": [
        pd.Timestamp("2020-01-01 12:00:00.123456789"),
        pd.Timestamp("2020-01-01").as_unit("s"),
        pd.Timestamp("2020-10-25 00:30", tz="UTC").tz_convert(BERLIN),
        pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert(BERLIN),
        pd.Timedelta("1D 3ns"),
        pd.Timedelta(5, unit="s").as_unit("ms"),
        pd.Period("2020-01", "M"),
        pd.Period("2020Q1", freq="Q-JAN"),
        pd.Interval(1, 2.5, closed="both"),
        pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021")),
        pd.NaT,
        pd.NA,
    ],
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str) -> None:
    check_alike(again(CORNERS[name]), CORNERS[name])


OFFSETS = (
    "D B W-TUE MS QS-FEB BMS BQS-DEC ME QE-JAN YE-MAR BME BQE-DEC BYE-DEC SME-15 SMS-15 YS-JAN"
)
OFFSETS += " BYS-JAN WOM-2TUE h min s ms us ns 2h 90min -1D"
PERIODS = "Y-MAR Q-DEC M W-SUN D h min s ms us ns 3D"


@pytest.mark.parametrize("freq", OFFSETS.split())
def test_the_frequency_of_an_index(freq: str) -> None:
    index = pd.date_range("2021-01-01", periods=4, freq=freq, unit="ns")
    assert index.freq is not None
    check_alike(again(index), index)


@pytest.mark.parametrize("freq", PERIODS.split())
def test_the_frequency_of_periods(freq: str) -> None:
    index = pd.period_range("2021-01-01", periods=4, freq=freq)
    check_alike(again(index), index)
    check_alike(again(index[0]), index[0])


@pytest.mark.parametrize(
    ("new", "old"),
    [("ME", "M"), ("2h", "2H"), ("YE-MAR", "A-MAR"), ("BQS-DEC", "BQS-DEC"), ("-5min", "-5T")],
)
def test_old_names_of_offsets(new: str, old: str) -> None:
    assert frequencies.of_offset(old, old=True, reading=False) == new
    assert frequencies.of_offset(new, old=True, reading=True) == old
    for reading in (True, False):
        assert frequencies.of_offset(new, old=False, reading=reading) == new


def test_old_names_of_periods() -> None:
    assert frequencies.of_period("A-DEC", old=True, reading=False) == "Y-DEC"
    assert frequencies.of_period("M", old=True, reading=True) == "M"
    assert frequencies.of_period("h", old=True, reading=True) == "H"


class Sub(pd.DataFrame):  # type: ignore[misc]
    pass


HOLIDAYS = pd.offsets.CustomBusinessDay(holidays=["2021-01-04"])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Sub(), "x can't be moved: Sub is a subclass of DataFrame"),
        (pd.DataFrame({"ok": [1], "bad": [len]}), "x['bad'][0] can't be moved: builtin_function"),
        (pd.DataFrame({"s": pd.arrays.SparseArray([0, 1])}), "x['s'] can't be moved: columns of"),
        (pd.Series([1], name=len), "builtin_function"),
        (pd.Series([1], index=pd.Index([len])), "builtin_function"),
        (frame(attrs={"f": len}), "['f'] can't be moved"),
        (pd.date_range("2021-01-01", periods=3, freq=HOLIDAYS), "set index.freq = None first"),
        (pd.offsets.Day(), "Day is"),
        (pd.DataFrame().groupby, "method is not among the types"),
        (pd.DataFrame({"a": [1]}).groupby("a"), "DataFrameGroupBy is"),
        (pd.CategoricalDtype(["a"]), "CategoricalDtype is"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_can_t_be_moved_is_named(value: Any, says: str) -> None:
    with pytest.raises(values.Unmovable) as caught:
        pack({"x": value})
    assert says in str(caught.value)
    assert str(caught.value).startswith("x")


def test_an_index_whose_frequency_is_forgotten_can_be_moved() -> None:
    index = pd.date_range("2021-01-01", periods=3, freq=HOLIDAYS)
    index.freq = None
    check_alike(again(index), index)


def test_text_in_arrow_where_there_is_none() -> None:
    """It comes as text in Python's own strings."""
    node = ["text", "pyarrow", "NA", ["a", None]]
    blob = pack({"a": None}).replace(b"null", json.dumps(node, separators=(",", ":")).encode())
    size = len(values.MAGIC)
    length = int.from_bytes(blob[size : size + 8], "big") + len(blob) - len(pack({"a": None}))
    blob = blob[:size] + length.to_bytes(8, "big") + blob[size + 8 :]

    def load(name: str) -> Any:
        if name not in ("numpy", "pandas"):
            raise ImportError(name)
        return {"numpy": np, "pandas": pd}[name]

    series = pd.Series(unpack(blob, load)["a"])
    assert str(series.dtype) == "string"
    assert series.dtype.storage == "python"
    assert list(series.isna()) == [False, True]


# ---- another numpy and another pandas on the other side

OLD = """
import sys
import numpy as np
import pandas as pd
sys.path.insert(0, sys.argv[1])
from docker_kernel_server import values

assert (np.__version__, pd.__version__) == ("1.21.6", "1.3.5")
for line in sys.stdin:
    if line.strip() == "make":
        made = pd.DataFrame(
            {"i": [1, 2], "f": [1.5, np.nan], "s": ["x", None], "n": pd.array([1, None], "Int64")},
            index=pd.date_range("2020-01-31", periods=2, freq="M", tz="Europe/Berlin", name="t"),
        )
        made["c"] = pd.Categorical(["b", "a"], categories=["b", "a"], ordered=True)
        made["p"] = pd.period_range("2020", periods=2, freq="A-MAR")
        made["z"] = pd.to_datetime(["2020-01-01T00:00:00+05:30"] * 2)
        out = values.pack({"x": made})
    else:
        found = values.unpack(bytes.fromhex(line))
        print(repr(getattr(found["x"], "dtype", "")) or "-")
        out = values.pack(found)
    print(out.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def other_side(pythons: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    try:
        program = old_pandas(pythons)
    except CannotError as exc:
        pytest.skip(str(exc))
    command = [str(program), "-I", "-W", "error", "-c", OLD, str(CONTAINER)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def over_there(process: subprocess.Popen[str], value: Any) -> tuple[str, Any]:
    """A value that has been there and back, and the dtype that it had there."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(pack({"x": value}).hex(), file=process.stdin, flush=True)
    dtype = process.stdout.readline().strip()
    return dtype, unpack(bytes.fromhex(process.stdout.readline()))["x"]


SAME = [
    pd.Series(["a", None, "b"], dtype=object),
    pd.Series(["a", None], dtype="string[python]"),
    pd.Series([1, None], dtype="Int16"),
    pd.Series([True, None], dtype="boolean"),
    pd.Series([1.5, None], dtype="Float64"),
    pd.Series(pd.Categorical([3, 1, None], categories=[1, 3], ordered=True)),
    pd.Series(pd.interval_range(0, 3)),
    pd.Series(pd.period_range("2020", periods=2, freq="h")),
    pd.Series(np.array(["2020", "NaT"], "M8[ns]")),
    pd.Series([1], index=pd.MultiIndex.from_arrays([[1], [2.5]], names=["a", None])),
    pd.Series(range(3), index=pd.date_range("2020", periods=3, freq="2h", unit="ns")),
    pd.Series(range(3), index=pd.date_range("2020", periods=3, freq="QE-JAN", unit="ns")),
    pd.Series(range(3), index=pd.date_range("2020", periods=3, tz=BERLIN, unit="ns")),
    pd.Timestamp("2020-10-25 01:30", tz="UTC").tz_convert(BERLIN).as_unit("ns"),
    pd.Period("2020", "Y-MAR"),
    np.array([(1, "ü")], [("a", "<i4"), ("b", "U2")]),
]


@pytest.mark.parametrize("value", SAME, ids=lambda value: str(getattr(value, "dtype", value)))
def test_an_old_pandas_there(other_side: subprocess.Popen[str], value: Any) -> None:
    _, back = over_there(other_side, value)
    if str(getattr(getattr(value, "index", None), "dtype", "")).endswith("Berlin]"):
        # A zone of pytz has the same name.
        pd.testing.assert_series_equal(back.tz_convert("UTC"), value.tz_convert("UTC"))
        assert str(back.index.tz) == str(value.index.tz)
    elif isinstance(value, pd.Timestamp):
        assert (back, str(back.tz), back.unit) == (value, str(value.tz), value.unit)
    else:
        check_alike(back, value)


def test_what_an_old_pandas_does_not_have(other_side: subprocess.Popen[str]) -> None:
    """Text is objects there, and times are in nanoseconds; what doesn't fit in is an error."""
    dtype, back = over_there(other_side, pd.Series(["a", None], dtype="str"))
    assert dtype == "dtype('O')"
    assert list(back[:1]) == ["a"]
    assert back.isna().tolist() == [False, True]
    seconds = pd.Series(np.array(["2020-01-01", "NaT"], "M8[s]"))
    dtype, back = over_there(other_side, seconds)
    assert dtype == "dtype('<M8[ns]')"
    check_alike(back, seconds.astype("M8[ns]"))


def test_a_frame_of_an_old_pandas(other_side: subprocess.Popen[str]) -> None:
    assert other_side.stdin is not None
    assert other_side.stdout is not None
    print("make", file=other_side.stdin, flush=True)
    made = unpack(bytes.fromhex(other_side.stdout.readline()))["x"]
    index = pd.date_range("2020-01-31", periods=2, freq="ME", tz=BERLIN, name="t", unit="ns")
    assert made.index.freq == index.freq
    assert list(made.index) == list(index)
    assert str(made.index.tz) == BERLIN
    assert list(made.columns) == ["i", "f", "s", "n", "c", "p", "z"]
    assert made.dtypes.astype(str).tolist()[:4] == ["int64", "float64", "object", "Int64"]
    assert made["c"].tolist() == ["b", "a"]
    assert made["c"].cat.ordered
    assert made["p"].tolist() == list(pd.period_range("2020", periods=2, freq="Y-MAR"))
    assert made["z"].iloc[0] == pd.Timestamp("2020-01-01T00:00:00+05:30")
