"""The kernel: Jupyter requests in, Jupyter messages out; the code runs in the sandbox.

Nothing that a cell contains is evaluated in this process. A sandbox that can't be had is an error
of the cell that asked; the kernel lives, and the next cell tries again.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from traitlets import default

from docker_kernel_server import __version__
from docker_kernel_server import messages as wire
from docker_kernel_server.message import MAX_ID_CHARS

from . import info, outputs, replies
from .errors import DockerKernelError
from .launcher import in_thread
from .manage.lines import lines_of
from .managed import Interrupted, ManagedKernel
from .router import Asker
from .subshells import Content, subshell_of
from .usage import Meter

if TYPE_CHECKING:
    from .client import Client

STOP_SECONDS = 4.0
"""How long a shutdown waits for the container's removal; Jupyter kills us after five."""


class DockerKernel(ManagedKernel):
    """A Python kernel whose code runs in a Docker container."""

    implementation = info.IMPLEMENTATION
    implementation_version = __version__

    @default("_execute_sleep")
    def _no_sleep(self) -> float:
        # The base class sleeps so that a cell's output comes before its reply; we wait for it.
        return 0.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._count = 1
        self._counted: Content = {}
        """What the session said of itself when its count was last taken over."""
        self._told: set[str] = set()
        self._waiting: set[asyncio.Future[Client]] = set()
        self._meter = Meter()

    @property
    def kernel_info(self) -> Content:
        """The content of kernel_info_reply; answered at once, whatever the sandbox does."""
        return info.kernel_info(self._launcher.look())

    async def kernel_info_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """Say what this kernel is. Frontends wait for that first, and so may the start."""
        await super().kernel_info_request(stream, ident, parent)  # type: ignore[no-untyped-call]
        self._launcher.serve()

    @property
    def execution_count(self) -> int:
        """The number of the next cell; the session counts, and each reply tells."""
        return self._count

    @execution_count.setter
    def execution_count(self, value: int) -> None:
        # The base class counts too, and knows nothing of cells that aren't stored in the history.
        pass

    def init_metadata(self, parent: Content) -> Content:
        """The metadata of an execute_reply, as ipykernel has it."""
        metadata: Content = super().init_metadata(parent)  # type: ignore[no-untyped-call]
        return {**metadata, "dependencies_met": True, "engine": self.ident}

    def finish_metadata(
        self, parent: Content, metadata: Content, reply_content: Content
    ) -> Content:
        """See `init_metadata`."""
        return {**metadata, "status": reply_content["status"]}

    # -- running cells

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Content | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: str | None = None,
    ) -> Content:
        """Run a cell in the session; the content of its execute_reply."""
        asker = self._asker()
        options = {
            # Some clients send 0 and 1, or null.
            "silent": bool(silent),
            "store_history": bool(store_history),
            "user_expressions": user_expressions or {},
            "allow_stdin": bool(allow_stdin),
            "cell_id": cell_id,
            "metadata": cell_meta or {},
        }
        content = await self._run_cell(code, asker, options)
        # The reply goes by another channel than what the cell has shown, and must not overtake it.
        self._iopub.settle()
        return content

    async def _run_cell(self, code: str, asker: Asker, options: Content) -> Content:
        header, silent = asker.parent["header"], options["silent"]
        try:
            if (lines := lines_of(code)) is not None:
                content = await self._manage(lines, asker, silent, options["allow_stdin"])
                return {**content, "execution_count": self._count}
            client = await self._client(asker.parent, silent)
            if not silent:  # nobody would see them, and they are told only once
                self._tell_notes(asker.parent)
            request = wire.Execute(
                str(header.get("msg_id") or client.new_id())[:MAX_ID_CHARS],
                self._session_name,
                code,
                parent=outputs.plain_header(header),
                subshell=subshell_of(asker.parent),
                **options,
            )
            final = await self._call(client, request, asker)
        except asyncio.CancelledError:
            words = "interrupted while the sandbox was starting; the start goes on"
            error = outputs.error("KeyboardInterrupt", words, [f"KeyboardInterrupt: {words}"])
            return self._fail(error, asker.parent, silent)
        except Interrupted as exc:
            error = outputs.error("KeyboardInterrupt", str(exc), [f"KeyboardInterrupt: {exc}"])
            return self._fail(error, asker.parent, silent)
        except Exception as exc:
            # Whatever went wrong, a cell gets an answer: a frontend would wait for it for ever.
            if not isinstance(exc, DockerKernelError):
                self.log.exception("a cell could not be run")
            return self._fail(outputs.error_of_exception(exc), asker.parent, silent)
        return self._reply(final, asker.parent, silent)

    async def _client(self, parent: Content, silent: bool) -> Client:
        """The client, at once or when the sandbox has started; ``parent`` shows progress."""
        session = self._launcher.session
        ready = session.ready if session else None
        if ready is not None:
            return ready
        shown: list[str] = []
        progress = None
        if not silent:
            showing = self._show_progress(parent, shown, lambda: self._launcher.progress)
            progress = asyncio.ensure_future(showing)
        waiting = asyncio.wrap_future(self._launcher.open())
        self._waiting.add(waiting)
        try:
            client = await waiting
        finally:
            self._waiting.discard(waiting)
            if progress is not None:
                progress.cancel()
        if shown:  # it has no place in a notebook that is kept
            self._iopub.publish(outputs.Output("clear_output", {"wait": False}), parent)
        self._count_from_session()
        return client

    def _count_from_session(self) -> None:
        session = self._launcher.session
        if session is not None and session.info is not self._counted:
            self._counted = session.info
            self._count = int(session.info.get("execution_count") or 1)

    def _tell_notes(self, parent: Content) -> None:
        """Say once what the person must know of this sandbox and this session."""
        session = self._launcher.session
        if session is None:
            return
        news = [text for text in session.sandbox.notices if text not in self._told]
        self._told.update(news)
        for text in news + session.take_notes():
            self._iopub.publish(outputs.stream("stderr", text.rstrip("\n") + "\n"), parent)

    def _reply(self, final: wire.Final, parent: Content, silent: bool) -> Content:
        lost = outputs.error_of_final(final)
        if lost is None:
            content = replies.reply_to(wire.Execute, final)
            if "execution_count" in content:
                self._count = content["execution_count"] + 1
                return content
            lost = outputs.MALFORMED
        failed = self._fail(lost, parent, silent)
        session = self._launcher.session
        if final.reason == "died" and session is not None:
            # The next cell opens the session anew, which counts from one.
            session.forget()
            session.take_notes()
            self._count = 1
        return failed

    def _fail(self, error: outputs.Output, parent: Content, silent: bool) -> Content:
        if not silent:
            self._iopub.publish(error, parent)
        return outputs.reply_of_error(error, self._count)

    # -- interrupting and ending

    def interrupt_soon(self) -> None:
        """Interrupt the cell, or a cell's wait for the sandbox. Any thread may call it."""
        self._interrupt_works()
        session = self._launcher.session
        client = session.ready if session else None
        away = session.sandbox.away if session else None
        if client is not None:
            client.request(wire.Interrupt(client.new_id(), self._session_name))
            return
        if away is not None:
            away.give_up("you interrupted the wait for it; the code goes on")
        self.io_loop.add_callback(self._stop_waiting)

    def _stop_waiting(self) -> None:
        for waiting in self._waiting:
            waiting.cancel()

    async def interrupt_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """Handle an interrupt request."""
        content: Content = {"status": "ok"}
        try:
            self.interrupt_soon()
        except DockerKernelError as exc:
            content = {"status": "error", **outputs.error_of_exception(exc).content}
        self._jupyter.send(stream, "interrupt_reply", content, parent, ident=ident)

    async def usage_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """What the container uses; answered while a cell runs, and not waiting for a start."""
        content = await self._meter.read(self._launcher.session)
        self._jupyter.send(stream, "usage_reply", content, parent, ident)

    async def do_debug_request(self, msg: Content) -> Content:
        """The answer of the debug adapter protocol to what can't be done."""
        return {
            "type": "response",
            "request_seq": msg.get("seq", 0),
            "command": msg.get("command", ""),
            "success": False,
            "message": "this kernel has no debugger; use %debug, %pdb or breakpoint() in a cell",
        }

    def pre_handler_hook(self) -> None:
        """SIGINT keeps the application's handler: no code of a person's runs in this process."""

    def post_handler_hook(self) -> None:
        """See `pre_handler_hook`."""

    async def do_shutdown(self, restart: bool) -> Content:
        """Remove the container, or leave it to the process that comes after."""
        ended: Future[None] = in_thread(lambda: self._launcher.stop(restart), "stop")
        _, late = await asyncio.wait([asyncio.wrap_future(ended)], timeout=STOP_SECONDS)
        if late:
            self.log.warning("the sandbox did not end in %s s; its lease ends it", STOP_SECONDS)
        return {"status": "ok", "restart": restart}

    def close(self) -> None:
        """End the sandbox, if it isn't yet, and the kernel's own threads."""
        self._launcher.stop()
        self._router.close()
        self._iopub.close()
