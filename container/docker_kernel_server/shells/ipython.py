"""All of IPython, with a wire instead of ZMQ: what a frontend asks, and the replies."""

from __future__ import annotations

import inspect
import pdb
import sys
from typing import Any, Dict, List, Optional

import IPython
from IPython.core import debugger
from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell, _asyncio_runner
from IPython.utils.tokenutil import token_at_cursor

from ..messages import CommInfo, Complete, Execute, History, Inspect, IsComplete, Request
from ..output import OutStream
from . import Console, Reply, Shell, lookalikes
from .application import IPKernelApp
from .display import CellState
from .interactive import KernelFacade, ZMQInteractiveShell, text_of


def _make_comms(console: Console) -> Any:
    # Here and not above: the package may have been installed since the zygote's start.
    try:
        from .comms import Comms

        return Comms(console)
    except ImportError:
        from .nocomms import NoComms

        return NoComms()


class IPythonShell(Shell):
    """A session's IPython."""

    name = "ipython"
    no_stdin_error = StdinNotImplementedError

    def __init__(self, console: Console) -> None:
        self._comms = _make_comms(console)
        kernel = KernelFacade(console, self._comms.manager)
        lookalikes.install(
            {
                "zmqshell": {"ZMQInteractiveShell": ZMQInteractiveShell},
                "iostream": {"OutStream": OutStream},
                "comm": {"Comm": self._comms.comm_class, "CommManager": type(self._comms.manager)},
                "kernelapp": {"IPKernelApp": IPKernelApp},
                "ipkernel": {"IPythonKernel": KernelFacade},
            }
        )
        app = IPKernelApp.instance()
        app.read()
        self.shell: Any = ZMQInteractiveShell.instance(
            parent=app,
            profile_dir=app.profile_dir,
            kernel=kernel,
            console=console,
            state=CellState(),
        )
        kernel.shell = self.shell
        self._takes_cell_id = "cell_id" in inspect.signature(InteractiveShell.run_cell).parameters
        # pdb that Ctrl-C can leave; an ordinary one would lock the session up.
        for module in (debugger, pdb):
            setattr(module, "Pdb", debugger.InterruptiblePdb)  # noqa: B010 - mypy has no word for it
        pdb.set_trace = debugger.set_trace
        app.begin(self.shell, kernel)

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

    def variables(self) -> Dict[str, Any]:
        return dict(self.shell.user_ns)

    def set_variables(self, values: Dict[str, Any]) -> None:
        self.shell.push(values)

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
        # With another runner (%autoawait trio) IPython runs the cell in a loop of that one.
        if shell.loop_runner is not _asyncio_runner or not shell.should_run_async(
            request.code, transformed_cell=transformed, preprocessing_exc_tuple=problem
        ):
            if problem is None:
                shell.hand_over(request.code, transformed)
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
            "evalue": text_of(error),
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
            session = access.get("session", 0)
            start, stop = access.get("start", 0), access.get("stop")
            rows = manager.get_range(session, start, stop, raw=raw, output=output)
            if session > 0:
                # IPython calls the present session 0, also where it was asked for by its number.
                rows = [(session, *row[1:]) for row in rows]
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
        reply: Reply = self._comms.info(request.target_name)
        return reply

    def comm(self, request: Request, buffers: Optional[List[bytes]]) -> None:
        self._comms.handle(request, buffers)
