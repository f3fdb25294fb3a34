"""Executing a notebook with each output shown when it comes."""

from __future__ import annotations

import asyncio
import atexit
import signal
from typing import Any

from jupyter_client.client import KernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_async
from nbclient import NotebookClient
from nbformat import NotebookNode

from ..kernelspec import kernel_argv
from .printer import Printer


class OneKernel(KernelSpecManager):
    """Whatever kernel is asked for, it is ours with these arguments: nothing must be installed."""

    arguments: tuple[str, ...] = ()

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernelspec, made up on the spot."""
        return KernelSpec(
            argv=kernel_argv(self.arguments),
            display_name="Python 3 (Docker)",
            language="python",
            interrupt_mode="message",
        )


def kernel_manager(arguments: list[str]) -> AsyncKernelManager:
    """A manager for a docker kernel with these arguments; nothing is started yet."""
    specs = OneKernel()
    # The warnings of a kernel's log are for servers' logs; the cells show what matters here.
    specs.arguments = ("--log-level=ERROR", *arguments)
    return AsyncKernelManager(kernel_name="docker", kernel_spec_manager=specs)


class LiveClient(NotebookClient):
    """nbclient's, with a printer. ``where`` is the index of the cell that runs.

    Ctrl-C interrupts that cell, so that the notebook ends as with any other error. A second one, or
    one before the first cell, ends the kernel at once; ``interrupted`` says that there was one.
    """

    def __init__(self, nb: NotebookNode, printer: Printer, **keys: Any) -> None:
        super().__init__(nb, on_cell_start=self._show_cell, **keys)
        self.where = -1
        self.interrupted = False
        self._printer = printer
        self._work: asyncio.Task[Any] | None = None
        self._interrupting: asyncio.Future[None] | None = None

    async def async_start_new_kernel(self, **keys: Any) -> None:
        """As in nbclient, with our own handlers for Ctrl-C and SIGTERM."""
        # nbclient's, set just before, pull the kernel away under the running cell.
        self._work = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._interrupt)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._interrupt))
        await super().async_start_new_kernel(**keys)

    async def async_start_new_kernel_client(self) -> KernelClient:
        """As in nbclient, which leaves a kernel behind where this is cancelled."""
        try:
            return await super().async_start_new_kernel_client()
        except BaseException:
            if self.kc is not None:
                await self._async_cleanup_kernel()
            # There is nothing left to clean up, and nbclient's handler would fail on that.
            atexit.unregister(self._cleanup_kernel)
            raise

    def _interrupt(self) -> None:
        first, self.interrupted = not self.interrupted, True
        if first and self.where >= 0 and self.km is not None:
            self._interrupting = asyncio.ensure_future(ensure_async(self.km.interrupt_kernel()))
        elif self._work is not None:
            # Once: what it does at its end must not be cut short.
            self._work.cancel()
            self._work = None

    def _show_cell(self, cell: NotebookNode, cell_index: int) -> None:
        self.where = cell_index
        self._printer.cell(cell.cell_type, cell_index + 1, cell.source)

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """Show it, and do what nbclient does."""
        self._printer.output(msg["msg_type"], msg["content"])
        return super().process_message(msg, cell, cell_index)
