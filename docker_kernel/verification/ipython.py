"""A cell as Python, line for line, and what IPython's magics do with their text."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager

MAX_TRANSFORMS = 500
"""So many magics and shell escapes may one cell have, as in IPython."""

_SPECIAL = re.compile(r"[%!?]|^\s*[,;/]", re.MULTILINE)
"""Without one of these, a cell has nothing of IPython's own."""

LINE_BREAK = re.compile(r"\r\n|\r|\n")
"""What Python counts as the end of a line; str.splitlines knows more."""


@dataclass(frozen=True)
class CellMagic:
    """``%%name line`` and what is below it; ``first`` is the number of the body's first line."""

    name: str
    line: str
    body: str
    first: int


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HARMLESS = _words(
    "cd colors connect_info dhist env hist history html HTML javascript js latex lsmagic magic "
    "markdown matplotlib pdef pdoc pfile pinfo pinfo2 precision psearch psource pwd quickref reset "
    "reset_selective set_env svg SVG tb unload_ext who who_ls whos writefile xdel xmode"
)
"""Magics that run nothing of their text."""

EXTENSIONS = frozenset(["load_ext", "reload_ext"])
"""Magics that import the module that they name."""

OF_CODE = {
    "time": "",
    "timeit": r"-[nr]\s*\d+|-p\s*\d+|-[tcqov]+",
    "prun": r"-[lsTD]\s*\S+|-[rq]+",
    "capture": r".*",
    "config": "",
}
"""Magics whose text is Python, and what of their line are options."""

NOT_FILLED_IN = frozenset(["time", "timeit", "prun"])
"""Magics in whose line IPython leaves {braces} alone."""

_ELSEWHERE = _words(
    "alias alias_magic autocall bookmark cat conda cp debug ed edit less ll ls macro mamba man "
    "micromamba mkdir more mv notebook pdb pip popd pushd pycat pylab recall rehashx rep rerun rm "
    "rmdir run sc script store sx system uv"
)
"""Further magics that IPython sees without their % in a cell of one line."""


def is_magic(name: str, *, whole_cell: bool) -> bool:
    """Whether this magic is one whose text can be checked, or needs no check."""
    return name in HARMLESS or name in OF_CODE or (not whole_cell and name in EXTENSIONS)


def is_automatic(word: str) -> bool:
    """Whether IPython takes a single line that begins with this word for a magic."""
    return word in _ELSEWHERE or is_magic(word, whole_cell=False)


def code_of(name: str, line: str) -> str:
    """The Python in the line of a magic of `OF_CODE`."""
    options = OF_CODE[name]
    if options:
        line = re.sub(rf"\A(\s*(?:{options})(?=\s|\Z))+", "", line)
    line = line.strip()
    if name == "config":  # "Name.trait = value" is run as it stands, a name alone is shown
        return f"cfg.{line}" if "=" in line else ""
    return line


def without_blanks(cell: str) -> tuple[str, int]:
    """The cell from its first line that isn't blank, and how many lines were before that."""
    lines = cell.splitlines(keepends=True)
    count = 0
    while count < len(lines) and lines[count].isspace():
        count += 1
    return "".join(lines[count:]), _breaks("".join(lines[:count]))


def cell_magic(cell: str) -> CellMagic | None:
    """The magic that has the whole cell, else None."""
    manager = TransformerManager()
    text, blank = without_blanks(cell if cell.endswith("\n") else f"{cell}\n")
    lines = text.splitlines(keepends=True)
    for transform in manager.cleanup_transforms:
        lines = transform(lines)
    if not lines or not lines[0].startswith("%%") or re.match(r"%%\w+\?", lines[0]):
        return None
    name, _, line = lines[0][2:].rstrip().partition(" ")
    return CellMagic(name, line, "".join(lines[1:]), blank + 2)


def plain(cell: str) -> str:
    """The cell as Python. Each line keeps its number; what IPython has of its own is a call there.

    Raises SyntaxError, RuntimeError where there is too much of it.
    """
    manager = TransformerManager()
    text, blank = without_blanks(cell if cell.endswith("\n") else f"{cell}\n")
    lines = text.splitlines(keepends=True)
    for transform in manager.cleanup_transforms:
        lines = transform(lines)
    if not _SPECIAL.search("".join(lines)):  # IPython's reader takes its time
        return "\n" * blank + "".join(lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes: the container says so again
        for _ in range(MAX_TRANSFORMS):
            changed, after = manager.do_one_token_transform(lines)
            if not changed:
                return "\n" * blank + "".join(lines)
            lines = _aligned(lines, after)
    raise RuntimeError(f"it has more than {MAX_TRANSFORMS} magics")


def _aligned(before: list[str], after: list[str]) -> list[str]:
    """The lines after one step, with blank ones for those that it made one of."""
    missing = _breaks("".join(before)) - _breaks("".join(after))
    if missing <= 0:
        return after
    same = 0
    while same < len(after) and after[same] == before[same]:
        same += 1
    return [*after[: same + 1], *(["\n"] * missing), *after[same + 1 :]]


def _breaks(text: str) -> int:
    return len(LINE_BREAK.findall(text))
