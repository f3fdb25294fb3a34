"""Makes this Linux look like Windows or macOS to our own code: `python otherplatform.py NAME CODE`.

What the standard library and the packages need of Linux they have got by then: they are imported
first. Then what the other platform lacks is taken away, and it is named. Path names stay Linux's.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

_FIRST = (
    "asyncio.subprocess asyncio.unix_events concurrent.futures.process getpass IPython "
    "IPython.core.interactiveshell argcomplete docker docker.credentials.errors docker.tls "
    "docker.transport importlib.metadata ipykernel.kernelapp ipykernel.ipkernel "
    "ipykernel.parentpoller jupyter_client.asynchronous jupyter_client.blocking "
    "jupyter_client.kernelspec jupyter_client.manager jupyter_core.paths "
    "jupyter_client.provisioning.local_provisioner jupyter_core.utils logging.handlers "
    "multiprocessing.util nbclient nbformat nbformat.v4 packaging.requirements pathlib "
    "platformdirs psutil requests requests.utils shutil ssl subprocess tarfile tempfile "
    "tornado.ioloop tornado.platform.asyncio tqdm traitlets.config urllib3 "
    "urllib3.connection urllib.request uuid yaml zmq zmq.asyncio zmq.eventloop.zmqstream"
)

_LACKING: dict[str, dict[Any, str]] = {
    "win32": {
        os: "chown chroot fchown fork forkpty getegid geteuid getgid getgroups getpgid getpgrp "
        "getpriority getsid getuid kill_pg killpg lchown mkfifo mknod nice openpty setegid seteuid "
        "setgid setpgid setsid setuid sysconf tcgetpgrp ttyname uname wait3 wait4 waitid "
        "fchmod fchdir O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_DIRECTORY WEXITSTATUS WIFSIGNALED pread "
        "sched_getaffinity posix_spawn",
        signal: "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 "
        "SIGUSR2 SIGWINCH alarm pthread_kill pthread_sigmask setitimer sigwait siginterrupt",
        socket: "AF_UNIX SCM_RIGHTS SO_REUSEPORT TCP_KEEPIDLE send_fds recv_fds",
    },
    "darwin": {
        os: "O_PATH O_TMPFILE memfd_create pidfd_open sched_getaffinity sched_setaffinity eventfd",
        socket: "AF_NETLINK AF_PACKET TCP_KEEPIDLE SO_PEERCRED",
    },
}
_MODULES = {
    "win32": "crypt fcntl grp posix pty pwd readline resource spwd syslog termios tty",
    "darwin": "spwd",
}


def become(platform: str) -> None:
    """From now on, this process is on ``platform``: win32 or darwin."""
    for name in _FIRST.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if platform == "win32":
        # Python makes it of TCP there.
        pair = functools.partial(socket.socketpair, socket.AF_UNIX)
        socket.socketpair = pair
    for module, names in _LACKING[platform].items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for name in _MODULES[platform].split():
        sys.modules[name] = None  # type: ignore[assignment]
    # None of the packages that are there already looks again; ours do, at each call.
    sys.platform = platform
    without_proc()
    if platform == "win32":
        without_signal_handlers()


def without_proc() -> None:
    """/proc, /sys and /run are Linux's: whoever looks fails. psutil has its own eyes."""

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **keys: Any) -> Any:
            name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if str(name).startswith(("/proc", "/sys", "/run/")) and "psutil" not in caller:
                raise FileNotFoundError(2, "there is no such thing here", name)
            return real(path, *arguments, **keys)

        return call

    import builtins
    import io

    for module, name in ((os, "stat"), (os, "lstat"), (os, "open"), (os, "scandir")):
        setattr(module, name, refusing(getattr(module, name)))
    builtins_open = builtins.open
    builtins.open = refusing(builtins_open)
    io.open = refusing(builtins_open)


def without_signal_handlers() -> None:
    """An event loop of Windows has none."""
    import asyncio.unix_events

    def refuse(*_: object) -> None:
        raise NotImplementedError

    loop = asyncio.unix_events._UnixSelectorEventLoop
    loop.add_signal_handler = refuse  # type: ignore[assignment,method-assign]
    loop.remove_signal_handler = refuse  # type: ignore[assignment,method-assign]


def any_case() -> None:
    """File names are found in capitals and without, as on macOS and Windows."""

    def finding(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **keys: Any) -> Any:
            if isinstance(path, (str, os.PathLike)) and not keys.get("dir_fd"):
                path = _as_it_is(os.fspath(path))
            return real(path, *arguments, **keys)

        return call

    for name in ("stat", "lstat", "open", "readlink"):
        setattr(os, name, finding(getattr(os, name)))


def _as_it_is(name: Any) -> Any:
    """A name in the letters in which it stands in its folder."""
    if not isinstance(name, str) or _there(name):
        return name
    head, tail = os.path.split(name.rstrip("/"))
    if not tail or head == name:
        return name
    folder = _as_it_is(head) if head else "."
    for entry in _entries(folder):
        if entry.lower() == tail.lower():
            return os.path.join(folder, entry)  # noqa: PTH118 - below pathlib
    return os.path.join(folder, tail)  # noqa: PTH118


def _there(name: str, _lstat: Callable[..., os.stat_result] = os.lstat) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_IFMT(_lstat(name).st_mode) != 0
    return False


def _entries(folder: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from os.listdir(folder)  # noqa: PTH208


if __name__ == "__main__":
    _, chosen, code, *words = sys.argv
    sys.argv = ["-c", *words]
    become(chosen)
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})  # noqa: S102
