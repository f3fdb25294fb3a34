"""The end of the kernel's process: libzmq aborts it where a socket is closed under a thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
