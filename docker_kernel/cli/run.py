"""``docker-kernel run``: a notebook, a script or code in a container, printed as it goes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker_kernel_server.message import MAX_SECONDS

from ..errors import DockerKernelError, SettingError
from .options import add_settings, given_settings
from .printer import Printer

if TYPE_CHECKING:
    import nbformat


class NotebookFailed(DockerKernelError):
    """A cell raised, or the kernel died."""


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "run",
        help="run a notebook, a script or code in a container and print it as it goes",
        description="Execute a notebook in a container of its own, print the cells with their "
        "outputs as they come, and write the executed notebook. Or run a script, or CODE, with the "
        "container's Python, which reads and prints what this command reads and prints. The "
        "file's folder is the workspace. What ends in .ipynb is a notebook.",
        epilog="Exit code of a notebook: 0 where every cell ran; 1 where a cell raised or the "
        "start failed, and it is written up to there. Of a script or code: its own, 128 + N where "
        "signal N ended it, 124 where its time was over, 125 where it could not be begun. "
        "Example: docker-kernel run --network none --timeout 60 script.py --count 5",
    )
    words = parser.add_argument(
        "words",
        nargs=argparse.PARSER,
        metavar="NOTEBOOK|SCRIPT",
        help="the file; - for code on standard input. What follows a script is for the script.",
    )
    words.required = False  # -c does without
    words.completer = complete_files  # type: ignore[attr-defined]
    parser.add_argument(
        "-c",
        dest="code",
        nargs=argparse.REMAINDER,
        metavar="CODE",
        help="CODE [ARG ...]: run this code; what follows is for the code.",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="after which a script or code is ended. Default: no limit.",
    )
    parser.add_argument(
        "--output",
        default="",
        metavar="PATH",
        help="where the executed notebook goes. Default: NAME.executed.ipynb beside the notebook.",
    )
    add_settings(parser)
    parser.usage = (
        "%(prog)s [-h] [--SETTING VALUE ...] [--output PATH] NOTEBOOK\n"
        "       %(prog)s [-h] [--SETTING VALUE ...] [--timeout SECONDS] SCRIPT|- [ARG ...]\n"
        "       %(prog)s [-h] [--SETTING VALUE ...] [--timeout SECONDS] -c CODE [ARG ...]"
    )
    parser.set_defaults(run=run, verb=parser)


def complete_files(prefix: str, **_: object) -> list[str]:
    """The files and folders that a shell offers."""
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter()(prefix))


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) <= MAX_SECONDS:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")


def run(options: argparse.Namespace) -> int:
    """Run what is named. Returns the exit code."""
    words: list[str] = options.words or []
    if options.code is None and words[:1] == ["--"]:
        del words[0]
    if not (words or options.code):
        options.verb.error("which NOTEBOOK, SCRIPT or -c CODE?")
    if options.code is None and words[0].lower().endswith(".ipynb"):
        return run_notebook(words[0], words[1:], options)
    if options.output:
        options.verb.error("--output is for notebooks")
    from . import program

    options.failure = program.OWN_FAILURE
    if options.code is not None:
        code, *rest = options.code
        given = program.Program("<code>", code, ("-c", *rest, *words))
    elif words[0] == "-":
        given = program.Program("<stdin>", program.code_on_stdin(), tuple(words))
    else:
        given = program.script(Path(words[0]), words[1:])
    return program.run(given, program.settings_for(given, options), options.timeout)


def run_notebook(path: str, rest: list[str], options: argparse.Namespace) -> int:
    """Execute a notebook; options may also follow its name. Returns the exit code."""
    if rest:
        options.words = None
        options.verb.parse_args(rest, options)
        if options.words or options.code:
            options.verb.error("a notebook takes no arguments")
    if options.timeout is not None:
        options.verb.error("--timeout is for scripts and code")
    arguments = given_settings(options)
    source = Path(path)
    notebook = read_notebook(source)
    target = Path(options.output) if options.output else source.with_suffix(".executed.ipynb")
    folder = _check_target(target)
    printer = Printer(sys.stdout)
    try:
        execute(notebook, source.resolve().parent, arguments, printer)
    finally:
        printer.end_line()
        _write(notebook, target, folder)
        print(f"\nThe executed notebook is {target}", flush=True)
    return 0


def execute(
    notebook: nbformat.NotebookNode, folder: Path, arguments: list[str], printer: Printer
) -> None:
    """Execute in place, in ``folder``. Raises NotebookFailed."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    from .live import LiveClient, kernel_manager

    client = LiveClient(
        notebook,
        km=kernel_manager(arguments),
        printer=printer,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(cleanup_kc=True)
    except (CellExecutionError, DeadKernelError, RuntimeError, asyncio.CancelledError) as exc:
        if client.interrupted:
            raise KeyboardInterrupt from exc
        if isinstance(exc, CellExecutionError):
            raise NotebookFailed(
                f"cell {client.where + 1} raised {exc.ename}",
                exc.evalue,
                "what the cell printed says more; mend it, and run the notebook again",
            ) from exc
        raise NotebookFailed(
            "the kernel's process ended",
            str(exc),
            "see what it printed above; `python -m docker_kernel` shows whether it starts",
        ) from exc


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook. Raises SettingError where it isn't there, or isn't one."""
    import nbformat
    from nbformat.reader import NotJSONError
    from nbformat.validator import NotebookValidationError

    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        return notebook
    except OSError as exc:
        why = exc.strerror or str(exc)
    except (NotJSONError, UnicodeDecodeError):
        why = "it is not JSON"
    except (NotebookValidationError, AttributeError, KeyError, TypeError, ValueError) as exc:
        why = f"it is JSON, but not a notebook ({str(exc).splitlines()[0]})"
    raise SettingError(f"the notebook {path} can't be read", why, "name a file that Jupyter wrote")


def _check_target(target: Path) -> Path:
    """Before an hour of work and not after it: can the result be written? Gives its folder."""
    if not target.parent.is_dir():
        raise SettingError(
            f"the notebook can't be written to {target}",
            f"there is no folder {target.parent}",
            "make the folder, or choose another --output",
        )
    return target.parent.resolve()


def _write(notebook: Any, target: Path, folder: Path) -> None:
    """Write a fresh file and put it into its place: a cell may have left a link there, which would
    lead to another file of this machine."""
    import nbformat

    text = nbformat.writes(notebook) + "\n"  # type: ignore[no-untyped-call]
    try:
        if target.parent.resolve() != folder:
            raise OSError(f"the folder {target.parent} has been replaced meanwhile")  # noqa: TRY301
        with tempfile.TemporaryDirectory(dir=folder, prefix=".docker-kernel-") as fresh:
            file = Path(fresh, target.name)
            # Readable by nobody else as long as it stands there; its own mode is the usual one.
            file.write_text(text, encoding="utf-8")
            file.replace(folder / target.name)
    except OSError as exc:
        raise SettingError(
            f"the notebook can't be written to {target}",
            exc.strerror or str(exc),
            "choose another --output",
        ) from exc
