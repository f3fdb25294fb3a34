"""Where the package ``comm`` is missing, as beside an IPython of the image's own: no widgets, and
all the rest."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..errors import RequestRefused
from ..messages import Request
from . import Reply

REMEDY = "widgets need the package comm. Type: %pip install comm, then restart the kernel."


class Comm:
    """What can't be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(REMEDY)


class CommManager:
    """What an older ipywidgets registers with as soon as it is imported."""

    def __init__(self) -> None:
        self.comms: Dict[str, Any] = {}

    def register_target(self, target_name: str, f: Any) -> None:
        """Nothing: no frontend's comm reaches it."""

    def unregister_target(self, target_name: str, f: Any) -> None:
        """Nothing."""


class NoComms:
    """In the place of `comms.Comms`."""

    def __init__(self) -> None:
        self.manager = CommManager()
        self.comm_class: Any = Comm

    def info(self, target_name: Optional[str]) -> Reply:
        """The content of comm_info_reply: there are none."""
        return {"status": "ok", "comms": {}}

    def handle(self, request: Request, buffers: Optional[List[bytes]]) -> None:
        """Refuse a frontend's message."""
        raise RequestRefused(f"this session has no comms: {REMEDY}")
