"""A process with IPython imported, that forks a session's keeper in milliseconds.

It stays single-threaded, so that forking it is safe. The server asks it over a socket, by three
descriptors: the keeper's socket, the worker's wire, and the worker's socket for pipes. The keeper
answers over its own, and has the worker (keeper.py); so a zygote that ends costs no session
anything.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import os
import select
import signal
import site
import socket
import sys
from typing import Iterator, List, Optional, Set

from . import packages, worker
from .bootstrap import REQUEST_BYTES, command
from .keeper import Bell, Keeper, refusal, tell
from .limits import PidsWatch
from .processes import adopt_orphans, children_by_parent

FD_BYTES = array.array("i").itemsize
FDS = 3
"""What comes with a request."""

SESSION_PIDS = 5
"""The keeper, the worker, and the worker's threads."""


def main() -> None:
    """Run the zygote with the arguments that `command` made."""
    _, control, lent, *attempt = sys.argv[1:]
    # Imports make much that lives, and nothing that is worth a look for garbage.
    gc.disable()
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
    # What is frozen isn't touched by the collector, so the workers go on sharing its memory.
    gc.freeze()
    gc.enable()
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
    """Forks keepers; ends what one leaves that was killed."""

    def __init__(self, control: socket.socket, choice: packages.Choice) -> None:
        self._control = control
        self._choice = choice
        self._keepers: Set[int] = set()
        self._fds: List[int] = []
        self._pids = PidsWatch()
        self._bell = Bell()
        self._rest: Optional[Iterator[None]] = packages.import_rest(choice)

    def run(self) -> None:
        """Serve until the server is gone. The keepers see that themselves."""
        adopt_orphans()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        with contextlib.suppress(ConnectionError):  # the server was killed
            while True:
                # What can wait is imported while nobody asks.
                asked = poll.poll(0 if self._rest else None)
                if not asked:
                    self._import_on()
                for fd, _ in asked:
                    if fd == self._bell.fileno():
                        self._bell.quiet()
                        self._reap()
                    elif not self._serve():
                        return

    def _import_on(self) -> None:
        if self._rest is not None and next(self._rest, True):
            self._rest = None
            gc.collect()
            gc.freeze()

    def _serve(self) -> bool:
        data, ancillary, _, _ = self._control.recvmsg(
            REQUEST_BYTES, socket.CMSG_SPACE(FDS * FD_BYTES), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) // FD_BYTES * FD_BYTES])
                self._fds.extend(fds)
        while len(self._fds) >= FDS:
            sockets = [socket.socket(fileno=fd) for fd in self._fds[:FDS]]
            del self._fds[:FDS]
            self._fork(*sockets)
            for each in sockets:
                each.close()
        return bool(data)

    def _fork(self, reins: socket.socket, wire: socket.socket, pipes: socket.socket) -> None:
        room = self._pids.room()
        if room is not None and room < SESSION_PIDS:
            # Begun, it would fail half-way, and take from the others what they need meanwhile.
            tell(reins, {"failed": self._pids.explain()})
            return
        try:
            pid = os.fork()
        except OSError as exc:
            tell(reins, {"failed": refusal(exc)})
            return
        if pid == 0:
            self._become_keeper(reins, wire, pipes)
        self._keepers.add(pid)

    def _become_keeper(
        self, reins: socket.socket, wire: socket.socket, pipes: socket.socket
    ) -> None:
        def forget() -> None:
            wire.close()
            pipes.close()

        status = 1
        try:
            self._bell.remove()
            self._control.close()
            Keeper(reins).run(lambda: self._become_worker(wire, pipes), forget)
            status = 0
        except BaseException:  # noqa: BLE001 - the fork must not come back into the zygote
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _become_worker(self, wire: socket.socket, pipes: socket.socket) -> None:
        status = 1
        try:
            status = worker.run(wire, pipes, self._choice)
        except BaseException:  # noqa: BLE001 - the fork must not come back into the keeper
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _reap(self) -> None:
        orphans = False
        with contextlib.suppress(ChildProcessError):
            while True:
                done, status = os.waitpid(-1, os.WNOHANG)
                if not done:
                    break
                orphans = orphans or status != 0 or done not in self._keepers
                self._keepers.discard(done)
        if not orphans:
            return
        # What a keeper left that was killed is ours now; its children come when it has ended.
        for pid in set(children_by_parent().get(os.getpid(), ())) - self._keepers:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
