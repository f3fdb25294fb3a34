"""The end of the kernel's process: libzmq aborts it where a socket is closed under a thread."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docker_kernel.app import DockerKernelApp
from kernels import PATIENCE, Kernel
from system import wait_until
from wire import Server

# The kernel tells which threads there are when its own end begins, and when they have ended.
PROGRAM = """
import os, signal, sys, threading
from tornado.ioloop import IOLoop
from docker_kernel import app, kernel, launch

class Told(kernel.DockerKernel):
    def close(self):
        super().close()
        print(*sorted(thread.name for thread in threading.enumerate()), sep=", ")

class App(app.DockerKernelApp):
    kernel_class = Told

    def start(self):
        IOLoop.current().add_callback(os.kill, os.getpid(), signal.SIGTERM)
        super().start()

app.DockerKernelApp = App
launch.main(sys.argv[1:])
"""


def test_threads_that_send_end_before_the_thread_that_they_send_to(tmp_path: Path) -> None:
    words = ["-f", "kernel.json", "--log-level=CRITICAL", "--memory=lots"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=tmp_path,
        env={**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Heartbeat, IOPub, MainThread\n"


@pytest.mark.parametrize(
    ("settings", "debugs"),
    [
        ({}, False),
        ({"log_level": "INFO"}, False),
        ({"log_level": logging.DEBUG}, True),
        ({"log_level": 0}, True),
        ({"logging_config": {"handlers": {"console": {"level": "DEBUG"}}}}, True),
    ],
)
def test_what_nobody_logs_is_not_written_down(settings: dict[str, Any], debugs: bool) -> None:
    """But what a handler of the person's own may want."""
    try:
        assert DockerKernelApp(**settings).log.isEnabledFor(logging.DEBUG) is debugs
    finally:
        DockerKernelApp()  # the logger is one for all, and has its settings from the last


def test_sigterm_while_a_cell_asks_for_input(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        Server(tmp_path) as server,
        Kernel("--mode=attached", f"--port={server.port}", folder=tmp_path) as kernel,
    ):
        kernel.client.execute("input()", allow_stdin=True)
        kernel.client.get_stdin_msg(timeout=PATIENCE)
        os.kill(kernel.pid, signal.SIGTERM)
        assert wait_until(kernel.has_ended, PATIENCE)
    assert capfd.readouterr().err == ""
