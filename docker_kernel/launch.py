"""The first thing that a kernel does: listen, start the container, and import the rest meanwhile.

What is slow to import is imported when its turn has come: see launcher.py and listeners.py.
"""

from __future__ import annotations

import _thread
import atexit
import gc
import os
import signal
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from .listeners import Listeners, connection_file

if TYPE_CHECKING:
    from .launcher import Launcher

HELP = {"-h", "--help", "--help-all", "--version"}
"""Who asks for one of these wants to read, and no container."""


def main(argv: list[str] | None = None) -> None:
    """Run the kernel until it is shut down."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--generate-config" in arguments:
        from .cli import main as command

        sys.exit(command(["--generate-config"]))
    # Until the kernel runs: imports make hardly any garbage, and much to look through for it.
    gc.disable()
    with closing(Listeners()) as listeners:
        if HELP & set(arguments):
            from .app import DockerKernelApp
        else:
            listeners.open(connection_file(arguments))
            launcher = _start(arguments)
            try:
                launcher.wait_until_waiting()
                from .app import DockerKernelApp  # slow: the container starts meanwhile
            except BaseException:
                launcher.stop()
                raise
            DockerKernelApp.listeners, DockerKernelApp.launcher = listeners, launcher
            atexit.register(launcher.stop)
        DockerKernelApp.launch_instance(argv=arguments)


def _start(arguments: list[str]) -> Launcher:
    from .launcher import Launcher  # slow, beside what came before

    launcher = Launcher(arguments)
    signal.signal(signal.SIGTERM, lambda *_: _thread.start_new_thread(_end, (launcher,)))
    return launcher


def _end(launcher: Launcher) -> None:
    """End the process and what it has begun, before the kernel runs.

    In a thread: an exception in the midst of an import is lost, or leaves the import's lock held,
    and the start waits for that.
    """
    try:
        launcher.stop()
    finally:
        os._exit(0)
