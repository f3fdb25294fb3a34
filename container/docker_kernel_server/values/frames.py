"""pandas' values. pandas itself is there where a value is its own, and is never imported here."""

from __future__ import annotations

import sys
from datetime import timedelta, timezone
from typing import Any, Callable, Dict, List, Tuple

from . import frequencies
from .arrays import pack_array
from .plain import find_zone, zone_key
from .tree import Node, Packer, Unmovable, Unpacker, text, whole

_STORAGES = ("python", "pyarrow")
# The dtypes of numpy's arrays in a pandas array, by the age of pandas.
_WRAPPERS = ("PandasDtype", "NumpyEADtype")


def pack(packer: Packer, value: Any) -> Node:
    """The node of a frame, a series, an index, an array or a scalar."""
    pd = sys.modules["pandas"]
    if value is pd.NaT:
        return ["NaT"]
    if value is pd.NA:
        return ["NA"]
    kind = type(value)
    if kind is pd.DataFrame:
        return _pack_frame(packer, value)
    if kind is pd.Series:
        about = [packer.node(part) for part in (value.index, value.name, dict(value.attrs))]
        return ["series", _pack_data(packer, value.array), *about]
    if isinstance(value, pd.Index):
        return _pack_index(pd, packer, value)
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return ["pandas array", _pack_data(packer, value)]
    pack = _SCALARS.get(kind.__name__)
    if pack is None or kind is not getattr(pd, kind.__name__, None):
        raise Unmovable(packer.reason(value))
    return pack(packer, value)


# ---- frames, series, indexes -------------------------------------------------------------------


def _pack_frame(packer: Packer, frame: Any) -> Node:
    columns: List[Node] = []
    try:
        for number in range(frame.shape[1]):
            columns.append(_pack_data(packer, frame.iloc[:, number].array))
    except Unmovable as exc:
        exc.where.append(f"[{frame.columns[len(columns)]!r}]")
        raise
    about = [packer.node(part) for part in (frame.index, frame.columns, dict(frame.attrs))]
    return ["frame", columns, *about]


def _unpack_frame(unpacker: Unpacker, columns: Node, index: Node, names: Node, attrs: Node) -> Any:
    pd = unpacker.load("pandas")
    rows = _index(unpacker, index)
    series = [_series(pd, _data(unpacker, column), rows) for column in columns]
    frame = pd.DataFrame(dict(enumerate(series)), index=rows)
    frame.columns = _index(unpacker, names)
    frame.attrs.update(unpacker.value(attrs))
    return frame


def _unpack_series(unpacker: Unpacker, data: Node, index: Node, name: Node, attrs: Node) -> Any:
    pd = unpacker.load("pandas")
    series = _series(pd, _data(unpacker, data), _index(unpacker, index))
    series.name = unpacker.value(name)
    series.attrs.update(unpacker.value(attrs))
    return series


def _series(pd: Any, data: Any, index: Any) -> Any:
    # A scalar, or an array of one, would be repeated as often as the blob says.
    if len(data) != len(index):
        raise ValueError("a column is longer than its index, or shorter")
    # pandas would make text of an array of objects that are all text.
    return pd.Series(data, index=index, dtype=object if data.dtype == object else None)


def _pack_index(pd: Any, packer: Packer, index: Any) -> Node:
    if isinstance(index, pd.MultiIndex):
        levels = [_pack_index(pd, packer, level) for level in index.levels]
        codes = [pack_array(packer, code) for code in map(_numpy, index.codes)]
        return ["multiindex", levels, codes, packer.nodes(index, index.names)]
    name = packer.node(index.name)
    if isinstance(index, pd.RangeIndex):
        return ["rangeindex", *map(packer.node, (index.start, index.stop, index.step)), name]
    freq = getattr(index, "freq", None) if index.dtype.kind in "mM" else None
    if freq is not None:
        freq = _pack_freq(pd, freq)
    return ["index", _pack_data(packer, index.array), name, freq]


