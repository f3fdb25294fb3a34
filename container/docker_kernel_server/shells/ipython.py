"""All of IPython, with a wire instead of ZMQ.

The shell's class is called ZMQInteractiveShell and its config has an IPKernelApp, because that is
how rich, pandas, plotly and tqdm find out that they are in a notebook. What it does in each case
follows ipykernel's own shell, which is what people know.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pdb
import subprocess
import sys
import threading
from typing import Any, ContextManager, Dict, List, Optional

import IPython
from IPython.core import debugger, page
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.process import system
from IPython.utils.tokenutil import token_at_cursor
from traitlets import Any as AnyTrait
from traitlets import CBool, Type, default

from ..messages import CommInfo, Complete, Execute, History, Inspect, IsComplete, Request
from . import Console, Reply, Shell, trim
from .comms import Comms

INLINE_BACKEND = "module://matplotlib_inline.backend_inline"
NO_SCREEN = "a container has no screen; use %matplotlib inline or %matplotlib widget instead"


class CellState(threading.local):
    """What is known of the cell that runs; a subshell's thread has its own."""

    formatting = False
    """Whether an error now is of the value's repr, and not of the cell's code."""
    display_failed = False
    traceback: List[str] = []  # noqa: RUF012 - replaced, never changed
    value: Dict[str, Any] = {}  # noqa: RUF012


class WireDisplayPublisher(DisplayPublisher):  # type: ignore[misc]
    """display() and its updates, as events."""

    console: Console

    def publish(
        self,
        data: Dict[str, Any],
        metadata: Optional[Dict[str, Any]] = None,
        *,
        transient: Optional[Dict[str, Any]] = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        """Send a MIME bundle."""
        self._validate_data(data, metadata)
        self.console.emit(
            "update_display" if update else "display",
            data=data,
            metadata=metadata or {},
            transient=transient or {},
        )

    def clear_output(self, wait: bool = False) -> None:
        """Clear the cell's output."""
        self.console.emit("clear_output", wait=wait)


class WireDisplayHook(DisplayHook):  # type: ignore[misc]
    """The value of a cell's last expression, as an event."""

    console: Console
    state: CellState

    def start_displayhook(self) -> None:
        """The value's repr comes next."""
        self.state.formatting = True
        self.state.value = {"data": {}, "metadata": {}}

    def write_output_prompt(self) -> None:
        """Note the number of the prompt, which moves on before the end."""
        self.state.value["execution_count"] = self.prompt_count

    def write_format_data(
        self, format_dict: Dict[str, Any], md_dict: Optional[Dict[str, Any]] = None
    ) -> None:
        """Note the MIME bundle."""
        self.state.value["data"] = format_dict
        self.state.value["metadata"] = md_dict or {}

    def finish_displayhook(self) -> None:
        """Send it."""
        if self.state.value["data"]:
            self.console.emit("result", **self.state.value)
        self.state.formatting = False


class KernelFacade:
    """What libraries look for behind ``get_ipython().kernel``."""

    def __init__(self, console: Console, comms: Comms) -> None:
        self._console = console
        self.shell: Any = None
        self.comm_manager = comms.manager

    def get_parent(self, channel: Optional[str] = None) -> Dict[str, Any]:
        """The request that the caller's cell came with; ipywidgets' Output asks for its msg_id."""
        header = self._console.parent()
        return {"header": header, "msg_id": header.get("msg_id", ""), "parent_header": {}}


class ZMQInteractiveShell(InteractiveShell):  # type: ignore[misc]
    """IPython's shell for a session."""

    displayhook_class = Type(WireDisplayHook)
    display_pub_class = Type(WireDisplayPublisher)
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

    def enable_gui(self, gui: Optional[str] = None) -> None:
        """Only what needs no screen."""
        if gui not in (None, "", "inline", "asyncio"):
            raise UsageError(NO_SCREEN)

    def run_cell(self, *args: Any, **kwargs: Any) -> Any:
        """Run a cell."""
        self.forget_error()
        return super().run_cell(*args, **kwargs)

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
            "error", ename=etype.__name__, evalue=_text_of(evalue), traceback=list(stb)
        )
        self.state.traceback = list(stb)
        # An error in the repr of a cell's value fails the cell, though its code succeeded.
        self.state.display_failed = self.state.display_failed or self.state.formatting

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


