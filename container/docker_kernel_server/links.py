"""The server's ends of its processes: the zygote, and the workers that it forks."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from . import zygote
from .channel import Channel, OutputPipe
from .framing import LineSplitter

MAX_LINGERING_PIPES = 256
"""Pipes that background processes of earlier cells still hold; past this the oldest is closed."""

FD_BYTES = array.array("i").itemsize
MAX_CELL_BYTES = 4096

OnExit = Callable[["WorkerLink", int], None]
OnLine = Callable[[bytes], None]
OnText = Callable[[str, str, str], None]


class ZygoteLink:
    """Starts the zygote, asks it for workers, and hears of their ends. Owns its process."""

    def __init__(self, python: str, lent: str, workplace: str, on_end: Callable[[], None]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                zygote.command(python, theirs.fileno(), lent),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=workplace,
            )
        self._socket = ours
        self._channel = Channel(ours, self._on_data)
        self._lines = LineSplitter()
        self._asked: Deque[Tuple["asyncio.Future[None]", WorkerLink]] = deque()
        self._watched: Dict[int, WorkerLink] = {}
        self._on_end = on_end

    async def fork(
        self, name: str, wire: socket.socket, pipes: socket.socket, link: "WorkerLink"
    ) -> None:
        """Fork a worker with these two sockets, whose other ends are ``link``.

        ConnectionError where the zygote is gone, OSError where there can be no further process.
        """
        forked: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        rights = array.array("i", [wire.fileno(), pipes.fileno()])
        line = json.dumps({"fork": name}).encode("ascii") + b"\n"
        self._asked.append((forked, link))
        try:
            # A request is far smaller than a socket's buffer, and each waits for its answer.
            self._socket.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:  # it has died, and we haven't read its end yet
            self._ended()
        await forked

    def close(self) -> None:
        """End the zygote, and with it every worker."""
        self._channel.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pid in list(self._watched):
            kill_group(pid, signal.SIGKILL)

    def _on_data(self, data: bytes) -> None:
        if not data:
            self._ended()
        for line in self._lines.feed(data):
            if isinstance(line, bytes):
                self._on_message(json.loads(line))

    def _on_message(self, message: Dict[str, Any]) -> None:
        if "exited" in message:
            link = self._watched.pop(message["exited"])
            link.on_exit(link, message["status"])
            return
        forked, link = self._asked.popleft()
        if "forked" in message:
            # Before anything else is told of it: its end may come in the same breath.
            link.pid = message["pid"]
            self._watched[link.pid] = link
            if not forked.done():
                forked.set_result(None)
        elif not forked.done():
            forked.set_exception(OSError(message["failed"]))

    def _ended(self) -> None:
        """The zygote died: nobody would tell of the workers' ends, so they end as well."""
        self.close()
        while self._asked:
            forked, _ = self._asked.popleft()
            if not forked.done():
                forked.set_exception(ConnectionError("the process that starts sessions has ended"))
        watched, self._watched = self._watched, {}
        for link in watched.values():
            link.on_exit(link, signal.SIGKILL)
        self._on_end()


class WorkerLink:
    """The wire of one worker, and the pipes of its cells. Owns the sockets and the pipes.

    ``on_line`` gets each line of the worker, ``on_text`` (cell, stream, text) what came through a
    cell's pipes. What was in the pipes when a line came is told before the line. ``on_exit`` gets
    the link and the wait status at the worker's end.
    """

    def __init__(
        self,
        wire: socket.socket,
        pipes: socket.socket,
        on_line: OnLine,
        on_text: OnText,
        on_exit: OnExit,
    ) -> None:
        pipes.setblocking(False)
        self.pid = 0
        self.on_exit = on_exit
        self._on_line = on_line
        self._on_text = on_text
        self._lines = LineSplitter()
        self._pipes: List[OutputPipe] = []
        self._pipes_socket: Optional[socket.socket] = pipes
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self._wire = Channel(wire, self._on_data)
        self._loop.add_reader(pipes, self._receive_pipes)

    def send(self, line: bytes) -> None:
        """Send a line to the worker."""
        self._wire.send(line)

    def signal(self, number: int) -> None:
        """Signal the worker and its children."""
        kill_group(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Signal what is left of the worker's group when the worker itself has ended."""
        if self.pid:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    @property
    def lingers(self) -> bool:
        """Whether a process still holds a pipe."""
        return bool(self._pipes)

    def pause(self) -> None:
        """Stop reading: the worker has to wait when it writes."""
        self._paused = True
        self._wire.pause()
        for pipe in self._pipes:
            pipe.pause()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._wire.resume()
        for pipe in self._pipes:
            pipe.resume()

    def drain_pipes(self) -> None:
        """Tell all that is in the cells' pipes now."""
        self._receive_pipes()
        for pipe in list(self._pipes):
            pipe.drain()

    def end(self) -> None:
        """The worker is gone: tell what it left. Its background processes may go on to print."""
        self._wire.drain()
        self.drain_pipes()
        self._wire.close()
        if self._pipes_socket is not None:
            self._loop.remove_reader(self._pipes_socket)
            self._pipes_socket.close()
            self._pipes_socket = None

    def close(self) -> None:
        """Close everything, the pipes that background processes hold as well."""
        self.end()
        for pipe in list(self._pipes):
            pipe.close()

    def _on_data(self, data: bytes) -> None:
        if not data:
            # It has ended, or its code has closed the wire: nobody could reach it any more.
            self.signal_group(signal.SIGKILL)
        for line in self._lines.feed(data):
            if isinstance(line, bytes):
                self.drain_pipes()
                self._on_line(line)

    def _receive_pipes(self) -> None:
        while self._pipes_socket is not None:
            try:
                name, ancillary, _, _ = self._pipes_socket.recvmsg(
                    MAX_CELL_BYTES, socket.CMSG_SPACE(2 * FD_BYTES), socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                return
            if not name:
                self._loop.remove_reader(self._pipes_socket)
                return
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload[: len(payload) // FD_BYTES * FD_BYTES])
            # The person's code can reach this socket, too, and send what is no pipe.
            if all(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in fds):
                # The newline only keeps the datagram of no cell from being empty.
                self._adopt(name[:-1].decode("utf-8", "replace"), list(fds))
            else:
                for fd in fds:
                    os.close(fd)

    def _adopt(self, cell: str, fds: List[int]) -> None:
        for stream, fd in zip(("stdout", "stderr"), fds):

            def on_text(text: str, stream: str = stream) -> None:
                self._on_text(cell, stream, text)

            pipe = OutputPipe(fd, on_text, self._pipes.remove)
            if self._paused:
                pipe.pause()
            self._pipes.append(pipe)
        if len(self._pipes) > MAX_LINGERING_PIPES:
            self._pipes[0].close()


def kill_group(pid: int, number: int) -> None:
    """Signal a worker's process group, or the worker alone where it has no group yet."""
    if not pid:  # that would be our own group
        return
    with contextlib.suppress(OSError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            os.kill(pid, number)