def _pack_freq(pd: Any, freq: Any) -> str:
    try:
        code = frequencies.of_offset(freq.freqstr, _is_old(pd), reading=False)
        if pd.tseries.frequencies.to_offset(freq.freqstr) == freq:
            return code
    except ValueError:
        pass
    raise Unmovable(f"its index has the frequency {freq}; set index.freq = None first")


def _unpack_index(unpacker: Unpacker, data: Node, name: Node, freq: Node) -> Any:
    pd = unpacker.load("pandas")
    values = _data(unpacker, data)
    kind = object if values.dtype == object else None
    index = pd.Index(values, dtype=kind, name=unpacker.value(name), tupleize_cols=False)
    if freq is not None:
        index.freq = frequencies.of_offset(text(freq), _is_old(pd), reading=True)
    return index


def _unpack_rangeindex(unpacker: Unpacker, start: Node, stop: Node, step: Node, name: Node) -> Any:
    parts = [whole(unpacker.value(part)) for part in (start, stop, step)]
    return unpacker.load("pandas").RangeIndex(*parts, name=unpacker.value(name))


def _unpack_multiindex(unpacker: Unpacker, levels: Node, codes: Node, names: Node) -> Any:
    pd = unpacker.load("pandas")
    return pd.MultiIndex(
        [_index(unpacker, level) for level in levels],
        [_integers(unpacker, code) for code in codes],
        names=unpacker.values(names),
    )


def _index(unpacker: Unpacker, node: Node) -> Any:
    index = unpacker.value(node)
    if not isinstance(index, unpacker.load("pandas").Index):
        raise TypeError("an index is none")
    return index


# ---- arrays ------------------------------------------------------------------------------------


def _pack_data(packer: Packer, array: Any) -> Node:
    """The node of a column's values."""
    pd, np = sys.modules["pandas"], sys.modules["numpy"]
    dtype = array.dtype
    if isinstance(dtype, np.dtype) or type(dtype).__name__ in _WRAPPERS:
        return pack_array(packer, np.asarray(array))
    if isinstance(dtype, pd.CategoricalDtype):
        categories = packer.node(array.categories)
        return ["category", pack_array(packer, _numpy(array.codes)), categories, array.ordered]
    if isinstance(dtype, pd.DatetimeTZDtype):
        naive = np.asarray(array.tz_convert(None))
        return ["zoned", pack_array(packer, naive), _pack_zone(packer, dtype.tz)]
    if isinstance(dtype, pd.PeriodDtype):
        return ["periods", pack_array(packer, array.asi8), _pack_period(pd, dtype.freq)]
    if isinstance(dtype, pd.IntervalDtype):
        ends = [_pack_data(packer, end.array) for end in (array.left, array.right)]
        return ["intervals", *ends, array.closed]
    if isinstance(dtype, pd.StringDtype):
        return _pack_text(pd, np, packer, array)
    if isinstance(array, _masked(pd)):
        data = array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return ["masked", pack_array(packer, data), pack_array(packer, np.asarray(array.isna()))]
    raise Unmovable(f"columns of dtype {dtype} can't be moved; convert it with astype first")


def _data(unpacker: Unpacker, node: Node) -> Any:
    """The values of a column: an array, whatever else the node could be."""
    array = unpacker.value(node)
    np, pd = unpacker.load("numpy"), unpacker.load("pandas")
    if not isinstance(array, (np.ndarray, pd.api.extensions.ExtensionArray)) or array.ndim != 1:
        raise TypeError("a column is none")
    return array


def _integers(unpacker: Unpacker, node: Node) -> Any:
    array = _data(unpacker, node)
    if array.dtype.kind != "i":
        raise TypeError("an array of integers is none")
    return array


def _unpack_array(unpacker: Unpacker, node: Node) -> Any:
    array = _data(unpacker, node)
    return unpacker.load("pandas").array(array, dtype=array.dtype)


def _unpack_category(unpacker: Unpacker, codes: Node, categories: Node, ordered: Node) -> Any:
    pd = unpacker.load("pandas")
    return pd.Categorical.from_codes(
        _integers(unpacker, codes), _index(unpacker, categories), ordered=bool(ordered)
    )