class IPythonShell(Shell):
    """A session's IPython."""

    name = "ipython"
    no_stdin_error = StdinNotImplementedError

    def __init__(self, console: Console) -> None:
        self._console = console
        self._comms = Comms(console)
        facade = KernelFacade(console, self._comms)
        self.shell: Any = ZMQInteractiveShell.instance(
            kernel=facade, console=console, state=CellState()
        )
        facade.shell = self.shell
        self.shell.config.IPKernelApp.connection_file = ""
        self._takes_cell_id = "cell_id" in inspect.signature(InteractiveShell.run_cell).parameters
        # pdb that Ctrl-C can leave; an ordinary one would lock the session up.
        for module in (debugger, pdb):
            setattr(module, "Pdb", debugger.InterruptiblePdb)  # noqa: B010 - mypy has no word for it
        pdb.set_trace = debugger.set_trace

    @property
    def exit_requested(self) -> bool:  # type: ignore[override]
        """Whether exit or quit was typed."""
        return bool(self.shell.exit_requested)

    def info(self) -> Dict[str, Any]:
        return {
            "shell": self.name,
            "ipython": IPython.__version__,
            "banner": self.shell.banner,
            "execution_count": self.shell.execution_count,
        }

    async def execute(self, request: Execute) -> Reply:
        shell = self.shell
        result = await self._run(request)
        error = result.error_before_exec or result.error_in_exec
        if result.success and not shell.state.display_failed:
            reply: Reply = {"status": "ok"}
            reply["user_expressions"] = shell.user_expressions(request.user_expressions)
        else:
            reply = self._error_reply(error)
        return self._finish(reply)

    def abandoned(self, exc: BaseException) -> Reply:
        self.shell.showtraceback((type(exc), exc, exc.__traceback__))
        return self._finish(self._error_reply(exc))

    async def _run(self, request: Execute) -> Any:
        shell = self.shell
        options: Dict[str, Any] = {
            "store_history": request.store_history,
            "silent": request.silent,
        }
        if self._takes_cell_id:
            options["cell_id"] = request.cell_id
        problem = None
        try:
            transformed = shell.transform_cell(request.code)
        except Exception:  # noqa: BLE001 - IPython shows it as the cell's error
            transformed, problem = request.code, sys.exc_info()
        if not shell.should_run_async(
            request.code, transformed_cell=transformed, preprocessing_exc_tuple=problem
        ):
            return shell.run_cell(request.code, **options)
        shell.forget_error()
        result = None
        # The worker cancels the task that runs this coroutine where the cell is interrupted while
        # it waits; IPython shows the CancelledError as the cell's error.
        try:
            result = await shell.run_cell_async(
                request.code,
                transformed_cell=transformed,
                preprocessing_exc_tuple=problem,
                **options,
            )
        finally:
            shell.events.trigger("post_execute")
            if not request.silent:
                shell.events.trigger("post_run_cell", result)
        return result

    def _error_reply(self, error: Optional[BaseException]) -> Reply:
        return {
            "status": "error",
            "ename": type(error).__name__,
            "evalue": _text_of(error),
            "traceback": self.shell.state.traceback,
            "user_expressions": {},
        }

    def _finish(self, reply: Reply) -> Reply:
        reply["execution_count"] = self.shell.execution_count - 1
        reply["payload"] = self.shell.payload_manager.read_payload()
        self.shell.payload_manager.clear_payload()
        return reply

    def complete(self, request: Complete) -> Reply:
        with provisionalcompleter():
            raw = self.shell.Completer.completions(request.code, request.cursor_pos)
            found = list(rectify_completions(request.code, raw))
        start = found[0].start if found else request.cursor_pos
        end = found[0].end if found else request.cursor_pos
        types = [
            {
                "start": c.start,
                "end": c.end,
                "text": c.text,
                "type": c.type,
                "signature": c.signature,
            }
            for c in found
        ]
        return {
            "status": "ok",
            "matches": [c.text for c in found],
            "cursor_start": start,
            "cursor_end": end,
            "metadata": {"_jupyter_types_experimental": types},
        }

    def inspect(self, request: Inspect) -> Reply:
        reply: Reply = {"status": "ok", "found": False, "data": {}, "metadata": {}}
        options: Dict[str, Any] = {"detail_level": request.detail_level}
        if IPython.version_info[0] >= 8:
            options["omit_sections"] = request.omit_sections
        try:
            name = token_at_cursor(request.code, request.cursor_pos)
            reply["data"] = dict(self.shell.object_inspect_mime(name, **options))
        except KeyError:
            return reply
        if not self.shell.enable_html_pager:
            reply["data"].pop("text/html", None)
        reply["found"] = True
        return reply

    def is_complete(self, request: IsComplete) -> Reply:
        status, indent = self.shell.input_transformer_manager.check_complete(request.code)
        reply: Reply = {"status": status}
        if status == "incomplete":
            reply["indent"] = " " * (indent or 0)
        return reply

    def history(self, request: History) -> Reply:
        access = request.access
        manager = self.shell.history_manager
        raw, output = access.get("raw", True), access.get("output", False)
        kind = access.get("hist_access_type")
        if kind == "tail":
            rows = manager.get_tail(access.get("n"), raw=raw, output=output, include_latest=True)
        elif kind == "range":
            rows = manager.get_range(
                access.get("session", 0),
                access.get("start", 0),
                access.get("stop"),
                raw=raw,
                output=output,
            )
        elif kind == "search":
            rows = manager.search(
                access.get("pattern"),
                raw=raw,
                output=output,
                n=access.get("n"),
                unique=access.get("unique", False),
            )
        else:
            rows = []
        return {"status": "ok", "history": list(rows)}

    def comm_info(self, request: CommInfo) -> Reply:
        return self._comms.info(request.target_name)

    def comm(self, request: Request, buffers: Optional[List[bytes]]) -> None:
        self._comms.handle(request, buffers)


def _text_of(error: Optional[BaseException]) -> str:
    """str(error), also where the exception's own __str__ raises."""
    try:
        return str(error)
    except Exception as exc:  # noqa: BLE001 - the person's code
        return f"<the exception's text could not be had: {type(exc).__name__}>"
