"""Subshells: requests that are answered while the main shell runs a cell.

ipykernel gives each subshell a thread. Here a request only waits for the sandbox, where the thread
is; so on this side a subshell is a lock in the same event loop, and the main shell pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import uuid
from typing import Any

import zmq
from ipykernel.kernelbase import Kernel
from jupyter_client.session import Session as JupyterSession

COMM_KINDS = (b'"comm_open"', b'"comm_msg"', b'"comm_close"')
LOOK_KINDS = (b'"complete_request"', b'"inspect_request"')
LOOKS = "looks"
"""The session's subshell for Tab and Shift+Tab in a notebook whose main shell runs a cell."""

_chosen: contextvars.ContextVar[str] = contextvars.ContextVar("subshell", default="")
"""A subshell of the session that was chosen here, and not by the frontend."""

Content = dict[str, Any]
Frames = list[zmq.Frame]


class Subshell:
    """One subshell: its requests run one after another."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.aborting = False


class SubshellKernel(Kernel):
    """A kernel with subshells. `close_subshell` is told of each that ends."""

    _jupyter: JupyterSession

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._subshells: dict[str, Subshell] = {}
        self._cells = 0
        """How many cells run or wait in the main shell."""

    def close_subshell(self, subshell_id: str) -> None:
        """A subshell has ended."""
        raise NotImplementedError

    # -- requests on the control channel

    async def create_subshell_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """Make a subshell; its thread starts with its first request."""
        subshell_id = str(uuid.uuid4())
        self._subshells[subshell_id] = Subshell()
        content = {"status": "ok", "subshell_id": subshell_id}
        self._jupyter.send(stream, "create_subshell_reply", content, parent, ident)

    async def delete_subshell_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """End a subshell, after what it was asked before."""
        subshell_id = parent["content"].get("subshell_id")
        content: Content = {"status": "ok"}
        if self._subshells.pop(subshell_id, None) is None:
            content = _unknown(subshell_id)
        else:
            self.close_subshell(subshell_id)
        self._jupyter.send(stream, "delete_subshell_reply", content, parent, ident)

    async def list_subshell_request(self, stream: Any, ident: Any, parent: Content) -> None:
        """Name the subshells."""
        content = {"status": "ok", "subshell_id": list(self._subshells)}
        self._jupyter.send(stream, "list_subshell_reply", content, parent, ident)

    # -- requests on the shell channel

    async def shell_main(self, subshell_id: str | None, msg: Frames) -> None:
        """Handle a message of the shell channel, in the main shell or in a subshell."""
        _, frames = self._jupyter.feed_identities(msg, copy=False)
        header = frames[1].bytes  # type: ignore[union-attr]
        subshell_id = self._subshell_of(header)
        main = subshell_id is None
        # What a cell waits for may come by a comm. (ipykernel lets it through only since 7.4.)
        comm = main and any(kind in header for kind in COMM_KINDS)
        # Notebooks name no subshell in these, and who types while a cell runs would wait for it.
        look = main and self._cells > 0 and any(kind in header for kind in LOOK_KINDS)
        if main and not look and not (comm and self._main_asyncio_lock.locked()):
            cell = b'"execute_request"' in header
            self._cells += cell
            try:
                await super().shell_main(None, msg)
            finally:
                self._cells -= cell
            return
        # In a context of its own: what a cell of the main shell awaits mustn't see our parent.
        context = contextvars.copy_context()
        context.run(_chosen.set, LOOKS if look else "")
        await context.run(asyncio.ensure_future, self._aside(subshell_id, msg))

    def _subshell_of(self, header: bytes) -> str | None:
        # Every message comes through here, and hardly any has this: a look costs less than parsing.
        if b"subshell_id" not in header:
            return None
        found = self._jupyter.unpack(header).get("subshell_id")
        return None if found is None else str(found)

    async def _aside(self, subshell_id: str | None, msg: Frames) -> None:
        """Handle a message while the main shell may be busy: a subshell's, or a comm's."""
        idents, frames = self._jupyter.feed_identities(msg, copy=False)
        try:
            request = self._jupyter.deserialize(frames, content=True, copy=False)
        except Exception:
            self.log.exception("a message for a subshell can't be read")
            return
        subshell = self._subshells.get(subshell_id) if subshell_id is not None else None
        if subshell is None and subshell_id is not None:
            self._refuse(idents, request, _unknown(subshell_id))
            return
        running = self.get_parent("shell")  # type: ignore[no-untyped-call]
        async with subshell.turn if subshell else contextlib.nullcontext():
            self.set_parent(idents, request, channel="shell")  # type: ignore[no-untyped-call]
            self._publish_status("busy", "shell")  # type: ignore[no-untyped-call]
            await self._handle(subshell, idents, request)
            # A widget sends no second change before the first one's idle.
            self._publish_status("idle", "shell")  # type: ignore[no-untyped-call]
        if subshell is None and self._main_asyncio_lock.locked():
            # What a frontend shows is the last that was said, and the cell goes on.
            self._publish_status("busy", "shell", running)  # type: ignore[no-untyped-call]

    def _refuse(self, idents: Any, request: Content, content: Content) -> None:
        """Answer a request that no handler gets. (ipykernel has this only since 7.4.)"""
        kind = request["header"]["msg_type"]
        self._publish_status("busy", "shell", parent=request)  # type: ignore[no-untyped-call]
        if kind.endswith("_request"):
            answer = kind.removesuffix("_request") + "_reply"
            metadata = self.finish_metadata(request, self.init_metadata(request), content)  # type: ignore[no-untyped-call]
            self._jupyter.send(
                self.shell_stream, answer, content, request, idents, metadata=metadata
            )
        self._publish_status("idle", "shell", parent=request)  # type: ignore[no-untyped-call]

    async def _handle(self, subshell: Subshell | None, idents: Any, request: Content) -> None:
        kind = request["header"]["msg_type"]
        handler = self.shell_handlers.get(kind)
        if kind == "execute_request" and subshell is not None and subshell.aborting:
            self._send_abort_reply(self.shell_stream, request, idents)  # type: ignore[no-untyped-call]
        elif handler is None:
            self.log.warning("Unknown message type: %r", kind)
        else:
            try:
                await handler(self.shell_stream, idents, request)
            except Exception:
                self.log.exception("Exception in message handler:")

    # -- aborting what is queued after an error

    def _abort_queues(self, subshell_id: str | None = None) -> None:
        """After an error: answer what is queued with "aborted".

        The base class stops aborting one turn of the loop later. What waits for the shell's lock
        gets it one turn after another, so we stop behind all that waits, and before what comes.
        """
        subshell = self._subshells.get(subshell_id) if subshell_id else None
        turn = subshell.turn if subshell else self._main_asyncio_lock
        self._set_aborting(subshell, True)
        # Only receiving: what a frontend sends in answer to our reply isn't queued yet.
        if self.shell_stream is not None:
            self.shell_stream.flush(zmq.POLLIN)

        async def stop() -> None:
            if self.stop_on_error_timeout:
                await asyncio.sleep(self.stop_on_error_timeout)
            async with turn:
                self._set_aborting(subshell, False)

        self._stopping = asyncio.ensure_future(stop())

    def _set_aborting(self, subshell: Subshell | None, aborting: bool) -> None:
        if subshell is None:
            self._aborting = aborting
        else:
            subshell.aborting = aborting


def subshell_of(parent: Content) -> str:
    """The session's subshell that a request is for; "" is the main shell."""
    return str(parent["header"].get("subshell_id") or _chosen.get())


def _unknown(subshell_id: Any) -> Content:
    """The content of the answer to who names a subshell that isn't there."""
    return {
        "status": "error",
        "ename": "UnknownSubshellError",
        "evalue": f"Unknown subshell_id {subshell_id!r}",
        "traceback": [],
    }
