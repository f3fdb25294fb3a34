"""The file names of cells in tracebacks and warnings, in ipykernel's form."""

from __future__ import annotations

import functools
import os
import tempfile
import types
import zlib
from typing import Any, Set

from IPython.core import ultratb
from IPython.core.compilerop import CachingCompiler

_COUNT = "get_line_number_of_frame"


class CellCompiler(CachingCompiler):  # type: ignore[misc]
    """Calls a cell ``/tmp/ipykernel_PID/NUMBER.py``: libraries know a cell by such a name."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = os.path.join(tempfile.gettempdir(), f"ipykernel_{os.getpid()}")
        self._names: Set[str] = set()
        _spare_cells_the_fast_path(self._names)

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        """The name of a cell with this code."""
        digest = zlib.crc32(raw_code.encode("utf-8", "surrogatepass"))
        name = os.path.join(self._folder, f"{digest}.py")
        self._names.add(name)
        return name


def _spare_cells_the_fast_path(names: Set[str]) -> None:
    """Have tracebacks show cells in full.

    IPython 9 looks how long a file is, and takes a cell, whose file isn't there, for too long to be
    looked at closely: then a line in a ``try`` is shown wrongly, and deep recursion in full length.
    """
    count = getattr(ultratb, _COUNT, None)
    if count is None:
        return

    @functools.wraps(count)
    def count_lines(frame: types.FrameType) -> Any:
        return 0 if frame.f_code.co_filename in names else count(frame)

    setattr(ultratb, _COUNT, count_lines)
