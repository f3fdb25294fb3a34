"""Which IPython the sessions get: the image's own, the lent one, or none.

What the image has wins, so the lent packages stand last on sys.path. Where that mixture doesn't
work (the image has a pygments that is too old for the lent IPython, say), the zygote starts again
with the lent packages first, imports IPython, and then takes the lent modules of every package
that the image has too out of sys.modules: IPython keeps what it has bound, and the person's own
``import`` gets the image's. Where the lent IPython is too new for this Python and the image has
none, the plain shell serves.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import Callable, Dict, Iterator, List, Tuple

OLDEST_IPYTHON = 7
"""The first major version with run_cell_async, which the shell is built on."""

IMAGE_FIRST, LENT_FIRST, PLAIN = "image-first", "lent-first", "plain"

# What each session needs at once: imported here, it costs none of them anything, and a set of
# packages that doesn't fit shows before a session is there.
_NEEDED = (
    "IPython.core.interactiveshell",
    "IPython.core.completer",
    "IPython.core.debugger",
    "IPython.core.payloadpage",
    "IPython.core.ultratb",
    "IPython.display",
    "IPython.lib.pretty",
    "docker_kernel_server.shells.ipython",
)
# The same where it is there: each session does without.
_WELCOME = (
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "docker_kernel_server.shells.comms",
    "sqlite3",
)
# What a session needs in a while. The first one doesn't wait for it.
# Not matplotlib_inline: it brings numpy and matplotlib, which start threads, look at what a session
# sets up (MPLBACKEND, OMP_NUM_THREADS), and are what people upgrade.
_LATER = (
    "jedi",
    "pygments.formatters",
    "pygments.lexers",
)

_FOR_ERRORS = (
    "asttokens",
    "executing",
    "stack_data",
    "pygments.formatters.terminal256",
    "pygments.lexers.python",
)

# IPython and what shares its state by module: two copies of these would not know each other.
KEPT = {"IPython", "traitlets", "comm", "docker_kernel_server"}


@dataclass(frozen=True)
class Choice:
    """What the zygote settled on; ``note`` is for the person, "" where there is nothing to say."""

    ipython: bool
    note: str = ""
    lent: str = ""
    """The folder of the lent packages where they serve."""
    later: Tuple[str, ...] = ()
    """What `import_rest` is to import."""


class StartAgain(Exception):
    """The packages that were imported don't fit; a fresh process is to try ``way``."""

    def __init__(self, way: str, note: str = "") -> None:
        super().__init__(way)
        self.way = way
        self.note = note


def prepare(lent: str, way: str = IMAGE_FIRST, note: str = "") -> Choice:
    """Set up sys.path and import IPython, or raise `StartAgain`.

    ``lent`` is the folder of the lent packages ("" for none).
    """
    if lent and not os.path.isdir(lent):
        lent = ""
    misfit = _misfit(lent)
    if way == PLAIN or (misfit and not _image_has("IPython")):
        return Choice(False, note or misfit)
    usable = bool(lent) and not misfit
    if usable:
        sys.path.insert(0 if way == LENT_FIRST else len(sys.path), lent)
    try:
        _import_needed()
    except Exception as exc:
        if usable and way == IMAGE_FIRST:
            raise StartAgain(LENT_FIRST) from exc
        raise StartAgain(
            PLAIN,
            f"IPython can't be used here ({type(exc).__name__}: {exc}), so the plain shell serves. "
            "Type: %pip install --upgrade ipython, then restart the kernel.",
        ) from exc
    for name in _WELCOME:
        _import_if_there(name)
    later: Tuple[str, ...] = _LATER
    if way == LENT_FIRST:
        # Now or never: behind this, the same names are the image's own packages.
        later = ()
        for name in _LATER:
            _import_if_there(name)
        sys.path.remove(lent)
        _give_back(lent)
        sys.path.append(lent)
    return Choice(True, lent=lent if usable else "", later=later)


def import_rest(choice: Choice) -> Iterator[None]:
    """Have what sessions need in a while, a step at a time."""
    if choice.later:
        yield from prepare_errors()
    for name in choice.later:
        _import_if_there(name)
        yield
    if choice.lent:
        _take_over_look_ups(choice.lent)


