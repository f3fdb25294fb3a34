"""Whether a value has come back as it was: its type, its bits, its order, and so inside of it."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd


def check_alike(one: Any, other: Any) -> None:
    """AssertionError where they differ in anything that can be seen."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, float):
        assert struct.pack(">d", one) == struct.pack(">d", other)
    elif isinstance(one, complex):
        check_alike([one.real, one.imag], [other.real, other.imag])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for item, its_other in zip(one, other, strict=True):
            check_alike(item, its_other)
    elif isinstance(one, dict):
        check_alike(list(one.items()), list(other.items()))
    elif isinstance(one, (set, frozenset)):
        check_alike(sorted(one, key=form), sorted(other, key=form))
    elif isinstance(one, slice):
        check_alike([one.start, one.stop, one.step], [other.start, other.stop, other.step])
    elif isinstance(one, (np.ndarray, np.generic)):
        check_arrays_alike(one, other)
    elif type(one).__module__.startswith("pandas"):
        check_pandas_alike(one, other)
    else:
        # Times differ by what isn't compared too: fold, the name of the zone. A Decimal that is NaN
        # differs from itself.
        assert repr(one) == repr(other)
        assert isinstance(one, Decimal) or one == other


def form(value: Any) -> str:
    """A text of a set's element; the repr of a set has no order of its own."""
    if isinstance(value, frozenset):
        return f"frozenset{sorted(map(form, value))}"
    if isinstance(value, tuple):
        return f"tuple{[form(item) for item in value]}"
    return f"{type(value).__name__} {value!r}"


def check_arrays_alike(one: Any, other: Any) -> None:
    assert one.dtype == other.dtype
    assert one.dtype.isalignedstruct == other.dtype.isalignedstruct
    if isinstance(one, np.ndarray):
        assert one.shape == other.shape
        assert other.flags.writeable
        fortran = one.flags.f_contiguous and not one.flags.c_contiguous
        assert fortran == (other.flags.f_contiguous and not other.flags.c_contiguous)
    check_items_alike(np.asarray(one), np.asarray(other))


def check_items_alike(one: Any, other: Any) -> None:
    if one.dtype.names is not None:
        for name in one.dtype.names:  # and not what lies between them
            check_items_alike(one[name], other[name])
    elif one.dtype.kind in "OT":
        check_alike(one.ravel().tolist(), other.ravel().tolist())
    elif one.dtype.type in (np.longdouble, np.clongdouble):
        np.testing.assert_array_equal(one, other)  # a longdouble has bytes that nobody sets
    else:
        assert one.tobytes() == other.tobytes()


def check_pandas_alike(one: Any, other: Any) -> None:
    if isinstance(one, pd.DataFrame):
        check_alike(one.attrs, other.attrs)
        check_alike(one.columns, other.columns)
        check_alike(one.index, other.index)
        for number in range(one.shape[1]):
            check_alike(one.iloc[:, number].array, other.iloc[:, number].array)
    elif isinstance(one, pd.Series):
        check_alike([one.name, one.attrs], [other.name, other.attrs])
        check_alike([one.index, one.array], [other.index, other.array])
    elif isinstance(one, pd.Index):
        assert one.dtype == other.dtype
        check_alike(list(one.names), list(other.names))
        assert getattr(one, "freq", None) == getattr(other, "freq", None)
        pd.testing.assert_index_equal(one, other, exact=True)
    elif isinstance(one, pd.api.extensions.ExtensionArray):
        assert repr(one.dtype) == repr(other.dtype)
        if one.dtype == object:
            check_alike(list(one), list(other))
        else:
            pd.testing.assert_extension_array_equal(one, other)
    elif one is pd.NaT or one is pd.NA:
        assert one is other
    else:
        assert (repr(one), one, getattr(one, "unit", "")) == (
            repr(other),
            other,
            getattr(other, "unit", ""),
        )
