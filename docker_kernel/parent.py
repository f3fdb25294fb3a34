"""Whether the process that started the kernel, Jupyter's server, is still there."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_SECONDS = 1.0
END_SECONDS = 10.0
"""How long an orderly end may take; it removes the container."""


class ParentWatch(threading.Thread):
    """Ends this process in good order when its parent is gone.

    ipykernel's own does so at once, and would leave the container to its lease. ``parent`` is the
    pid that Jupyter gave us. Where another process stands in between, only init as the new parent
    tells that both are gone.
    """

    def __init__(self, parent: int) -> None:
        super().__init__(name="docker-kernel parent", daemon=True)
        self._parent = parent if parent == os.getppid() else 0

    def gone(self) -> bool:
        """Whether the parent has ended."""
        now = os.getppid()
        return now != self._parent if self._parent else now == 1

    def run(self) -> None:
        """Look now and then; see the class."""
        while not self.gone():
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END_SECONDS)
        os._exit(1)
