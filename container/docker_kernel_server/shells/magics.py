"""The magics that a kernel has besides IPython's own, as people know them from ipykernel."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Optional

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class
from IPython.core.magics import CodeMagics, MacroToEdit
from IPython.display import Javascript, display
from IPython.utils import openpy

from . import SUBSHELL_THREAD

ON_THE_HOST = (
    "the kernel's connection file is on the machine that the notebook server runs on, and the "
    "container does not know it. In a terminal there, type: jupyter {} --existing"
)


@magics_class
class KernelMagics(Magics):
    """Pagers and editors are the frontend's, and so is the way to the kernel."""

    shell: Any

    @line_magic
    def edit(self, line: str) -> None:
        """Open a file, or the source of an object, in the frontend's editor, where it has one.

        ``%edit NAME``, ``%edit FILE``, ``%edit -n LINE FILE``. The file is not run afterwards.
        """
        options, target = self.parse_options(line, "prn:")
        try:
            name, number, _ = CodeMagics._find_edit_target(  # noqa: SLF001 - %edit is made of it
                self.shell, target, options, ["", ""]
            )
        except MacroToEdit:
            raise UsageError("a macro can't be edited here; %macro -q makes a new one") from None
        if name is not None:
            payload = {"source": "edit_magic", "filename": os.path.abspath(name)}
            self.shell.payload_manager.write_payload({**payload, "line_number": number})

    ed = line_magic("ed")(edit)

    @line_magic
    def less(self, line: str) -> None:
        """Show a file in the frontend's pager; Python in colours."""
        if not line:
            raise UsageError("Missing filename.")
        if line.endswith(".py"):
            text = self.shell.pycolorize(openpy.read_py_file(line, skip_encoding_cookie=False))
        else:
            with open(line, encoding="utf-8", errors="replace") as file:
                text = file.read()
        page.page(text)

    more = line_magic("more")(less)

    @line_magic
    def man(self, line: str) -> None:
        """Show a manual page in the frontend's pager."""
        page.page(self.shell.getoutput(f"man {line} | col -b", split=False))

    @line_magic
    def clear(self, line: str) -> None:
        """Clear the terminal, where the frontend is one."""
        sys.stdout.write("\x1b[H\x1b[2J")

    @line_magic
    def autosave(self, line: str) -> None:
        """Let the classic notebook save itself every so many seconds; 0 is never."""
        try:
            seconds = int(line)
        except ValueError:
            raise UsageError(f"%autosave requires an integer, got {line!r}") from None
        script = f"IPython.notebook.set_autosave_interval({1000 * seconds})"
        display(Javascript(script), include=["application/javascript"])
        text = f"Autosaving every {seconds} seconds" if seconds else "Autosave disabled"
        sys.stdout.write(text + "\n")

    @line_magic
    def connect_info(self, line: str) -> None:
        """Say how to connect another frontend to this kernel."""
        raise UsageError(ON_THE_HOST.format("console"))

    @line_magic
    def qtconsole(self, line: str) -> None:
        """Say how to connect a qtconsole to this kernel."""
        raise UsageError(ON_THE_HOST.format("qtconsole"))

    @line_cell_magic
    def docker(self, line: str, cell: Optional[str] = None) -> None:
        """Manage the container: %docker? in a cell of its own shows what there is."""
        if cell is not None:
            raise UsageError(
                "%%docker is for notebooks whose cells run on your own machine; those of this one "
                "run in a container already: leave out the first line"
            )
        raise UsageError(
            "%docker was not done: the kernel does it, outside the container, and only where it "
            "stands alone; put it into a cell with nothing but %docker lines and comments"
        )

    @line_magic
    def subshell(self, line: str) -> None:
        """Say which subshell this is, and which there are; each is known from its first cell on."""
        here, prefix = threading.current_thread(), SUBSHELL_THREAD
        names = {
            t.name[len(prefix) :]: t for t in threading.enumerate() if t.name.startswith(prefix)
        }
        current = [name for name, thread in names.items() if thread is here]
        sys.stdout.write(
            f"subshell id: {current[0] if current else None}\n"
            f"thread id: {here.ident}\n"
            f"main thread id: {threading.main_thread().ident}\n"
            f"pid: {os.getpid()}\n"
            f"thread count: {threading.active_count()}\n"
            f"subshell list: {list(names)}\n"
        )
