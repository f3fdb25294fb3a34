"""A session's keeper: the parent of its worker, and of all that the worker leaves.

Linux gives it what loses its parent below it, also what called setsid or forked twice to get away.
So all of a session is below its keeper, and ends with the session. It runs none of the person's
code, and tells the server over a socket of its own, in JSON lines, how the worker is:

    {"keeper": PID, "pid": PID}, or {"failed": WHY}
    {"exited": WAIT STATUS}

It ends when all of that has ended, and then the socket does. When the server closes it, or is gone,
the session ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import Any, Callable, Dict, Optional

from .processes import (
    MAX_OOM_SCORE,
    adopt_orphans,
    descendants,
    expose_to_oom,
    kill_all,
    signal_all,
)

TERM_SECONDS = 1.0
"""How long what the worker has left may take to end after SIGTERM; then it's killed."""

KILL_SECONDS = 10.0
"""How long that may take; what then still is there hangs in the system, and is left to it."""

AGAIN_SECONDS = 0.05
"""How often what is there is killed again: it may fork faster than it can be listed."""


class Bell:
    """Rings when a child has ended: readable from then on, until `quiet`."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._read

    def quiet(self) -> None:
        """Wait for the next one."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def remove(self) -> None:
        """For a fork, which has no children yet."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)


def tell(reins: socket.socket, message: Dict[str, Any]) -> None:
    """Send the server a line."""
    with contextlib.suppress(OSError):  # it's gone, which the keeper sees at once
        reins.sendall(json.dumps(message).encode("ascii") + b"\n")


class Keeper:
    """See the module's docstring. ``reins`` is the socket to the server."""

    def __init__(self, reins: socket.socket) -> None:
        self._reins = reins
        self._worker = 0
        self._status: Optional[int] = None
        self._adopts = adopt_orphans()

    def run(self, worker: Callable[[], None], forget: Callable[[], None]) -> None:
        """Fork ``worker``, which doesn't return, and keep it to its end.

        ``forget`` closes here what is the worker's alone.
        """
        try:
            pid = os.fork()
        except OSError as exc:
            tell(self._reins, {"failed": refusal(exc)})
            return
        if pid == 0:
            self._reins.close()
            worker()
        self._worker = pid
        forget()
        # Made by the one that waits: what is waited for can't have ended unheard before, as the
        # first look comes without waiting.
        bell = Bell()
        # The server's end is what ends it, however that is told to a group or a terminal.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        tell(self._reins, {"keeper": os.getpid(), "pid": pid})
        self._wait_for_worker(bell)
        tell(self._reins, {"exited": self._status})
        if not self._adopts:
            self._signal_group()
        elif self._reap():
            self._end_rest(bell)

    def _wait_for_worker(self, bell: Bell) -> None:
        poll = select.poll()
        poll.register(bell, select.POLLIN)
        poll.register(self._reins, select.POLLIN)
        while self._reap() and self._status is None:
            ready = [fd for fd, _ in poll.poll()]
            if self._reins.fileno() in ready:
                # Nothing is ever sent here: this is the server's end.
                poll.unregister(self._reins)
                self._signal_group()
            bell.quiet()

    def _end_rest(self, bell: Bell) -> None:
        """End what the worker has left: SIGTERM to each once, and SIGKILL until there is none."""
        poll = select.poll()
        poll.register(bell, select.POLLIN)
        start = time.monotonic()
        wait = TERM_SECONDS
        number = signal.SIGTERM
        left = descendants(os.getpid())
        for pid in left:
            # Rather these, where memory runs out, than what another session is at.
            expose_to_oom(pid, MAX_OOM_SCORE)
        signal_all(left, number)
        while self._reap():
            if number == signal.SIGKILL:
                kill_all(os.getpid())
            poll.poll(wait * 1000)
            bell.quiet()
            spent = time.monotonic() - start
            if spent > TERM_SECONDS + KILL_SECONDS:
                return
            wait = TERM_SECONDS - spent
            if wait <= 0:
                number, wait = signal.SIGKILL, AGAIN_SECONDS

    def _reap(self) -> bool:
        """Forget what has ended; whether there are children."""
        try:
            while True:
                done, status = os.waitpid(-1, os.WNOHANG)
                if done == self._worker and self._status is None:
                    self._status = status
                if not done:
                    return True
        except ChildProcessError:
            return False

    def _signal_group(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._worker, signal.SIGKILL)
        if self._status is None:  # it may have no group of its own yet
            with contextlib.suppress(OSError):
                os.kill(self._worker, signal.SIGKILL)


def refusal(exc: OSError) -> str:
    """Why there is no further process: no memory, or too many of them. The other sessions go on."""
    return f"there can be no further process: {exc.strerror}"
