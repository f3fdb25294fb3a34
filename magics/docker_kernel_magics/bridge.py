"""Widgets of the container in the host's notebook: a comm here for each comm there, same id.

What the container says on a comm is said here by its twin; what the frontend says to the twin is
sent to the session. A callback's output comes back as the events of that request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comm
from comm.base_comm import BaseComm

from docker_kernel_server import messages as wire

Json = dict[str, Any]
Forward = Callable[[type[wire.CommRequest], Json], None]
"""Sends a frontend's message to the session: the kind of request, and its keys."""


MAX_TWINS = 10_000
"""Widgets of a session; each has an object in the host's kernel."""


class Bridge:
    """The twins of one session's comms."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._twins: dict[str, BaseComm] = {}

    def take(self, event: wire.Event) -> bool:
        """Handle what the container says on a comm; False where ``event`` is something else."""
        if isinstance(event, wire.CommOpen):
            self._open(event)
        elif isinstance(event, wire.CommMsg):
            twin = self._twins.get(event.comm_id)
            if twin is not None:
                twin.send(event.data, event.metadata, wire.unpack_buffers(event.buffers))
        elif isinstance(event, wire.CommClose):
            twin = self._twins.pop(event.comm_id, None)
            if twin is not None:
                twin.close(event.data, event.metadata, wire.unpack_buffers(event.buffers))
        else:
            return False
        return True

    def close(self) -> None:
        """The session has ended, and its widgets with it."""
        while self._twins:
            self._twins.popitem()[1].close()

    def _open(self, event: wire.CommOpen) -> None:
        # A comm of the host's own stays the host's, whatever the container calls its.
        taken = event.comm_id in getattr(comm.get_comm_manager(), "comms", {})
        if (taken and event.comm_id not in self._twins) or len(self._twins) >= MAX_TWINS:
            return
        twin = comm.create_comm(
            target_name=event.target_name,
            target_module=event.target_module,
            comm_id=event.comm_id,
            data=event.data,
            metadata=event.metadata,
            buffers=wire.unpack_buffers(event.buffers),
        )
        self._twins[event.comm_id] = twin
        twin.on_msg(lambda message: self._send(wire.CommMsgRequest, event.comm_id, message))
        twin.on_close(lambda message: self._send(wire.CommCloseRequest, event.comm_id, message))

    def _send(self, kind: type[wire.CommRequest], comm_id: str, message: Json) -> None:
        if kind is wire.CommCloseRequest and self._twins.pop(comm_id, None) is None:
            return
        buffers = [bytes(buffer) for buffer in message.get("buffers") or []]
        keys = {
            "comm_id": comm_id,
            "data": message["content"].get("data") or {},
            "metadata": message.get("metadata") or {},
            "buffers": wire.pack_buffers(buffers),
        }
        self._forward(kind, keys)
