"""The kernel's process: ipykernel's application, with our kernel in it and no shell."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from typing import Any

import zmq
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelapp import kernel_aliases as ipykernel_aliases
from ipykernel.kernelapp import kernel_flags as ipykernel_flags
from jupyter_client.session import Session
from traitlets import default

from docker_kernel_server import __version__

from .config import Settings
from .kernel import DockerKernel
from .launcher import Launcher
from .listeners import Listeners
from .parent import ParentWatch
from .reader import SETTING_ALIASES, SETTING_FLAGS

# What of ipykernel's aliases and flags is about a shell in this process has no place here.
_CHANNELS = (
    "ip",
    "hb",
    "shell",
    "iopub",
    "stdin",
    "control",
    "f",
    "transport",
    "log-level",
    "config",
)
_ALIASES = {name: ipykernel_aliases[name] for name in _CHANNELS if name in ipykernel_aliases}
_FLAGS: dict[str, Any] = {
    name: ipykernel_flags[name] for name in ("debug", "quiet") if name in ipykernel_flags
}


class DockerKernelApp(IPKernelApp):
    """Run Python cells in a Docker container.

    Every setting can stand in the kernelspec's argv, as --Settings.NAME=VALUE or --NAME=VALUE, in
    the environment as DOCKER_KERNEL_NAME, or in docker_kernel_config.py in Jupyter's config folder.
    """

    name = "docker-kernel"
    description = __doc__
    version = __version__
    examples = "python -m docker_kernel -f connection.json --image=python:3.12-slim --memory=4g"
    classes = [DockerKernel, Settings, Session]  # noqa: RUF012
    aliases = {**_ALIASES, **SETTING_ALIASES}  # noqa: RUF012
    flags = {**_FLAGS, **SETTING_FLAGS}  # noqa: RUF012
    subcommands = {}  # noqa: RUF012
    launcher: Launcher
    listeners: Listeners

    @default("kernel_class")
    def _kernel_class_default(self) -> type[DockerKernel]:
        return DockerKernel

    @default("outstream_class")
    def _outstream_class_default(self) -> None:
        # No code of a cell runs in this process: what is printed here is for the log.
        return None

    @default("capture_fd_output")
    def _capture_fd_output_default(self) -> bool:
        return False

    def get_default_logging_config(self) -> dict[str, Any]:
        """As in traitlets, but that what the console would drop isn't made: ipykernel logs each
        message several times over. Where handlers are configured, they may want it."""
        config: dict[str, Any] = super().get_default_logging_config()
        if self.log_level and not self.logging_config:
            for logger in config.get("loggers", {}).values():
                logger["level"] = self.log_level
        return config

    def init_sockets(self) -> None:
        """As in ipykernel; what was listened on and no channel wants is closed."""
        super().init_sockets()  # type: ignore[no-untyped-call]
        self.listeners.close()

    def _try_bind_socket(self, s: zmq.Socket[bytes], port: int) -> int:
        listener = self.listeners.take(self.ip, port)
        if listener is not None:
            s.setsockopt(zmq.USE_FD, listener)
        return int(super()._try_bind_socket(s, port))  # type: ignore[no-untyped-call]

    def init_iopub(self, context: Any) -> None:
        """As in ipykernel, but `close` alone ends the iopub thread.

        By a handler of its own it would end before our threads, and close the sockets by which they
        send to it under them: then libzmq aborts the process, or a message waits for ever.
        """
        super().init_iopub(context)  # type: ignore[no-untyped-call]
        atexit.unregister(self.iopub_thread.stop)

    def init_control(self, context: Any) -> None:
        """As in ipykernel, without the thread for subshells."""
        super().init_control(context)  # type: ignore[no-untyped-call]
        self.shell_channel_thread.io_loop.close()
        self.shell_channel_thread = None

    def init_poller(self) -> None:
        """As in ipykernel, but for the end: it is an orderly one."""
        if sys.platform == "win32":
            super().init_poller()  # type: ignore[no-untyped-call]
        elif self.parent_handle and self.parent_handle != 1:
            self.poller = ParentWatch(self.parent_handle)

    def init_path(self) -> None:
        """The notebook's folder, which cells write to, stays out of this process's sys.path."""

    def init_pdb(self) -> None:
        """Nothing is debugged in this process."""

    def init_signal(self) -> None:
        """SIGINT interrupts the cell, for a frontend that signals in spite of `interrupt_mode`."""
        signal.signal(signal.SIGINT, self._on_sigint)

    def _on_sigint(self, *_: Any) -> None:
        # Not from within the handler: the main thread may hold the very locks that it needs.
        loop = getattr(self.kernel, "io_loop", None)
        if loop is not None:
            loop.add_callback_from_signal(self.kernel.interrupt_soon)

    def start(self) -> None:
        """Run until the kernel is shut down."""
        gc.freeze()
        gc.enable()
        # Not before: see launch.py.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            super().start()  # type: ignore[no-untyped-call]
        finally:
            # The end is under way: a second SIGTERM (Jupyter sends one where a shutdown takes its
            # time) must not cut it short.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def close(self) -> None:
        """End all threads that send on the channels, and then the channels; called at exit."""
        # The control thread may still be saying that a shutdown is done.
        if self.control_thread is not None and self.control_thread.is_alive():
            self.control_thread.stop()
            self.control_thread.join()
        if self.kernel is not None:
            self.kernel.close()
        super().close()  # type: ignore[no-untyped-call]
