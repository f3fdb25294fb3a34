"""IPython's shell with a wire instead of a terminal or ZMQ.

What it does in each case follows ipykernel's own shell, which is what people know.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Any, ContextManager, Dict, List, Optional

from IPython.core import page
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.process import system
from traitlets import Any as AnyTrait
from traitlets import CBool, Type, default

from . import Console, trim
from .cellnames import CellCompiler
from .display import WireDisplayHook, WireDisplayPublisher
from .magics import KernelMagics

INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
NO_SCREEN = "a container has no screen; use %matplotlib inline or %matplotlib widget instead"


class KernelFacade:
    """What libraries look for behind ``get_ipython().kernel``."""

    def __init__(self, console: Console, comm_manager: Any) -> None:
        self._console = console
        self.shell: Any = None
        self.comm_manager = comm_manager

    def get_parent(self, channel: Optional[str] = None) -> Dict[str, Any]:
        """The message that the caller's cell came with; ipywidgets' Output asks for its msg_id."""
        return self._console.parent()

    @property
    def _parent_header(self) -> Dict[str, Any]:
        """What ipywidgets 7 asks for."""
        return self.get_parent()


class ZMQInteractiveShell(InteractiveShell):  # type: ignore[misc]
    """IPython's shell for a session."""

    displayhook_class = Type(WireDisplayHook)
    display_pub_class = Type(WireDisplayPublisher)
    compiler_class = Type(CellCompiler)
    # Whichever version of IPython it is, these are there.
    display_pub: Any
    displayhook: Any
    payload_manager: Any
    kernel = AnyTrait()
    console = AnyTrait()
    autoindent = CBool(False)
    state = AnyTrait()
    exit_requested = False
    keepkernel_on_exit: Optional[bool] = None

    @default("exiter")
    def _default_exiter(self) -> ZMQExitAutocall:
        return ZMQExitAutocall(self)

    def init_display_pub(self) -> None:
        """Give the publisher its way out."""
        super().init_display_pub()
        self.display_pub.console = self.console

    def init_displayhook(self) -> None:
        """Give the hook its way out."""
        super().init_displayhook()
        self.displayhook.console = self.console
        self.displayhook.state = self.state

    def init_magics(self) -> None:
        """IPython's, and a kernel's own."""
        super().init_magics()
        self.register_magics(KernelMagics)

    def init_hooks(self) -> None:
        """Page through payloads: a frontend has a pager of its own."""
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self.payloadpage_page), 99)

    def init_environment(self) -> None:
        """Colours in what children print; no pagers, for nobody could press a key."""
        os.environ.update(
            TERM="xterm-color",
            CLICOLOR="1",
            FORCE_COLOR="1",
            CLICOLOR_FORCE="1",
            PAGER="cat",
            GIT_PAGER="cat",
        )
        os.environ.setdefault("MPLBACKEND", INLINE_BACKEND)
        # Some libraries find out by this that they are in a notebook (progressbar2).
        os.environ.setdefault("JPY_PARENT_PID", str(os.getppid()))
        # What runs a "!" line; a container hasn't the login shell that would have set it.
        if os.access("/bin/bash", os.X_OK):
            os.environ.setdefault("SHELL", "/bin/bash")

    def init_virtualenv(self) -> None:
        """The container's Python is the one that was chosen; nothing to look for."""

    def payloadpage_page(
        self, strg: Any, start: int = 0, screen_lines: int = 0, pager_cmd: Any = None
    ) -> None:
        """Show a text in the frontend's pager."""
        data = strg if isinstance(strg, dict) else {"text/plain": strg}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})

    def set_next_input(self, text: str, replace: bool = False) -> None:
        """Put ``text`` into the frontend's next cell (%load)."""
        self.payload_manager.write_payload(
            {"source": "set_next_input", "text": text, "replace": replace}
        )

    def ask_exit(self) -> None:
        """Exit or quit was typed: the session ends after this cell."""
        self.exit_requested = not self.keepkernel_on_exit
        self.payload_manager.write_payload(
            {"source": "ask_exit", "keepkernel": self.keepkernel_on_exit}
        )

    def get_parent(self) -> Dict[str, Any]:
        """The request that the caller's cell came with."""
        parent: Dict[str, Any] = self.kernel.get_parent()
        return parent

    @property
    def parent_header(self) -> Dict[str, Any]:
        """See `get_parent`."""
        return self.get_parent()

    def enable_gui(self, gui: Optional[str] = None) -> None:
        """Only what needs no screen."""
        if gui not in (None, "", "inline", "asyncio"):
            raise UsageError(NO_SCREEN)

    def run_cell(self, *args: Any, **kwargs: Any) -> Any:
        """Run a cell."""
        self.forget_error()
        return super().run_cell(*args, **kwargs)

    def should_run_async(
        self, raw_cell: str, *, transformed_cell: Optional[str] = None, **others: Any
    ) -> bool:
        """Whether the cell awaits. IPython asks twice for each, and compiles it each time; without
        one of two words in it, it doesn't."""
        code = transformed_cell
        if code is not None and "await" not in code and "async" not in code:
            return False
        return bool(super().should_run_async(raw_cell, transformed_cell=transformed_cell, **others))

    def hand_over(self, raw_cell: str, transformed: str) -> None:
        """What `run_cell` would have to transform once more, which is a good part of its time."""
        self.state.transformed = (raw_cell, transformed)

    def transform_cell(self, raw_cell: str) -> str:
        """The cell as Python."""
        given, self.state.transformed = self.state.transformed, None
        known = given is not None and given[0] == raw_cell
        transformed: str = given[1] if known else super().transform_cell(raw_cell)
        return transformed

    def _tee(self, channel: str) -> ContextManager[None]:
        """Nothing: IPython keeps all that is printed for as long as the session lives.

        That is for %notebook alone. It doubles the time of a print, and fails where a sys.stdout of
        the person's own takes no attributes.
        """
        return contextlib.nullcontext()

    def forget_error(self) -> None:
        """A new cell starts."""
        self.state.traceback = []
        self.state.display_failed = self.state.formatting = False

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        etype, value, tb = super()._get_exc_info(exc_tuple)
        return etype, value, trim(tb)

    def _showtraceback(self, etype: type, evalue: BaseException, stb: List[str]) -> None:
        self.console.emit(
            "error", ename=etype.__name__, evalue=text_of(evalue), traceback=list(stb)
        )
        self.state.traceback = list(stb)
        # An error in the repr of a cell's value fails the cell, though its code succeeded.
        self.state.display_failed = self.state.display_failed or self.state.formatting

    def _format_exception_for_storage(
        self, exception: BaseException, *args: Any, **kwargs: Any
    ) -> Dict[str, Any]:
        """What %notebook writes of an error: what was shown. IPython makes it a second time, and
        who has interrupted a cell waits for that."""
        shown = self.state.traceback
        if not shown:
            stored: Dict[str, Any] = super()._format_exception_for_storage(
                exception, *args, **kwargs
            )
            return stored
        return {
            "ename": type(exception).__name__,
            "evalue": text_of(exception),
            "traceback": shown,
        }

    def system_piped(self, cmd: str) -> None:
        """``!cmd``: its output as it comes, its exit code in ``_exit_code``."""
        if cmd.rstrip().endswith("&"):
            raise OSError("Background processes not supported.")
        try:
            code = system(self.var_expand(cmd, depth=1))
        except UnboundLocalError:  # how IPython fails at an interrupt before its child is there
            raise KeyboardInterrupt from None
        self.user_ns["_exit_code"] = code
        if getattr(self, "system_raise_on_error", False) and code:
            raise subprocess.CalledProcessError(code, cmd)

    system = system_piped


def text_of(error: Optional[BaseException]) -> str:
    """str(error), also where the exception's own __str__ raises."""
    try:
        return str(error)
    except Exception as exc:  # noqa: BLE001 - the person's code
        return f"<the exception's text could not be had: {type(exc).__name__}>"
