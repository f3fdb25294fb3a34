"""Verification of code: is all that a cell names allowed? Asked before the cell is sent.

It is advice and no fence: whoever writes code against it gets through (docs/security.md has how).
The container is the fence. It keeps well-meant code, a beginner's or a model's, from what it should
leave alone, and says so with the line.

``allowed_modules``: what may be imported. ``blocked_functions``: what may not be named, be it to
call it or to call it something else. Where one of the two is there, ways that lead out of Python
(a shell, most magics) are refused as well.
"""

from __future__ import annotations

from .cells import check_cell, check_python
from .rules import NOTHING_KNOWN, Names, Rules
from .shell import check_command

__all__ = ["NOTHING_KNOWN", "Names", "Rules", "check_cell", "check_command", "check_python"]