def _unpack_zoned(unpacker: Unpacker, data: Node, zone: Node) -> Any:
    naive = unpacker.load("pandas").DatetimeIndex(_data(unpacker, data))
    return naive.tz_localize(timezone.utc).tz_convert(_zone(unpacker, zone)).array


def _unpack_periods(unpacker: Unpacker, ordinals: Node, freq: Node) -> Any:
    pd = unpacker.load("pandas")
    kind = pd.PeriodDtype(_period_freq(pd, freq))
    return pd.arrays.PeriodArray(_integers(unpacker, ordinals).astype("i8"), dtype=kind)


def _unpack_intervals(unpacker: Unpacker, left: Node, right: Node, closed: Node) -> Any:
    ends = [_data(unpacker, left), _data(unpacker, right)]
    return unpacker.load("pandas").arrays.IntervalArray.from_arrays(*ends, closed=text(closed))


def _unpack_masked(unpacker: Unpacker, data: Node, mask: Node) -> Any:
    arrays = unpacker.load("pandas").arrays
    values, missing = _data(unpacker, data), _data(unpacker, mask)
    name = {"b": "BooleanArray", "f": "FloatingArray"}.get(values.dtype.kind, "IntegerArray")
    if not hasattr(arrays, name) or len(values) != len(missing):
        raise ValueError(f"an array is no {name} of this pandas")
    return getattr(arrays, name)(values, missing)


def _masked(pd: Any) -> Any:
    names = ("BooleanArray", "IntegerArray", "FloatingArray")
    return tuple(getattr(pd.arrays, name) for name in names if hasattr(pd.arrays, name))


def _pack_text(pd: Any, np: Any, packer: Packer, array: Any) -> Node:
    dtype = array.dtype
    missing = "NA" if getattr(dtype, "na_value", pd.NA) is pd.NA else "nan"
    storage = "pyarrow" if getattr(dtype, "storage", "").startswith("pyarrow") else "python"
    values = zip(np.asarray(array, dtype=object).tolist(), np.asarray(array.isna()).tolist())
    items = [None if absent else value for value, absent in values]
    return ["text", storage, missing, packer.nodes(array, items)]


def _unpack_text(unpacker: Unpacker, storage: Node, missing: Node, nodes: Node) -> Any:
    pd, np = unpacker.load("pandas"), unpacker.load("numpy")
    items = unpacker.values(nodes)
    if not all(item is None or type(item) is str for item in items) or storage not in _STORAGES:
        raise TypeError("an array of text is none")
    if storage == "pyarrow" and unpacker.find("pyarrow") is None:
        storage = "python"
    if missing == "NA":
        kind = pd.StringDtype(storage)
    elif _version(pd) >= (2, 3):
        kind = pd.StringDtype(storage, na_value=np.nan)
    else:
        # What such a pandas has instead.
        values = np.empty(len(items), object)
        values[:] = [np.nan if item is None else item for item in items]
        return values
    return pd.array(np.array(items, object), dtype=kind)


# ---- scalars, frequencies, time zones ----------------------------------------------------------


def _pack_timestamp(packer: Packer, value: Any) -> Node:
    if value.tz is None:
        return ["timestamp", packer.node(value.asm8), None]
    naive = value.tz_convert(None)
    return ["timestamp", packer.node(naive.asm8), _pack_zone(packer, value.tz)]


def _unpack_timestamp(unpacker: Unpacker, value: Node, zone: Node) -> Any:
    stamp = unpacker.load("pandas").Timestamp(_numpy_scalar(unpacker, value, "M"))
    if zone is None:
        return stamp
    return stamp.tz_localize(timezone.utc).tz_convert(_zone(unpacker, zone))


def _pack_delta(packer: Packer, value: Any) -> Node:
    return ["pandas timedelta", packer.node(value.asm8)]


def _unpack_delta(unpacker: Unpacker, value: Node) -> Any:
    return unpacker.load("pandas").Timedelta(_numpy_scalar(unpacker, value, "m"))


def _numpy_scalar(unpacker: Unpacker, node: Node, kind: str) -> Any:
    value = unpacker.value(node)
    if not isinstance(value, unpacker.load("numpy").generic) or value.dtype.kind != kind:
        raise TypeError("a time is none")
    return value


