"""Any Python value as something that JSON has, as Jupyter's own kernels send it."""

from __future__ import annotations

import base64
import math
import numbers
from datetime import date
from typing import Any


def jsonable(value: Any) -> Any:
    """A copy with JSON's types only.

    Bytes become base64, NaN and infinities their repr, dates ISO 8601. ValueError for what has no
    such form, and for a dict whose keys would collide.
    """
    if value is None or isinstance(value, (bool, int, str)):
        # A subclass (an enum, a numpy string) is sent as its plain value.
        return value if type(value) in _PLAIN else _plain(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else repr(number)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        out = {str(key): jsonable(item) for key, item in value.items()}
        if len(out) != len(value):
            raise ValueError("a dict has keys that are the same as strings, such as 1 and '1'")
        return out
    if isinstance(value, date):
        return value.isoformat()
    try:
        return [jsonable(item) for item in value]
    except TypeError:
        raise ValueError(f"{type(value).__name__} can't be sent as JSON") from None


_PLAIN = (type(None), bool, int, str)


def _plain(value: Any) -> Any:
    return str.__str__(value) if isinstance(value, str) else int(value)
