"""Comms (widgets) over the wire: what the package ``comm`` asks of a kernel."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import comm
from comm.base_comm import BaseComm, CommManager

from ..messages import CommCloseRequest, CommOpenRequest, Request, pack_buffers
from . import Console, Reply


class Comms:
    """The session's comms; every library that opens one does it through here."""

    def __init__(self, console: Console) -> None:
        self.manager = manager = CommManager()

        class WireComm(BaseComm):  # type: ignore[misc]
            """A comm whose messages go over the wire."""

            def publish_msg(
                self,
                msg_type: str,
                data: Any = None,
                metadata: Any = None,
                buffers: Optional[List[bytes]] = None,
                **keys: Any,
            ) -> None:
                console.emit(
                    msg_type,
                    comm_id=self.comm_id,
                    data={} if data is None else data,
                    metadata=metadata or {},
                    buffers=pack_buffers([bytes(buffer) for buffer in buffers or []]),
                    **{key: value for key, value in keys.items() if value is not None},
                )

        self.comm_class: Any = WireComm

        def create_comm(*args: Any, **kwargs: Any) -> BaseComm:
            return WireComm(*args, **kwargs)

        comm.create_comm = create_comm
        comm.get_comm_manager = lambda: manager

    def info(self, target_name: Optional[str]) -> Reply:
        """The content of comm_info_reply."""
        comms = {
            comm_id: {"target_name": item.target_name}
            for comm_id, item in self.manager.comms.items()
            if target_name is None or item.target_name == target_name
        }
        return {"status": "ok", "comms": comms}

    def handle(self, request: Request, buffers: Optional[List[bytes]]) -> None:
        """Give a frontend's message to the comm that it is for."""
        content: Dict[str, Any] = {
            key: value
            for key, value in request.to_json().items()
            if key in ("comm_id", "target_name", "data")
        }
        content.setdefault("data", {})
        parent = getattr(request, "parent", {})
        message = {
            "header": parent,
            "msg_id": parent.get("msg_id", request.TYPE),
            "msg_type": request.TYPE,
            "parent_header": {},
            "content": content,
            "metadata": getattr(request, "metadata", {}),
            # As Jupyter has them: people call .tobytes() of an upload's content.
            "buffers": [memoryview(buffer) for buffer in buffers or []],
        }
        if isinstance(request, CommOpenRequest):
            self.manager.comm_open(None, None, message)
        elif isinstance(request, CommCloseRequest):
            self.manager.comm_close(None, None, message)
        else:
            self.manager.comm_msg(None, None, message)
