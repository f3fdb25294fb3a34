"""``docker-kernel run``: execute a notebook headless, and print it as it goes."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        help="execute a notebook in a container and print it as it goes",
        description="Execute a notebook in a container, print the cells with their outputs as they "
        "come, and write the executed notebook.",
        epilog="Exit code 0: every cell ran. 1: a cell raised or the start failed; the notebook is "
        "written up to there.",
    )
    parser.add_argument("notebook", metavar="NOTEBOOK", help="the notebook's file.")
    parser.add_argument(
        "--output",
        default="",
        metavar="PATH",
        help="where the executed notebook goes. Default: NAME.executed.ipynb beside the notebook.",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Execute the notebook. Returns the exit code."""
    arguments = given_settings(options)
    source = Path(options.notebook)
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
