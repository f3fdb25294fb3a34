"""numpy's values. numpy itself is there where a value is its own, and is never imported here."""

from __future__ import annotations

import re
import sys
from typing import Any, Callable, Dict, List, Tuple

from .tree import Node, Packer, Unmovable, Unpacker, text, whole

MAX_EMPTY_ITEMS = 1_000_000
"""How many items an array may have whose items have no bytes: nothing else bounds them."""

MAX_ITEM_BYTES = 2**30
"""How large one item may be. Some versions of numpy count it in an int, and don't look twice."""

MAX_CODE_POINT = 0x10FFFF

_SIMPLE = re.compile(
    r"[<>|][biufcSUV](\d{1,10})|[<>][mM]8(\[\d{0,9}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_ORDERS = ("C", "F")
# Wider ones are longdoubles.
_WIDEST = {"f": 8, "c": 16}


def pack(packer: Packer, value: Any) -> Node:
    """The node of an array or a scalar."""
    np = sys.modules["numpy"]
    kind = type(value)
    if kind is np.ndarray:
        return pack_array(packer, value)
    if kind in (np.str_, np.bytes_):
        # As an array's item it would lose the NULs at its end, as in its own str().
        plain = str.__str__(value) if kind is np.str_ else bytes(value)
        return [f"numpy {type(plain).__name__}", packer.node(plain)]
    if isinstance(value, np.generic) and value.dtype.type is kind:
        data = value.tobytes() if value.dtype.names is None else _bytes_of(np.asarray(value), "C")
        return ["numpy scalar", _pack_dtype(value.dtype), packer.buffer(data)]
    raise Unmovable(packer.reason(value))


def pack_array(packer: Packer, array: Any) -> Node:
    """The node of an array."""
    flags = array.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    shape = list(array.shape)
    if array.dtype.kind == "O":
        items = packer.nodes(array, array.ravel(order="C").tolist(), _label(array.shape))
        return ["objects", shape, order, items]
    if array.dtype.kind == "T":
        return _pack_strings(packer, array, shape, order)
    dtype = _pack_dtype(array.dtype)
    return ["array", dtype, shape, order, packer.buffer(_bytes_of(array, order))]


def _bytes_of(array: Any, order: str) -> Any:
    np = sys.modules["numpy"]
    if array.dtype.names is not None:
        # Between the fields there may be what was in this process's memory before.
        bare = np.zeros(array.shape, array.dtype, order)
        _copy_fields(array, bare)
        array = bare
    flat = array.T if order == "F" else np.ascontiguousarray(array)
    if not flat.nbytes:
        return b""
    # Without a copy; a byte at a time, for there are dtypes that memoryview doesn't know.
    return memoryview(flat.reshape(-1).view(np.uint8))


def _copy_fields(array: Any, bare: Any) -> None:
    """Copy the fields and nothing else: copying whole items takes along what is between them."""
    for name in array.dtype.names:
        source, target = array[name], bare[name]
        if source.dtype.names is None:
            target[...] = source
        else:
            _copy_fields(source, target)


def _label(shape: Tuple[int, ...]) -> Callable[[int], str]:
    def label(index: int) -> str:
        place: List[int] = []
        for size in reversed(shape):
            place.append(index % size)
            index //= size
        return f"[{', '.join(map(str, reversed(place)))}]"

    return label


def _unpack_array(unpacker: Unpacker, dtype: Node, shape: Node, order: Node, index: Node) -> Any:
    np = unpacker.load("numpy")
    data = unpacker.buffer(index)
    kind = _unpack_dtype(np, dtype)
    size, count = _size(shape)
    if kind.subdtype is not None or order not in _ORDERS or len(data) != count * kind.itemsize:
        raise ValueError("an array doesn't fit its bytes")
    if not len(data):
        if count > MAX_EMPTY_ITEMS:
            raise ValueError("an array of nothing is too long")
        return np.empty(size, kind, order)
    array = np.frombuffer(data, kind, count).reshape(size, order=order)
    _check(np, array)
    return array.copy(order)


def _unpack_objects(unpacker: Unpacker, shape: Node, order: Node, nodes: Node) -> Any:
    np = unpacker.load("numpy")
    size, count = _size(shape)
    if order not in _ORDERS or len(nodes) != count:
        raise ValueError("an array doesn't fit its items")
    items = np.empty(count, object)
    for number, item in enumerate(unpacker.values(nodes)):
        items[number] = item
    return np.array(items.reshape(size), order=order, copy=True)


def _size(shape: Node) -> Tuple[Tuple[int, ...], int]:
    """A shape, and how many items it has."""
    size = tuple(whole(length) for length in shape)
    count = 1
    for length in size:
        if length < 0:
            raise ValueError("a shape is none")
        count *= length
    return size, count


def _check(np: Any, array: Any) -> None:
    """Refuse bytes that are no value of their dtype, which numpy would take as they are."""
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _check(np, array[name])
    elif array.dtype.kind in "bU" and array.size and array.dtype.itemsize:
        width, most = (1, 1) if array.dtype.kind == "b" else (4, MAX_CODE_POINT)
        codes = np.ascontiguousarray(array).reshape(-1).view(f"{array.dtype.str[0]}u{width}")
        if codes.max() > most:
            raise ValueError("an array has bytes that are no values")


# ---- numpy's strings of any length (numpy 2) ---------------------------------------------------


def _pack_strings(packer: Packer, array: Any, shape: List[int], order: str) -> Node:
    dtype = array.dtype
    missing = [packer.node(dtype.na_object)] if hasattr(dtype, "na_object") else []
    items = packer.nodes(array, array.ravel(order="C").tolist(), _label(array.shape))
    return ["strings", shape, order, items, bool(dtype.coerce), *missing]


def _unpack_strings(
    unpacker: Unpacker, shape: Node, order: Node, nodes: Node, coerce: Node, *missing: Node
) -> Any:
    np = unpacker.load("numpy")
    if not hasattr(getattr(np, "dtypes", None), "StringDType"):
        raise ValueError("strings of any length need numpy 2; type: pip install 'numpy>=2'")
    options = {"na_object": unpacker.value(*missing)} if missing else {}
    kind = np.dtypes.StringDType(coerce=bool(coerce), **options)
    return _unpack_objects(unpacker, shape, order, nodes).astype(kind, order=order)


# ---- scalars and dtypes ------------------------------------------------------------------------


def _unpack_scalar(unpacker: Unpacker, dtype: Node, index: Node) -> Any:
    return _unpack_array(unpacker, dtype, [1], "C", index)[0]


def _unpack_str(unpacker: Unpacker, node: Node) -> Any:
    return unpacker.load("numpy").str_(text(unpacker.value(node)))


def _unpack_bytes(unpacker: Unpacker, node: Node) -> Any:
    value = unpacker.value(node)
    if type(value) is not bytes:
        raise ValueError("bytes are none")
    return unpacker.load("numpy").bytes_(value)


def _pack_dtype(dtype: Any) -> Node:
    np = sys.modules["numpy"]
    if dtype.names is not None:
        return _pack_fields(np, dtype)
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["sub", _pack_dtype(base), list(shape)]
    code = str(dtype.str)
    if not _is_simple(code) or np.dtype(code) != dtype:
        raise Unmovable(f"arrays of dtype {dtype} can't be moved")
    if dtype.itemsize > _WIDEST.get(dtype.kind, dtype.itemsize):
        # Its name tells how wide it is, and not which bits it has.
        return ["long", code, int(np.finfo(dtype).nmant)]
    return code


def _pack_fields(np: Any, dtype: Any) -> Node:
    if dtype.type is not np.void:
        raise Unmovable("arrays of records can't be moved; convert it with numpy.asarray first")
    rows = []
    for name in dtype.names:
        field, offset, *title = dtype.fields[name]
        if not all(isinstance(item, str) for item in title):
            raise Unmovable(f"arrays of dtype {dtype} can't be moved")
        rows.append([name, _pack_dtype(field), offset, *title])
    return ["fields", rows, dtype.itemsize, dtype.isalignedstruct]


def _unpack_dtype(np: Any, node: Node) -> Any:
    if isinstance(node, str):
        if not _is_simple(node):
            raise ValueError("a dtype is none")
        return np.dtype(node)
    tag, *rest = node
    if tag == "sub":
        base = _unpack_dtype(np, rest[0])
        size, count = _size(rest[1])
        if base.itemsize * count > MAX_ITEM_BYTES:
            raise ValueError("a dtype is too large")
        return np.dtype((base, size))
    if tag == "long":
        code, bits = rest
        return _unpack_long(np, text(code), whole(bits))
    if tag != "fields":
        raise ValueError("a dtype is none")
    return _unpack_fields(np, *rest)


def _unpack_fields(np: Any, rows: Node, itemsize: Node, aligned: Node) -> Any:
    formats = [_unpack_dtype(np, row[1]) for row in rows]
    offsets = [whole(row[2]) for row in rows]
    size = whole(itemsize)
    ends = [offset + field.itemsize for offset, field in zip(offsets, formats)]
    if size > MAX_ITEM_BYTES or min(offsets, default=0) < 0 or max(ends, default=0) > size:
        raise ValueError("a dtype has fields outside of it, or is too large")
    # Fields on one another would make a small blob large.
    if sum(field.itemsize for field in formats) > size:
        raise ValueError("a dtype has fields that overlap")
    names = [text(row[0]) for row in rows]
    titles = [text(row[3]) if len(row) > 3 else None for row in rows]
    return np.dtype(
        {
            "names": names,
            "formats": formats,
            "offsets": offsets,
            "titles": titles,
            "itemsize": size,
        },
        align=bool(aligned),
    )


def _is_simple(code: str) -> bool:
    """Whether this is the dtype of a number, a time, text or bytes, of a size that can be."""
    match = _SIMPLE.fullmatch(code)
    if match is None:
        return False
    width = 4 if code[1] == "U" else 1
    return int(match.group(1) or 0) * width <= MAX_ITEM_BYTES


def _unpack_long(np: Any, code: str, bits: int) -> Any:
    here = [np.dtype(np.longdouble), np.dtype(np.clongdouble)]
    codes = {
        kind.newbyteorder(order).str: kind.newbyteorder(order) for kind in here for order in "<>"
    }
    if code not in codes or int(np.finfo(np.longdouble).nmant) != bits:
        raise ValueError("longdouble is another type on this machine; convert it to float64 first")
    return codes[code]


UNPACKERS: Dict[str, Callable[..., Any]] = {
    "array": _unpack_array,
    "objects": _unpack_objects,
    "strings": _unpack_strings,
    "numpy scalar": _unpack_scalar,
    "numpy str": _unpack_str,
    "numpy bytes": _unpack_bytes,
}