def prepare_errors() -> Iterator[None]:
    """Have what formatting an error needs, a step at a time; nothing where that was done before the
    fork.

    It imports and sets up what reads Python, which is seven eighths of the time that a session's
    first error would take, or its first interrupt.
    """
    global _prepared
    if _prepared:
        return
    imports = [functools.partial(_import_if_there, name) for name in _FOR_ERRORS]
    steps: List[Callable[[], None]] = [*imports, _make_lexer, _format_an_error]
    for step in steps:
        # Whoever needs it sees what is wrong with it.
        with contextlib.suppress(Exception), _without_work_folder():
            step()
        yield
    _prepared = True


_prepared = False


def _make_lexer() -> None:
    from pygments.lexers.python import PythonLexer  # type: ignore[import-untyped]

    PythonLexer()


def _format_an_error() -> None:
    from IPython.core.ultratb import VerboseTB

    try:
        int("no number")
    except ValueError:
        VerboseTB().structured_traceback(*sys.exc_info())


@contextlib.contextmanager
def _without_work_folder() -> Iterator[None]:
    """Nobody has asked for a file of the person's, which may have the name of what is imported."""
    place = sys.path.index("") if "" in sys.path else None
    if place is not None:
        del sys.path[place]
    try:
        yield
    finally:
        if place is not None:
            sys.path.insert(place, "")


def _take_over_look_ups(lent: str) -> None:
    """Let jedi know what it found out when ``lent`` was filled: the first Tab is seconds faster."""
    known = os.path.join(lent, ".jedi")
    # Something else may have that name.
    settings = getattr(sys.modules.get("jedi"), "settings", None)
    home = getattr(settings, "cache_directory", "")
    if not home or os.path.exists(home) or not os.path.isdir(known):
        return
    made = f"{home}.{os.getpid()}"
    try:
        # New files, as jedi removes those that nobody has read for long.
        shutil.copytree(known, made, copy_function=shutil.copyfile)
        os.rename(made, home)  # whole or not at all: others may share this home
    except OSError:
        shutil.rmtree(made, ignore_errors=True)


def _misfit(lent: str) -> str:
    """Why the lent packages can't serve this Python; "" where they can."""
    version = "{}.{}".format(*sys.version_info[:2])
    remedy = "Type: %pip install ipython, then restart the kernel, to get all of IPython."
    if not lent:
        return f"This server was started without IPython, and Python {version} has none. {remedy}"
    try:
        with open(os.path.join(lent, "..", "lib.json"), encoding="utf-8") as file:
            wanted = json.load(file)["requires_python"]
    except (OSError, ValueError, KeyError):
        return ""
    if _fits(wanted):
        return ""
    return (
        f"The image's Python {version} is too old for the IPython that is lent to it (Python "
        f"{wanted}): you have state, values, tracebacks and completion, but no magics. {remedy}"
    )


def _fits(wanted: str) -> bool:
    """Whether this Python is at least the one of a specifier such as ">=3.11"."""
    for part in wanted.split(","):
        part = part.strip()
        if part.startswith(">="):
            least = tuple(int(number) for number in part[2:].strip().split(".")[:2])
            if sys.version_info[:2] < least:
                return False
    return True


def _image_has(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _import_needed() -> None:
    import IPython

    if IPython.version_info[0] < OLDEST_IPYTHON:
        raise ImportError(f"IPython {IPython.__version__} is too old")
    for name in _NEEDED:
        importlib.import_module(name)


def _import_if_there(name: str) -> None:
    # Whoever needs one that is broken says so himself.
    with contextlib.suppress(Exception):
        importlib.import_module(name)


def _give_back(lent: str) -> None:
    """Take the lent modules of the image's own packages out of sys.modules."""
    shadowed: Dict[str, bool] = {}
    for name in _lent_modules(lent):
        top = name.split(".")[0]
        if top not in shadowed:
            shadowed[top] = top not in KEPT and _is_on_path(top)
        if shadowed[top]:
            del sys.modules[name]


def _lent_modules(lent: str) -> Iterator[str]:
    root = os.path.join(os.path.realpath(lent), "")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and os.path.realpath(file).startswith(root):
            yield name


def _is_on_path(top: str) -> bool:
    """Whether ``top`` can be found on sys.path, whatever is imported under that name."""
    return PathFinder.find_spec(top) is not None
