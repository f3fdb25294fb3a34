"""A process with IPython imported, that forks a session's worker in milliseconds.

It stays single-threaded, so that forking it is safe. The server talks to it over a socket: JSON
lines both ways, with the worker's descriptors beside the line that asks for it.

    server  {"fork": NAME}        with two descriptors: the wire, and the socket for pipes
    zygote  {"forked": NAME, "pid": PID}, or {"failed": WHY}
    zygote  {"exited": PID, "status": WAIT STATUS}
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import selectors
import signal
import site
import socket
import sys
from typing import Any, Dict, List, Set, Tuple

from . import packages, worker

FD_BYTES = array.array("i").itemsize


# The package is loaded from where it lies, without its folder on sys.path: that may be the person's
# site-packages, or hold modules that would hide others. So may the working folder, which "-c" adds.
BOOTSTRAP = """\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("docker_kernel_server", sys.argv[1])
sys.modules[spec.name] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from docker_kernel_server import zygote
zygote.main()
"""


def command(python: str, control: int, lent: str, *attempt: str) -> List[str]:
    """The command line of a zygote; ``attempt`` is what an earlier one left: a way and a note."""
    package = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__init__.py")
    return [python, "-c", BOOTSTRAP, package, str(control), lent, *attempt]


def main() -> None:
    """Run the zygote with the arguments that `command` made."""
    _, control, lent, *attempt = sys.argv[1:]
    # The person's Ctrl-C is for a worker; the workers set a handler of their own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _make_user_site()
    try:
        choice = packages.prepare(lent, *attempt)
    except packages.StartAgain as again:
        args = command(sys.executable, int(control), lent, again.way, again.note)
        os.execv(sys.executable, args)  # noqa: S606
    sys.argv[:] = [""]
    # Each cell does this; from Python 3.12 on, the first time costs an import.
    importlib.invalidate_caches()
    gc.collect()
    # What is frozen isn't touched by the collector, so the workers go on sharing its memory.
    gc.freeze()
    Zygote(socket.socket(fileno=int(control)), choice).run()


def _make_user_site() -> None:
    """Have the folder that pip installs to without root: Python finds none that comes later."""
    folder = site.getusersitepackages()
    if not site.ENABLE_USER_SITE or folder in sys.path:
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return
    # Before the image's own packages, as Python has it.
    own = site.getsitepackages()
    place = next((place for place, path in enumerate(sys.path) if path in own), len(sys.path))
    sys.path.insert(place, folder)


class Zygote:
    """Forks workers, and reports their ends."""

    def __init__(self, control: socket.socket, choice: packages.Choice) -> None:
        self._control = control
        self._choice = choice
        self._children: Set[int] = set()
        self._buffer = b""
        self._fds: List[int] = []
        self._selector = selectors.DefaultSelector()
        # SIGCHLD writes a byte here, which ends the wait.
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Serve until the server is gone; then end every worker."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fd == self._wake_read:
                        os.read(self._wake_read, 4096)
                        self._reap()
                    elif not self._serve():
                        return
        except ConnectionError:  # the server was killed
            return
        finally:
            self._end()

    def _serve(self) -> bool:
        data, ancillary, _, _ = self._control.recvmsg(
            65536, socket.CMSG_SPACE(2 * FD_BYTES), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) // FD_BYTES * FD_BYTES])
                self._fds.extend(fds)
        self._buffer += data
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            wire, pipes, *self._fds = self._fds
            self._fork(json.loads(line)["fork"], (wire, pipes))
        return bool(data)

    def _fork(self, name: str, fds: Tuple[int, int]) -> None:
        try:
            pid = os.fork()
        except OSError as exc:  # no memory, or too many processes: the other sessions go on
            pid = -1
            self._tell({"failed": f"there can be no further process: {exc.strerror}"})
        if pid == 0:
            self._become_worker(fds)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            self._children.add(pid)
            self._tell({"forked": name, "pid": pid})

    def _become_worker(self, fds: Tuple[int, int]) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            self._selector.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            wire, pipes = socket.socket(fileno=fds[0]), socket.socket(fileno=fds[1])
            status = worker.run(wire, pipes, self._choice)
        except BaseException:  # noqa: BLE001 - the fork must not come back into the zygote
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _reap(self) -> None:
        for pid in list(self._children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._children.discard(pid)
                self._tell({"exited": pid, "status": status})

    def _tell(self, message: Dict[str, Any]) -> None:
        self._control.sendall(json.dumps(message).encode("ascii") + b"\n")

    def _end(self) -> None:
        for pid in self._children:
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:  # it has no group of its own yet
                os.kill(pid, signal.SIGKILL)