def _pack_one_period(packer: Packer, value: Any) -> Node:
    pd = sys.modules["pandas"]
    return ["period", packer.node(value.ordinal), _pack_period(pd, value.freq)]


def _unpack_one_period(unpacker: Unpacker, ordinal: Node, freq: Node) -> Any:
    pd = unpacker.load("pandas")
    number = unpacker.value(ordinal)
    if type(number) is not int:
        raise TypeError("a period is none")
    return pd.Period(ordinal=number, freq=_period_freq(pd, freq))


def _pack_interval(packer: Packer, value: Any) -> Node:
    return ["interval", packer.nodes(value, (value.left, value.right)), value.closed]


def _unpack_interval(unpacker: Unpacker, ends: Node, closed: Node) -> Any:
    left, right = unpacker.values(ends)
    return unpacker.load("pandas").Interval(left, right, closed=text(closed))


def _unpack_nat(unpacker: Unpacker) -> Any:
    return unpacker.load("pandas").NaT


def _unpack_na(unpacker: Unpacker) -> Any:
    return unpacker.load("pandas").NA


def _pack_period(pd: Any, freq: Any) -> str:
    # The offset's own name may differ from that of its period: ME and M.
    code = pd.PeriodDtype(freq).name[len("period[") : -1]
    try:
        return frequencies.of_period(code, _is_old(pd), reading=False)
    except ValueError as exc:
        raise Unmovable(str(exc)) from exc


def _period_freq(pd: Any, node: Node) -> str:
    return frequencies.of_period(text(node), _is_old(pd), reading=True)


def _pack_zone(packer: Packer, zone: Any) -> Node:
    if type(zone).__module__.partition(".")[0] == "pytz":
        # Its zones of a fixed offset have no name.
        return ["pytz", zone.zone or zone.utcoffset(None) // timedelta(minutes=1)]
    try:
        return packer.node(zone)
    except Unmovable as exc:
        raise Unmovable(f"the time zone {zone} can't be moved; convert it with tz_convert") from exc


def _zone(unpacker: Unpacker, node: Node) -> Any:
    """A time zone of the kind that this pandas knows."""
    if node[0] == "zoneinfo" and _version(unpacker.load("pandas")) < (1, 5):
        return _unpack_pytz(unpacker, node[1])
    return unpacker.value(node)


def _unpack_pytz(unpacker: Unpacker, name: Node) -> Any:
    pytz = unpacker.find("pytz")
    if type(name) is int:
        minutes = timedelta(minutes=name)
        return pytz.FixedOffset(name) if pytz is not None else timezone(minutes)
    return pytz.timezone(zone_key(name)) if pytz is not None else find_zone(unpacker, name)


def _numpy(array: Any) -> Any:
    return sys.modules["numpy"].asarray(array)


def _is_old(pd: Any) -> bool:
    return _version(pd) < (2, 2)


def _version(pd: Any) -> Tuple[int, ...]:
    return tuple(int(part) for part in pd.__version__.split(".")[:2])


_SCALARS: Dict[str, Callable[[Packer, Any], Node]] = {
    "Timestamp": _pack_timestamp,
    "Timedelta": _pack_delta,
    "Period": _pack_one_period,
    "Interval": _pack_interval,
}

UNPACKERS: Dict[str, Callable[..., Any]] = {
    "frame": _unpack_frame,
    "series": _unpack_series,
    "index": _unpack_index,
    "rangeindex": _unpack_rangeindex,
    "multiindex": _unpack_multiindex,
    "pandas array": _unpack_array,
    "category": _unpack_category,
    "zoned": _unpack_zoned,
    "periods": _unpack_periods,
    "intervals": _unpack_intervals,
    "masked": _unpack_masked,
    "text": _unpack_text,
    "timestamp": _unpack_timestamp,
    "pandas timedelta": _unpack_delta,
    "period": _unpack_one_period,
    "interval": _unpack_interval,
    "NaT": _unpack_nat,
    "NA": _unpack_na,
    "pytz": _unpack_pytz,
}
