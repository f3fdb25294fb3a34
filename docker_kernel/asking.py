"""The requests that ask the session something: completion, history, widgets' messages.

What a sandbox that can't be had answers here is an error's content, without a new start: a frontend
asks at every key that is pressed, and only a cell tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from jupyter_client.session import Session as JupyterSession

from docker_kernel_server import messages as wire

from . import outputs, replies
from .errors import ConnectionLost, DockerKernelError
from .iopub import IOPub
from .launcher import Launcher
from .router import Asker, Router
from .subshells import Content, SubshellKernel, subshell_of

if TYPE_CHECKING:
    from .client import Client


class SessionKernel(SubshellKernel):
    """A kernel with a session behind it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._jupyter: JupyterSession = kwargs["session"]
        self._launcher: Launcher = kwargs["parent"].launcher
        self._iopub = IOPub(self._jupyter, self.iopub_thread, self.ident)
        self._router = Router(self._iopub, self._jupyter, self.stdin_socket)
        self._launcher.on_event = self._on_event
        self._launcher.on_notice = self._router.tell
        for kind in ("comm_open", "comm_msg", "comm_close"):
            self.shell_handlers[kind] = getattr(self, kind)

    # -- what a cell's frontends are told first

    def _publish_status(self, status: str, channel: str, parent: Content | None = None) -> None:
        """Tell frontends that the kernel is busy or idle."""
        about = parent or self.get_parent(channel)  # type: ignore[no-untyped-call]
        if status == "busy" and about.get("header", {}).get("msg_type") == "execute_request":
            self._announce(outputs.Output("status", {"execution_state": status}), about)
        else:
            self._iopub.send_announced()
            super()._publish_status(status, channel, about)  # type: ignore[no-untyped-call]

    def _publish_execute_input(self, code: str, parent: Content, execution_count: int) -> None:
        """Show all frontends what runs."""
        content = {"code": code, "execution_count": execution_count}
        self._announce(outputs.Output("execute_input", content), parent)

    def _announce(self, output: outputs.Output, parent: Content) -> None:
        """Send it in the next turn of the loop: by then the cell is on its way to the container,
        which works while we send."""
        self._iopub.announce(output, parent)
        asyncio.get_running_loop().call_soon(self._iopub.send_announced)

    async def _call(self, client: Client, request: wire.Request, asker: Asker) -> wire.Final:
        """Send a request, publish its events, wait for its end."""
        self._router.expect(request.id, asker)
        call = client.request(request, self._on_event)
        # In the thread that reads, so that what a quick cell has printed doesn't wait for ours; nor
        # does the thread that sends it wait for Python's lock, which ours would have.
        call.future.add_done_callback(lambda _: self._iopub.settle())
        try:
            return await asyncio.wrap_future(call.future)
        finally:
            self._router.end(request.id)
            # What comes after (the reply, idle) must not overtake text that is held back.
            self._iopub.flush()

    def _on_event(self, event: wire.Event) -> None:
        session = self._launcher.session
        if session is not None:
            self._router.take(event, session)

    async def _query(self, kind: type[wire.SessionRequest], **keys: Any) -> Content:
        """Ask the session. Joins a start that goes on, and doesn't begin one."""
        try:
            session = self._launcher.session
            client = session.ready if session else None
            if client is None:
                client = await asyncio.wrap_future(self._launcher.opening)
            asker = self._asker()
            keys["subshell"] = subshell_of(asker.parent)
            request = kind(client.new_id(), self._session_name, **keys)
            final = await self._call(client, request, asker)
        except Exception as exc:
            # Whatever went wrong, a request gets an answer.
            if not isinstance(exc, DockerKernelError):
                self.log.exception("%s could not be asked", kind.TYPE)
            return {"status": "error", **outputs.error_of_exception(exc).content}
        return replies.reply_to(kind, final)

    async def do_complete(self, code: str, cursor_pos: int | None) -> Content:
        """Completions, from the live objects of the session."""
        cursor_pos = len(code) if cursor_pos is None else cursor_pos
        return await self._query(wire.Complete, code=code, cursor_pos=cursor_pos)

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> Content:
        """What the object at the cursor is."""
        return await self._query(
            wire.Inspect,
            code=code,
            cursor_pos=cursor_pos,
            detail_level=detail_level,
            omit_sections=sorted(omit_sections),
        )

    async def do_is_complete(self, code: str) -> Content:
        """Whether a console should run this or ask for more."""
        reply = await self._query(wire.IsComplete, code=code)
        return {"status": "unknown"} if reply.get("status") == "error" else reply

    async def history_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """Former input; the session reads the request's content itself."""
        content = await self._query(wire.History, access=parent["content"])
        self._jupyter.send(stream, "history_reply", content, parent, ident)

    def close_subshell(self, subshell_id: str) -> None:
        """End a subshell's thread in the session."""
        session = self._launcher.session
        client = session.ready if session else None
        if client is not None:
            with contextlib.suppress(ConnectionLost):  # the threads have ended with it
                request = wire.CloseSubshell(client.new_id(), self._session_name, subshell_id)
                client.request(request)

    # -- comms (widgets)

    async def comm_info_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """The open comms; before there is a session there are none, and nobody has to wait."""
        session = self._launcher.session
        content: Content = {"status": "ok", "comms": {}}
        if session is not None and session.ready is not None:
            target = parent["content"].get("target_name")
            content = await self._query(wire.CommInfo, target_name=target)
        self._jupyter.send(stream, "comm_info_reply", content, parent, ident)

    async def comm_open(self, stream: Any, ident: Any, msg: Content) -> None:
        """A frontend opens a comm."""
        await self._comm(wire.CommOpenRequest, msg, target_name=msg["content"]["target_name"])

    async def comm_msg(self, stream: Any, ident: Any, msg: Content) -> None:
        """A frontend's message on a comm."""
        await self._comm(wire.CommMsgRequest, msg)

    async def comm_close(self, stream: Any, ident: Any, msg: Content) -> None:
        """A frontend closes a comm."""
        await self._comm(wire.CommCloseRequest, msg)

    async def _comm(self, kind: type[wire.SessionRequest], msg: Content, **keys: Any) -> None:
        content = msg["content"]
        await self._query(
            kind,
            comm_id=content["comm_id"],
            data=content.get("data", {}),
            metadata=msg.get("metadata") or {},
            buffers=wire.pack_buffers([bytes(buffer) for buffer in msg.get("buffers", [])]),
            parent=outputs.plain_header(msg["header"]),
            **keys,
        )

    def _asker(self) -> Asker:
        """Who asks: the shell request that is handled just now."""
        parent: Content = self.get_parent("shell")  # type: ignore[no-untyped-call]
        return Asker(parent, self._get_shell_context_var(self._shell_parent_ident))

    @property
    def _session_name(self) -> str:
        session = self._launcher.session
        return session.name if session else ""
