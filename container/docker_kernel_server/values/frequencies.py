"""The names of pandas' frequencies, which pandas 2.2 has changed, and which of them can be moved.

In a blob they have the new names.
"""

from __future__ import annotations

import re
from typing import Dict

_TICKS = {"h": "H", "min": "T", "s": "S", "ms": "L", "us": "U", "ns": "N"}

# New name -> old name.
_PERIODS = {name: name for name in "QMWD"}
_PERIODS.update(_TICKS, Y="A")

_OFFSETS = {name: name for name in ("D", "B", "W", "MS", "QS", "BMS", "BQS", "SMS", "WOM")}
_OFFSETS.update(_TICKS, ME="M", QE="Q", YE="A", BME="BM", BQE="BQ", BYE="BA", SME="SM")
_OFFSETS.update(YS="AS", BYS="BAS")

_CODE = re.compile(r"(-?\d{0,18})([A-Za-z]{1,3})(-[A-Z0-9]{1,4})?")


def of_period(code: str, old: bool, reading: bool) -> str:
    """A period's frequency, from its name here to that of a blob, or back where ``reading``.

    ``old``: before pandas 2.2. ValueError for one that can't be moved.
    """
    return _translate(_PERIODS, code, old, reading)


def of_offset(code: str, old: bool, reading: bool) -> str:
    """The frequency of an index, as in `of_period`."""
    return _translate(_OFFSETS, code, old, reading)


def _translate(table: Dict[str, str], code: str, old: bool, reading: bool) -> str:
    match = _CODE.fullmatch(code)
    if match:
        count, name, anchor = match.groups("")
        names = table if reading else {ours if old else new: new for new, ours in table.items()}
        if name in names:
            return f"{count}{names[name] if old or not reading else name}{anchor}"
    raise ValueError(f"the frequency {code!r} can't be moved")
